"""A record as data frames, and as a picture in a notebook; whatever it holds stays text."""

import csv
import io
import json

import pytest
from support.sample_record import sample_record

import attnres_core as ac
from attnres_core.report.html.page import effects_csv

HOSTILE = "<script>alert(1)</script> & \u202e x"


@pytest.fixture
def record():
    return sample_record()


@pytest.fixture
def load(tmp_path):
    def load(record):
        (tmp_path / "r.json").write_text(json.dumps(record))
        return ac.load_record(tmp_path / "r.json")

    return load


def test_claims_have_a_row_each_with_the_numbers_of_what_decides_them(record, load):
    claims = load(record).claims
    assert list(claims["claim"]) == [claim["node_id"] for claim in record["claims"]]
    for (_, row), claim in zip(claims.iterrows(), record["claims"], strict=True):
        assert row["verdict"] == claim["verdict"]
        if claim["deciding"] is not None:
            own = claim["statements"][claim["deciding"]]
            assert (row["statement"], row["unit"], row["n"]) == (own["text"], own["unit"], own["n"])
            assert row["estimate"] == own["estimate"]


def test_effects_are_those_of_the_csv_file(record, load):
    effects, rows = load(record).effects, list(csv.DictReader(io.StringIO(effects_csv(record))))
    assert list(effects.columns) == list(rows[0])
    assert list(effects["statement"]) == [row["statement"] for row in rows]
    assert effects["estimate"].dtype == float
    known = effects["estimate"].notna()
    assert [str(value) for value in effects["estimate"][known]] == [r["estimate"] for r in rows if r["estimate"]]


def test_columns_have_a_row_for_each_that_was_measured(record, load):
    columns = load(record).columns
    assert list(columns["name"]) == [column["name"] for column in record["columns"]]
    assert list(columns["mean"]) == [column["mean"] for column in record["columns"]]


def test_it_shows_itself_and_whatever_it_holds_stays_text(record, load):
    assert repr(load(record)).startswith("<record of attnres-tiny-12L, ")
    record["claims"][0]["title"] = record["models"]["trained"]["name"] = HOSTILE
    shown = load(record)._repr_html_()
    assert "<script>" not in shown + repr(load(record)).replace("<script>alert(1)</script> & x", "")
    assert "\u202e" not in shown
    assert shown.count("<tr>") == 1 + len(record["claims"])
    assert "registered claims (controls included) decided" in shown


def test_what_is_no_record_is_refused(load):
    with pytest.raises(ValueError, match="a record is None; give its path"):
        ac.load_record(None)
    with pytest.raises(ValueError, match="no record of a run"):
        load({"schema": 1})
