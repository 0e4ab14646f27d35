"""The documentation is true: README's claim and the tutorial print what they say, links lead somewhere."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter

import pytest
from support.doc_blocks import BLOCK, ROOT, hold, shell
from support.warm_processes import warm

import attnres_core
from attnres_core.plugin.options import OPTIONS

PAGES = sorted((ROOT / "docs").glob("*.md"))
LINKED = [*PAGES, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
REFUTED = 1
"""pytest's exit status after a run with a refuted claim."""


def anchors(page):
    """The anchors that headings of a page get on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    for link in links:
        target, _, anchor = link.partition("#")
        aim = (page.parent / target).resolve() if target else page
        assert aim.is_file(), link
        assert not anchor or anchor in anchors(aim), link


def test_every_page_is_listed():
    listed = re.findall(r"\]\((\w[\w-]*\.md)\)", (ROOT / "docs" / "README.md").read_text())
    assert sorted(listed) == sorted(page.name for page in PAGES if page.name != "README.md")


def test_every_option_and_command_is_documented():
    told = "\n".join(page.read_text() for page in LINKED)
    assert [option.name for option in OPTIONS if f"`--attnres-{option.name}`" not in told] == []
    helping = warm([sys.executable, "-m", "attnres_core", "--help"])
    shown = subprocess.run(helping, cwd=ROOT, capture_output=True, text=True)
    commands = re.findall(r"^    (\w[\w-]*)", shown.stdout, re.MULTILINE)
    assert len(commands) > 5
    assert [name for name in commands if f"python -m attnres_core {name}" not in told] == []


def folder_of_the_tutorial(tmp_path):
    """The folder that the tutorial's installation ends in, made as it says, from a clone of the settings."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    (clone,) = re.findall(r"^    git clone <this repository> (\w+) && cd \1$", page, re.MULTILINE)
    (made,) = re.findall(r"^    mkdir (\S+) && cd \1$", page, re.MULTILINE)
    (tmp_path / clone).mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path / clone)
    (folder := tmp_path / clone / made).mkdir()
    return folder.resolve()


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The tutorial's folder after its last command, and each command's exit status."""
    page = ROOT / "docs" / "tutorial.md"
    folder, statuses, output = folder_of_the_tutorial(tmp_path_factory.mktemp("tutorial")), [], ""
    for language, text in BLOCK.findall(page.read_text()):
        if language == "python":
            (folder / "test_current.py").write_text(text)
        elif language == "sh":
            status, output = shell(f"set -e\n{text}", folder)
            statuses.append(status)
        else:
            hold(page, text, output)
    return folder, statuses


def test_the_tutorial_runs_and_prints_what_it_says(tutorial):
    folder, statuses = tutorial
    assert statuses == [0, 0, REFUTED, 0, 0]
    assert "# Replication card: tiny-open-block" in (folder / "card.md").read_text()


def test_the_readme_s_claim_is_decided_as_it_says(tutorial):
    """In the tutorial's folder, whose store has its column: it is the first claim there."""
    folder, _ = tutorial
    ((_, claim), (_, command), (_, text)) = BLOCK.findall((ROOT / "README.md").read_text())
    (folder / "test_my_claim.py").write_text(claim)
    status, output = shell(command, folder)
    assert status == 0, output
    hold(ROOT / "README.md", text, output)
    assert len([line for line in claim.splitlines() if line.strip()]) <= 8


def test_pages_count_the_shipped_claims_as_the_lock_does():
    """The first number of each page; later ones are of recorded runs, and of their day."""
    lock = tomllib.loads((ROOT / "hypotheses" / "claims.lock").read_text())
    groups = [entry["group"] for entry in lock.values() if isinstance(entry, dict)]
    controls = groups.count("control")
    for page in (
        ROOT / "README.md",
        *(ROOT / "docs" / name for name in ("README.md", "performance.md", "tutorial.md")),
    ):
        told = re.findall(r"(\d+) claims and (?:(\d+) )?controls", page.read_text())
        wanted = {"README.md": (str(len(groups) - controls), str(controls))} if page.parent == ROOT else {}
        assert told[0] == wanted.get(page.name, (str(len(groups)), "")), page


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 6144


def test_the_page_of_options_is_what_the_code_says():
    """Else: python docs/site/options.py > docs/options.md."""
    command = [sys.executable, "docs/site/options.py"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "options.md").read_text() == made.stdout


def test_what_can_be_asked_is_documented():
    """Every quantity, model, metric and place that a claim can name stands in a page, beside the API's list."""
    told = "\n".join(page.read_text() for page in PAGES if page.name != "api.md")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", told))))
    asked = [name for name in attnres_core.__all__ if "quantities." in module_of(name)]
    assert len(asked) > 40
    assert sorted({*asked} - {"NotApplicable"} - words) == []


def module_of(name):
    """The module that a public name, or the enum it is a member of, comes from."""
    value = getattr(attnres_core, name)
    return getattr(value, "__module__", None) or type(value).__module__


def test_what_make_is_said_to_do_it_does():
    """Each `make TARGET` of a page is in the Makefile, and CI runs those that README and CONTRIBUTING lead with."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = "\n".join(page.read_text() for page in LINKED)
    told = set(re.findall(r"^    make ([a-z]+)|`make ([a-z]+)", pages, re.MULTILINE))
    assert {name for pair in told for name in pair if name} <= targets
    assert {"verify", "test", "lint", "types", "docs"} <= targets
    ran = set(re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert ran == {"verify", "test", "lint", "types", "docs"}


@pytest.mark.parametrize(
    ("place", "folder"),
    list(enumerate(["checkpoints/tiny-open-block", "checkpoints/tiny-kimi-block", "larger/small-open-block"])),
)
def test_the_page_of_verdicts_says_what_is_expected(place, folder):
    """As many of each verdict, and no other words for them."""
    expected = json.loads((ROOT / "fixtures" / folder / "expected_verdicts.json").read_text())["claims"]
    rows = re.findall(r"^\| .* \| .* \| .* \| .* \|$", (ROOT / "docs/verdicts.md").read_text(), re.MULTILINE)
    cells = [row.strip("| ").split(" | ")[1 + place] for row in rows if not row.startswith("| claim")]
    told = Counter(re.match(r"[\w*-]+", cell).group().strip("*").upper() for cell in cells)
    wanted = Counter(entry["verdict"] for entry in expected.values())
    assert {verdict: told[verdict] for verdict in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")} == {
        verdict: wanted[verdict] for verdict in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
    }
