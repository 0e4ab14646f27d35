"""A small suite of claims that tests run in real pytest processes."""

from attnres_core.records.reading import read_record

CLAIMS = """
import pytest
from attnres_core import (ALL, ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, OLDER, RECENT, TRAINED, WRAPPED,
    claim, closed_form_error, drop, mass, most_causal, most_massive)

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED), cites="a paper", contradicts="test_claims.py::test_refuted")
def test_supported(effect):
    assert effect > -5

@claim("a claim in words", effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_refuted(effect):
    assert effect > 5

@claim(effect=drop(RECENT, MLP, LATE).on(TRAINED))
def test_inconclusive(effect):
    assert abs(effect) < 1e-5

@claim(effect=drop(OLDER, ATTN, EARLY).on(TRAINED))
def test_not_applicable(effect):
    assert effect > 0

@claim(error=closed_form_error(ATTN).on(WRAPPED), family="control")
def test_closed_form(error):
    assert error < 1e-6

@claim(most=mass(most_massive(MLP), MLP).on(TRAINED), least=mass(most_massive(MLP, rank=3), MLP).on(TRAINED))
def test_picked(most, least):
    assert most - least > 0

@pytest.mark.parametrize("margin", [3, 4])
@pytest.mark.parametrize("effect", [drop(EMBEDDING, ATTN, LATE).on(TRAINED)])
def test_parametrized(effect, margin):
    assert abs(effect) < margin
"""

ONE = """
import pytest
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_sound(effect):
    assert effect > -9
"""
"""One claim that is SUPPORTED."""


def record_of(pytester, name="reports/latest.json"):
    """The record of a real run, which is as the schema has it whatever the run was."""
    return read_record(pytester.path / name)


def part_of(pytester):
    """The record of the newest run, which kept it in a folder of its own."""
    return sorted((pytester.path / "reports").glob("2*/latest.json"))[-1].relative_to(pytester.path)


def verdicts(pytester, name="reports/latest.json"):
    """The claims of a record, by the test's name."""
    return {entry["node_id"].split("::")[1]: entry for entry in record_of(pytester, name)["claims"]}
