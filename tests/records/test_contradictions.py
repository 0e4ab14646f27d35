"""Claims that contradict each other: what is decided between them, and where it is told."""

import copy
import importlib.util
import tomllib
from pathlib import Path

import pytest
from support.sample_record import sample_record

from attnres_core import CURRENT, MLP, RECENT, TRAINED, claim, drop
from attnres_core.claims.statements import ClaimError, Linear, Operator, Statement
from attnres_core.plugin.terminal import verdict_table
from attnres_core.records.claim_entry import claimed
from attnres_core.records.contradictions import Contradiction, absent, contradictions, restated
from attnres_core.report.html.page import render

HYPOTHESES = Path(__file__).parents[2] / "hypotheses"
FILE = "hypotheses/test_a.py"


def entry(name, *named, verdict="SUPPORTED", column=None, region=(0.0, None), **given):
    statement = {"column": column or f"column of {name}", "region": list(region)}
    base = {"node_id": f"{FILE}::{name}", "title": f"title of {name}", "verdict": verdict, "contradicts": list(named)}
    return {**base, "split": "confirmation", "statements": [statement], "deciding": 0, **given}


MATTERS, NO_ROLE, LARGE, NEGATIVE = (0.02, None), (-0.01, 0.01), (5.0, None), (None, 0.0)


@pytest.mark.parametrize(
    ("supported", "refuted", "one"),
    [
        (MATTERS, NO_ROLE, True),
        (NO_ROLE, MATTERS, True),
        (MATTERS, NEGATIVE, True),
        (MATTERS, (None, 0.02), True),  # the very complement
        (MATTERS, LARGE, False),  # between .02 and 5: two findings
        (NO_ROLE, NEGATIVE, False),
    ],
)
def test_two_complementary_statements_on_one_column_are_one_finding(supported, refuted, one):
    first = entry("test_a", region=supported, column="x")
    second = entry("test_b", region=refuted, column="x", verdict="REFUTED")
    for pair in (Contradiction(first, second), Contradiction(second, first)):
        assert pair.finding == ("one finding: both claims are about the same column" if one else "decided")
    assert restated([first, second]) == ([second] if one else [])


def test_it_takes_the_same_column_the_same_documents_and_the_statement_that_refutes():
    first = entry("test_a", region=MATTERS, column="x")
    second = entry("test_b", region=NO_ROLE, column="x", verdict="REFUTED")
    assert restated([first, second]) == [second]
    assert restated([first, second | {"statements": [second["statements"][0] | {"column": "y"}]}]) == []
    assert restated([first, second | {"split": "exploration"}]) == []
    by_another = {"statements": [*second["statements"], {"column": "z", "region": [0.0, None]}], "deciding": 1}
    assert restated([first, second | by_another]) == []
    assert restated([first | {"verdict": "INCONCLUSIVE"}, second]) == []


def test_a_column_has_one_name_whichever_way_round_it_is_stated():
    a, b = (drop(family, MLP).on(TRAINED) for family in (CURRENT, RECENT))
    one, other = Linear(((a, 1.0), (b, -1.0))), Linear(((b, 1.0), (a, -1.0)))
    name, region = claimed(Statement(one, Operator.ABOVE, 0.02))
    assert claimed(Statement(other, Operator.ABOVE, 0.02)) == (name, [None, -0.02])
    assert claimed(Statement(other, Operator.BELOW, -0.02)) == (name, [0.02, None]) == (name, region)
    assert claimed(Statement(other, Operator.WITHIN, 0.02)) == (name, [-0.02, 0.02])


@pytest.mark.parametrize(
    ("first", "second", "finding", "sentence"),
    [
        ("SUPPORTED", "REFUTED", "decided", "Decided for “title of test_a”."),
        ("REFUTED", "SUPPORTED", "decided", "Decided for “title of test_b”."),
        ("REFUTED", "REFUTED", "neither holds here", "Neither holds here."),
        ("SUPPORTED", "INCONCLUSIVE", "undecided", "Undecided."),
        ("REFUTED", "NOT APPLICABLE", "undecided", "Undecided."),
        ("INCONCLUSIVE", "INCONCLUSIVE", "undecided", "Undecided."),
        ("ERROR", "REFUTED", "undecided", "Undecided."),
    ],
)
def test_what_two_verdicts_decide(first, second, finding, sentence):
    pair = Contradiction(entry("test_a", verdict=first), entry("test_b", verdict=second))
    assert (pair.finding, pair.sentence) == (finding, sentence)


