"""A record by source: every claim once, under the paper that it cites."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_record import claim, sample_record, statement

from attnres_core.records.schema import VERDICTS, ClaimEntry
from attnres_core.report.by_source import UNCITED, by_source, source


def cited(cites: str | None, estimate: float = 1.0, **given: object) -> ClaimEntry:
    return claim("A claim", statement("effect > 0.02", ">", estimate, 0.01, 0.02), group=None, cites=cites, **given)


@pytest.mark.parametrize(
    ("cites", "name"),
    [
        ("arXiv:2606.13168, motif current -> early attention and early MLP", "arXiv:2606.13168"),
        ("arXiv:2606.13168 and arXiv:2603.15031, mass by family", "arXiv:2606.13168 and arXiv:2603.15031"),
        ("sparse-routing study of a 124M model: keep-top-k retention", "sparse-routing study of a 124M model"),
        ("a whole sentence", "a whole sentence"),
        ("two\nlines, and more", "two lines"),
        ("", UNCITED),
        (", nothing before it", UNCITED),
        (None, UNCITED),
    ],
)
def test_a_source_is_what_is_cited_without_the_place_in_it(cites: str | None, name: str) -> None:
    assert source(cited(cites)) == name


def test_rows_count_verdicts_and_name_changes() -> None:
    known = {"verdict": "REFUTED", "reason": "known"}
    changed = cited("B, one", expected=known)
    claims = [cited(None), cited("A, one"), changed, cited("B, two", -1.0, expected=known), cited("B, c", control=True)]
    rows = by_source(claims)
    assert [(row.source, len(row.claims)) for row in rows] == [("B", 2), ("A", 1), (UNCITED, 1)]
    assert dict(rows[0].counts) == dict.fromkeys(VERDICTS, 0) | {"SUPPORTED": 1, "REFUTED": 1}
    assert rows[0].changed == (changed,)
    assert rows[1].changed == ()


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, "A", "A, x", "A: y", "B and A, z"])))
def test_every_claim_stands_in_one_row(cites: list[str | None]) -> None:
    rows = by_source([cited(each) for each in cites])
    assert sum(len(row.claims) for row in rows) == sum(sum(row.counts.values()) for row in rows) == len(cites)
    assert len({row.source for row in rows}) == len(rows)


def test_the_rows_of_a_run_leave_out_its_controls() -> None:
    record = sample_record()
    told = [claim for row in by_source(record["claims"]) for claim in row.claims]
    assert len(told) == sum(not claim["control"] for claim in record["claims"])
