"""A replication card tells a run, the same each time, and whatever a record holds stays text."""

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.sample_record import sample_record
from support.warm_processes import warm

from attnres_core import __version__
from attnres_core.records.reading import escaped, one_line
from attnres_core.report.card import TITLE, _block, write_card

ROOT = Path(__file__).parents[2]
ARXIV = re.compile(r"arXiv:\d{4}\.\d{5}")
HOSTILE = "<script>x</script> [a](javascript:b) ![](http://c) `d` | e\n# f\n\n--- **g** <!-- \u202eh www.i.j &amp; \\"
TAGS = {"h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}


def rendered(markdown):
    return MarkdownIt("commonmark").enable("table").render(markdown)


def written(folder, record):
    file = folder / "record.json"
    file.write_text(json.dumps(record))
    return file


@pytest.fixture
def record():
    return sample_record()


def test_a_card_names_claims_verdicts_effects_intervals_method_digests_command_and_citation(tmp_path, record):
    page = write_card(written(tmp_path, record))
    assert page.startswith("# Replication card: attnres-tiny-12L\n")
    title = "Embedding source is necessary for early MLP"
    assert (
        f"| {title} | SUPPORTED | +1.83 [+1.72, +1.94] nats/token &gt; 0.02 (12% beyond) | 0.0200 | 0.0110 |\n" in page
    )
    verdicts = [claim["verdict"] for claim in record["claims"] if not claim["control"]]
    for expected in (
        f"27 claims: {verdicts.count('SUPPORTED')} SUPPORTED, ",
        "(255,999 resamples, seed 20261122)",
        "registered claims, committed c0ffeec0ffee on 2026-11-23 |",
        "share of alpha 0.05 (smallest share 0.00078)",
        record["models"]["trained"]["digest"],
        record["settings"]["prompts"]["digest"],
        record["settings"]["registrations"]["lock"],
        f"```\n{record['run']['command']}\n```",
        TITLE,
        "arXiv:2606.13168",
    ):
        assert expected in page


def rows(page):
    """The cells of every row of the claims' table."""
    table = page.split("## Claims\n")[1].split("\n##")[0]
    return [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]


def test_claims_stand_under_their_sources_one_line_each(tmp_path, record):
    for place, claim in enumerate(record["claims"]):
        claim["cites"] = [None, "b paper", "a paper"][place % 3]
    found = rows(write_card(written(tmp_path, record)))
    applicable = [c for c in record["claims"] if not c["control"] and c["verdict"] != "NOT APPLICABLE"]
    assert len(found) == len(applicable)
    assert [cells[0].strip() for cells in found if cells[0].strip()] == ["a paper", "b paper", "-"]
    assert {cells[1].removesuffix(" (post hoc)") for cells in found} == {claim["title"] for claim in applicable}


def test_a_run_that_looked_early_says_on_how_many_documents_verdicts_rest(tmp_path, record):
    record["run"]["early"]["text"] = "verdicts by documents: 20 at 64, 3 at 256; 4 of 9 forward rows saved (44%)"
    told = "looked at early, too, each look at a share of the level: verdicts by documents: 20 at 64, 3 at 256."
    assert told in write_card(written(tmp_path, record))
    record["run"]["early"] = None
    assert "looked at early" not in write_card(written(tmp_path, record))


def test_what_is_inconclusive_says_why_and_no_infinite_interval_is_shown(tmp_path, record):
    gated, *_ = (claim for claim in record["claims"] if claim["verdict"] == "INCONCLUSIVE")
    gated["statements"][0] |= {"low": None, "high": None, "reason": "not matched: `x` takes 9% of the mass; and more"}
    gated["needed_prompts"] = None
    page = write_card(written(tmp_path, record))
    assert "∞, +∞" not in page
    assert "| INCONCLUSIVE: not matched |" in page
    assert "| INCONCLUSIVE: about 1,150 prompts would decide it |" in page


def test_the_controls_are_a_sentence_and_a_row_for_each_that_did_not_hold(tmp_path, record):
    controls = [claim for claim in record["claims"] if claim["control"]]
    assert f"{len(controls)} of {len(controls)} held: {controls[0]['title']}; " in write_card(written(tmp_path, record))
    controls[0]["verdict"] = "REFUTED"
    page = write_card(written(tmp_path, record)).split("## Controls\n")[1]
    assert f"{len(controls) - 1} of {len(controls)} held: {controls[1]['title']}; " in page
    assert f"{controls[0]['title']} | REFUTED |" in page


def test_post_hoc_claims_are_marked_and_contradictions_told(tmp_path, record):
    page = write_card(written(tmp_path, record))
    late = [claim["title"] for claim in record["claims"] if claim["registration"] == "post hoc"]
    assert late
    assert all(f"{title} (post hoc)" in page for title in late)
    assert "| Decided for “Embedding has no role in late attention”. |" in page


def test_a_part_of_the_claims_is_shown_and_the_counts_stay_those_of_all(tmp_path, record):
    file = written(tmp_path, record)
    whole, part = write_card(file), write_card(file, only="EARLY_MLP")
    wanted = [c["title"] for c in record["claims"] if "early_mlp" in c["node_id"] and c["statements"]]
    assert {cells[1].removesuffix(" (post hoc)") for cells in rows(part)} == set(wanted)
    assert f"Shown are {len(wanted) + 1} of its {len(record['claims'])} claims and controls" in part
    counts = re.search(r"27 claims: .*", whole).group()
    assert counts in part
    with pytest.raises(ValueError, match="no claim has 'no such' in its key or title; give a part of one"):
        write_card(file, only="no such")


def test_the_same_record_gives_the_same_bytes_and_another_record_another_digest(tmp_path, record):
    page = write_card(written(tmp_path, record))
    assert write_card(written(tmp_path, record)) == page
    record["run"]["seed"] += 1
    changed = write_card(written(tmp_path, record))
    assert re.findall(r"\| record \|.*", changed) != re.findall(r"\| record \|.*", page)


def hostile(value, keep=()):
    """Every string in a record, and every name of a package, becomes `HOSTILE`."""
    if isinstance(value, dict):
        return {key: each if key in keep else hostile(each, keep) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, keep) for each in value]
    return HOSTILE if isinstance(value, str) else value


