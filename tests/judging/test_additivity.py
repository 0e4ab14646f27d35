"""What costs more together than apart, held against matched pairs: worked out by hand on columns made here."""

from types import SimpleNamespace

import numpy as np
import pytest

import attnres_core as ac
from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.additivity import excesses, partings
from attnres_core.judging.outcomes import Outcome
from attnres_core.prompts import Split
from attnres_core.registration.registry import Standing
from attnres_core.report.numbers import MINUS
from attnres_core.report.wording import more_than_additive

MARGIN = 0.01
NOISE = np.random.default_rng(0).normal(0, 0.001, 256)
A, B, C, D = (ac.drop(family, ac.MLP).on(ac.TRAINED) for family in (ac.EMBEDDING, ac.CURRENT, ac.RECENT, ac.OLDER))
AB = ac.drop(ac.EMBEDDING & ac.CURRENT, ac.MLP).on(ac.TRAINED)
CD = ac.drop(ac.RECENT & ac.OLDER, ac.MLP).on(ac.TRAINED)
SINGLY = ac.drop(ac.EMBEDDING, ac.MLP, per_site=True).on(ac.TRAINED)
SOURCES = {A: {0}, B: {1}, C: {2}, D: {3}, AB: {0, 1}, CD: {2, 3}, SINGLY: {0}}
SITES = ("0.mlp", "1.mlp", "2.mlp")


class Measured:
    """Means of effects, on one split; every ablation is of three sites."""

    def __init__(self, means):
        self.columns = {quantity: mean + NOISE for quantity, mean in means.items()}
        self.material = self

    def column(self, quantity, split, documents):
        assert (split, documents) == (Split.CONFIRMATION, None)
        return self.columns[quantity]

    def resolved(self, quantity):
        every = [tuple((site, tuple(SOURCES[quantity])) for site in SITES)]
        runs = [(one,) for one in every[0]] if quantity.what.per_site else every
        return SimpleNamespace(interventions=[SimpleNamespace(touched=run) for run in runs])


def found(small, means, verdict=Verdict.SUPPORTED, operator=Operator.WITHIN):
    measured = Measured(means)
    interval = Interval(means.get(small, 0.0), -0.001, 0.001, 256, 0.0004)
    decision = Decision(Statement(Linear(((small, 1.0),)), operator, MARGIN), verdict, interval)
    standing = Standing(Split.CONFIRMATION, 0.0004, "registered")
    outcome = Outcome(Claim("a.py::test", "", "", None, (small,), ()), standing, verdict, (decision,))
    return excesses(outcome, partings(SOURCES, measured), measured)


def test_the_excess_is_what_the_whole_costs_beyond_the_sum():
    (one,) = found(A, {A: 0.002, B: 0.1, AB: 0.5})
    assert (one.whole, set(one.parts), one.matched) == (AB, {A, B}, ())
    assert one.mean == pytest.approx(0.5 - 0.1 - 0.002, abs=0.001)
    assert one.low < one.mean < one.high


def test_what_adds_up_or_stays_within_the_margin_is_no_excess():
    """The others cost much, and nothing more where the small one goes with them."""
    assert found(A, {A: 0.002, B: 0.5, AB: 0.505}) == ()


@pytest.mark.parametrize(("joint", "matched"), [(0.2, True), (0.45, True), (0.55, False)])
def test_an_excess_must_exceed_that_of_every_matched_pair(joint, matched):
    """C and D cost what A and B do; where both together exceed their sum by as much, A and B are nothing special."""
    told = found(A, {A: 0.002, B: 0.1, AB: 0.5, C: 0.003, D: 0.08, CD: joint})
    assert [one.matched for one in told] == ([pytest.approx((joint - 0.083,), abs=0.001)] if matched else [])


@pytest.mark.parametrize("large", [0.2001 + 0.01, 0.04, -0.1])
def test_pairs_whose_effects_differ_by_more_than_a_factor_of_two_are_not_matched(large):
    (one,) = found(A, {A: 0.002, B: 0.1, AB: 0.5, C: 0.003, D: large, CD: 0.9})
    assert one.matched == ()


def test_all_sites_at_once_are_held_against_the_sum_of_one_at_a_time():
    """Three sites of .003 each make .009; all at once cost .2."""
    (one,) = found(SINGLY, {SINGLY: 0.003, A: 0.2})
    assert (one.whole, one.parts) == (A, (SINGLY,))
    assert one.mean == pytest.approx(0.2 - 3 * 0.003, abs=0.002)


def test_only_what_is_shown_to_be_small_is_asked_about():
    means = {A: 0.002, B: 0.1, AB: 0.5}
    assert found(A, means, verdict=Verdict.INCONCLUSIVE) == ()
    assert found(A, means, operator=Operator.ABOVE) == ()
    assert found(A, {A: 0.002, AB: 0.5}) == ()  # the others alone were not measured


def entry(**given):
    base = {"whole": "both", "parts": ["one", "other"], "unit": "nats/token", "mean": 0.4, "low": 0.3, "high": 0.5}
    return {**base, "matched": [], **given}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {},
            "`both` costs +0.400 [+0.300, +0.500] nats/token more than `one` and `other`; no matched pair was measured",
        ),
        ({"matched": [0.02, -0.1]}, f"the same of 2 matched in this run: +0.0200, {MINUS}0.100"),
        ({"parts": ["one"]}, "more than `one` summed over its sites; "),
    ],
)
def test_in_words(given, words):
    text = more_than_additive(entry(**given))
    assert text.startswith("More than additive (exploratory): ")
    assert words in text
