"""benchmarks/verdicts.py: the table of several checkpoints' verdicts, whatever their records hold."""

import copy
import re

import pytest
from markdown_it import MarkdownIt
from support.sample_record import sample_record

from benchmarks.verdicts import page, table

HOSTILE = "a | b [c](http://d) <b>e</b> `f`\n# g"


@pytest.fixture
def records():
    found = [sample_record() for _ in range(2)]
    for record in found:
        record["counts"] = {"SUPPORTED": 1}
    return found


def html_rows(text):
    html = MarkdownIt("commonmark").enable("table").render(text)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row, re.DOTALL) for row in html.split("<tr>")[1:]]


def test_a_claim_that_one_record_lacks_is_a_dash_there(records):
    one, other = records
    missing, extra = one["claims"].pop(1), other["claims"].pop(0)
    told = {row[0]: row[1:] for row in html_rows(page(records))}
    assert told[missing["title"]][0] == "-" != told[missing["title"]][1]
    assert told[extra["title"]][1] == "-" != told[extra["title"]][0]


def test_claims_of_some_files_alone_are_told(records):
    every = table(records, control=False)
    moved = next(claim for claim in records[0]["claims"] if not claim["control"])
    title = moved["title"]
    for record in records:
        for claim in record["claims"]:
            if claim["title"] == title:
                claim["node_id"] = "hypotheses/test_other.py::test_moved"
    alone = table(records, control=False, files=["test_other.py"])
    assert alone == [*every[:2], *(line for line in every if line.startswith(f"| {title} |"))]
    assert sorted(every[2:]) == sorted(alone[2:] + table(records, control=False, files=["test_motifs.py"])[2:])


def test_whatever_a_title_or_a_name_holds_stays_text(records):
    plain = html_rows(page(records))
    changed = copy.deepcopy(records)
    for record in changed:
        record["models"]["trained"]["name"] = HOSTILE
        for claim in record["claims"]:
            claim |= {"title": HOSTILE, "cites": HOSTILE}
    text = page(changed)
    assert [len(row) for row in html_rows(text)] == [len(row) for row in plain]
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert not re.search(r"<(a|b|h1>g)\b", html)


def test_post_hoc_claims_are_marked_and_counted(records):
    text = page(records)
    late = [claim["title"] for claim in records[0]["claims"] if claim["registration"] == "post hoc"]
    told = {row[0] for row in html_rows(text)}
    assert late
    assert {f"{title} (post hoc)" for title in late} <= told
    assert text.count(f"{len(late)} of them post hoc") == 2


def test_contradictions_are_told_for_every_record(records):
    text = page(records)
    assert text.count("Decided for “Embedding has no role in late attention”.") == 2
    for record in records:
        for claim in record["claims"]:
            claim["contradicts"] = []
    assert "## Contradictions" not in page(records)