def test_whatever_stands_in_a_record_stays_text(tmp_path, record):
    record["run"]["versions"][HOSTILE] = HOSTILE
    record["models"][HOSTILE] = record["models"]["wrapped"]
    page = write_card(
        written(
            tmp_path, hostile(record, keep=("op", "node_id", "contradicts", "verdict", "split", "attestation", "part"))
        )
    )
    html = rendered(page)
    assert set(re.findall(r"<(\w+)", html)) == TAGS
    assert html.count("<h1>") == 1
    assert html.count("<h2>") == 6
    assert {row.count("<td") for row in html.split("<tr>")[1:]} == {0, 3, 6}
    assert one_line(HOSTILE) in unescape(html)


@given(st.text())
@example(HOSTILE)
@example("https://a.b :smile: http://c www.d.e a@b.c <https://f>")
def test_escaped_text_reads_as_it_was_written(text):
    assert unescape(rendered(f"x{escaped(text)}x")) == f"<p>x{one_line(text)}x</p>\n"


@given(st.text(alphabet="`~ \n\\<a"))
def test_a_command_stays_in_its_block(text):
    tokens = MarkdownIt("commonmark").parse("\n".join(_block(text)))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content.strip() == one_line(text)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda record: record.pop("settings"), "a malformed record (lacks `settings`)"),
        (lambda record: record.update(models=[]), "a malformed record (models: a list is not an object)"),
        (
            lambda record: record["claims"][0]["statements"][0].update(estimate="<b>"),
            'a malformed record (claims[0].statements[0].estimate: "<b>" is not a finite number)',
        ),
        (lambda record: record.update(schema="two"), "no record of a run"),
    ],
)
def test_a_malformed_record_is_refused_with_a_remedy(tmp_path, record, change, problem):
    change(record)
    file = written(tmp_path, record)
    with pytest.raises(ValueError, match=re.escape(str(file))) as caught:
        write_card(file)
    assert problem in str(caught.value)
    assert "; give " in str(caught.value)


def test_the_command_prints_a_card_or_writes_it(tmp_path, record):
    file, out = written(tmp_path, record), tmp_path / "card.md"
    command = warm([sys.executable, "-m", "attnres_core", "card", str(file)])
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=None, check=True)
    assert subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, check=True).stdout == ""
    assert out.read_text(encoding="utf-8") == printed.stdout == write_card(file)
    few = subprocess.run([*command, "-k", "early mlp"], capture_output=True, text=True, encoding="utf-8", check=True)
    assert few.stdout == write_card(file, only="early mlp")
    missing = subprocess.run([*command[:-1], "none.json"], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "there is no such file; give a run's record" in missing.stderr


def test_the_citation_file_names_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f'title: "{TITLE}"\n' in text
    assert f"\nversion: {__version__}\n" in text


def test_the_citation_file_lists_the_papers_that_claims_come_from():
    cited = {paper for file in (ROOT / "hypotheses").glob("*.py") for paper in ARXIV.findall(file.read_text())}
    listed = re.findall(r"^        value: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited
    assert sorted(listed) == sorted(cited)