def test_claims_that_both_hold_do_not_contradict_each_other_as_they_are_stated():
    pair = Contradiction(entry("test_a"), entry("test_b"))
    assert pair.sentence == "Not a contradiction as they are stated: both hold."


def names(pairs):
    return [tuple(one["node_id"].split("::")[1] for one in (pair.first, pair.second)) for pair in pairs]


def test_a_pair_is_found_once_from_either_side_where_both_are_in_the_run():
    one, other = entry("test_a", "test_a.py::test_b"), entry("test_b", "test_a.py::test_a")
    assert names(contradictions([one, other])) == [("test_a", "test_b")]
    assert names(contradictions([one])) == []
    assert names(contradictions([entry("test_a", "test_a.py::test_a")])) == []  # itself


def test_of_a_claim_with_cases_it_is_the_case_with_the_same_id():
    claims = [entry(f"test_a[{case}]", "test_a.py::test_b") for case in "xy"]
    claims += [entry(f"test_b[{case}]") for case in "yx"]
    assert names(contradictions(claims)) == [("test_a[x]", "test_b[x]"), ("test_a[y]", "test_b[y]")]
    named = [entry("test_a", "test_a.py::test_b[y]"), *claims[2:]]
    assert names(contradictions(named)) == [("test_a", "test_b[y]")]
    assert names(contradictions([claims[0], entry("test_b")])) == [("test_a[x]", "test_b")]


def test_a_claim_that_does_not_apply_contradicts_nothing():
    claims = [entry("test_a", "test_a.py::test_b"), entry("test_b")]
    assert names(contradictions(claims)) == [("test_a", "test_b")]
    for absentee in claims:
        others = [{**other, "verdict": "NOT APPLICABLE"} if other is absentee else other for other in claims]
        assert contradictions(others) == []


def test_a_name_that_no_claim_has_is_told_where_its_file_is_in_the_run():
    claims = [entry("test_a", "test_a.py::test_misspelt"), entry("test_b", "test_other.py::test_c")]
    assert absent(claims) == [("test_a.py::test_a", "test_a.py::test_misspelt")]


@pytest.mark.parametrize("given", ["test_b", "::test_b", "a.py::", 3, ["a.py::test_b", 3]])
def test_what_names_no_claim_is_refused(given):
    with pytest.raises(ClaimError, match=r"`contradicts` is .*; name one claim or several, each as"):
        claim(effect=drop(CURRENT, MLP).on(TRAINED), contradicts=given)


@pytest.fixture
def record():
    return sample_record()


def test_the_page_and_the_terminal_say_what_was_decided(record):
    assert "Decided for “Embedding has no role in late attention”." in render(record)
    lines = [line for line, _ in verdict_table(record["claims"], 120)]
    told = (
        "embedding_has_no_role_in_late_attention SUPPORTED, embedding_has_more_mass_before_attention_than_mlp REFUTED"
    )
    assert [line for line in lines if line.startswith("contradiction")] == [f"contradiction: decided ({told})"]


def test_a_page_without_contradictions_has_no_section_for_them(record):
    plain = copy.deepcopy(record)
    for one in plain["claims"]:
        one["contradicts"] = []
    assert "Claims that contradict each other" in render(record)
    assert "Claims that contradict each other" not in render(plain)


def test_every_name_in_this_repository_is_a_registered_claim():
    lock = tomllib.loads((HYPOTHESES / "claims.lock").read_text())
    found = [info for file in HYPOTHESES.glob("test_*.py") for info in infos(file)]
    named = [name for info in found for name in info.contradicts]
    assert len(named) == 4
    for name in named:
        assert any(key == name or key.startswith(f"{name}[") for key in lock), name


def infos(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [info for value in vars(module).values() if (info := getattr(value, "__attnres_claim__", None))]
