"""benchmarks/same_decisions.py: two runs are equal to the byte, or what differs is named."""

import copy
import json
import sys

import pytest
from support.sample_record import sample_record

from benchmarks import same_decisions


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Exit status and what is printed of a record and a changed copy, each with a store of one decision."""

    def run(change, decision="{}"):
        before = sample_record()
        after = copy.deepcopy(before)
        change(after)
        for name, record, content in (("before", before, "{}"), ("after", after, decision)):
            (tmp_path / f"{name}.json").write_text(json.dumps(record))
            (tmp_path / name / "judged").mkdir(parents=True)
            (tmp_path / name / "judged/question.json").write_text(content)
        words = ["before.json", "after.json", "--stores", "before", "after"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["same_decisions.py", *words])
        return same_decisions.main(), capsys.readouterr().out

    return run


def test_equal_runs_are_equal(compare):
    status, out = compare(lambda record: None)
    assert status == 0
    assert ", 0 differences" in out
    assert "1 and 1 stored decisions: 0 in one alone, 0 unequal" in out


def test_a_changed_limit_is_named(compare):
    def change(record):
        claim = next(claim for claim in record["claims"] if claim["statements"])
        claim["statements"][0]["low"] = -123.0

    status, out = compare(change)
    assert status == 1
    assert "statement 0, low: " in out
    assert "-> -123.0" in out


def test_a_last_bit_that_a_record_does_not_hold_is_found_in_the_store(compare):
    status, out = compare(lambda record: None, decision='{"low": 0.1}')
    assert status == 1
    assert "stored decision question.json differs" in out
