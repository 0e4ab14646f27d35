"""The documentation is true: the tutorial runs and prints what it says, links lead somewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.warm_processes import warm

from attnres_core.plugin.options import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINKED = [*PAGES, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[+-]?\d+\.\d+")
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


def printed(line, output):
    """Whether a line stands in an output, its numbers within a hundredth (another machine rounds otherwise)."""
    words, numbers = NUMBER.sub("#", line), [float(each) for each in NUMBER.findall(line)]
    for other in output.splitlines():
        if " ".join(NUMBER.sub("#", other).split()) == " ".join(words.split()):
            found = [float(each) for each in NUMBER.findall(other)]
            if found == pytest.approx(numbers, rel=0.01, abs=1e-3):
                return True
    return False


def folder_of_the_tutorial(tmp_path):
    """The folder that the tutorial's installation ends in, made as it says, from a clone of the settings."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    (clone,) = re.findall(r"^    git clone <this repository> (\w+) && cd \1$", page, re.MULTILINE)
    (made,) = re.findall(r"^    mkdir (\S+) && cd \1$", page, re.MULTILINE)
    (tmp_path / clone).mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path / clone)
    (folder := tmp_path / clone / made).mkdir()
    return folder.resolve()


def test_the_tutorial_runs_and_prints_what_it_says(tmp_path):
    folder = folder_of_the_tutorial(tmp_path)
    hidden = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"OMP_NUM_THREADS": "1"}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(ROOT)}
    env |= {"COLUMNS": "80"}
    statuses, output = [], ""
    for language, text in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text()):
        if language == "python":
            (folder / "test_current.py").write_text(text)
        elif language == "sh":
            done = subprocess.run(["bash", "-ec", text], cwd=folder, env=env, capture_output=True, text=True)
            statuses.append(done.returncode)
            output = done.stdout + done.stderr
        else:
            for line in text.splitlines():
                assert printed(line, output), f"{line}\n\nis not in\n\n{output}"
    assert statuses == [0, 0, REFUTED, 0, 0]
    assert "# Replication card: tiny-open-block" in (folder / "card.md").read_text()


@pytest.mark.parametrize("place", [0, 1], ids=["tiny-open-block", "tiny-kimi-block"])
def test_the_page_of_verdicts_says_what_is_expected(place):
    """As many of each verdict, and no other words for them."""
    name = ["tiny-open-block", "tiny-kimi-block"][place]
    expected = json.loads((ROOT / "fixtures/checkpoints" / name / "expected_verdicts.json").read_text())["claims"]
    rows = re.findall(r"^\| .* \| .* \| .* \|$", (ROOT / "docs/verdicts.md").read_text(), re.MULTILINE)
    cells = [row.strip("| ").split(" | ")[1 + place] for row in rows if not row.startswith("| claim")]
    told = Counter(re.match(r"[\w*-]+", cell).group().strip("*").upper() for cell in cells)
    wanted = Counter(entry["verdict"] for entry in expected.values())
    assert {verdict: told[verdict] for verdict in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")} == {
        verdict: wanted[verdict] for verdict in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
    }
