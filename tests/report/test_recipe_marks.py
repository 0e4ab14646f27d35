"""The marks beside claims about a recipe: p-values against scipy, and what they mean together."""

import math

import numpy as np
import pytest
from scipy import stats

from attnres_core.claims.statements import Verdict
from attnres_core.report.across_seeds import Across, RecipeClaim
from attnres_core.report.recipe_marks import AGAINST, FOR, marks, p_values

SEEDS = (0.12, 0.10, 0.15, 0.09, 0.11, 0.13)


def across(estimates=SEEDS, op=">", threshold=0.02, error=0.0, **given):
    return Across("drop(older) on trained", "nats/token", op, threshold, tuple(estimates), (error,) * 6, **given)


def claim(*stated, key="k", **given):
    alpha = 0.01
    own = tuple((one, one.interval(alpha), Verdict.INCONCLUSIVE) for one in stated)
    return RecipeClaim(key, "t", "registered", (), alpha, Verdict.INCONCLUSIVE, "", (), own, **given)


@pytest.mark.parametrize(("op", "sign", "edge"), [(">", "greater", 0.1), ("<", "less", 0.1), (">", "greater", 0.13)])
def test_without_documents_error_they_are_student_s(op, sign, edge):
    holds, fails = p_values(claim(across(op=op, threshold=edge)))
    assert holds == pytest.approx(stats.ttest_1samp(SEEDS, edge, alternative=sign).pvalue)
    assert fails == pytest.approx(1 - holds)


def test_within_takes_both_sides_for_it_and_either_against_it():
    sides = [stats.ttest_1samp(SEEDS, end, alternative=a).pvalue for end, a in ((-0.13, "greater"), (0.13, "less"))]
    assert p_values(claim(across(op="abs<", threshold=0.13)))[0] == pytest.approx(max(sides))
    beyond = stats.ttest_1samp(SEEDS, 0.05, alternative="greater").pvalue
    assert p_values(claim(across(op="abs<", threshold=0.05)))[1] == pytest.approx(2 * beyond)


def test_all_statements_must_hold_and_one_that_fails_is_enough():
    good, bad = across(), across([-x for x in SEEDS])
    fails_alone = p_values(claim(bad))[1]
    holds, fails = p_values(claim(good, bad))
    assert (holds, fails) == pytest.approx((p_values(claim(bad))[0], 2 * fails_alone))
    assert p_values(claim(good, bad, kinds=2))[1] == pytest.approx(p_values(claim(good))[1])  # under every kind
    assert p_values(claim(bad, picked=True))[1] == 1.0


def test_documents_error_noise_and_missing_limits_make_them_larger():
    least = p_values(claim(across()))[0]
    assert p_values(claim(across(error=0.01)))[0] > least
    assert p_values(claim(across(noise=0.02)))[0] > least
    assert p_values(claim(across(has_low=False)))[0] == 1.0
    assert p_values(claim(across([None, *SEEDS[1:]]))) == (1.0, 1.0)
    assert p_values(claim(across([0.1] * 6))) == (1.0, 1.0)


def test_their_limits_and_p_values_agree():
    """A limit at alpha touches the threshold where p is alpha."""
    one = across(error=0.004, noise=0.003)
    holds, _ = p_values(claim(one))
    assert one.interval(holds).low == pytest.approx(one.threshold)


def test_of_many_claims_that_are_not_so_few_sets_have_any_mark():
    """If no claim holds, any mark is false: at most a twentieth of sets have one."""
    rng, marked = np.random.default_rng(0), 0
    for _ in range(200):
        shared = rng.normal(size=6)
        own = [claim(across(shared + rng.normal(size=6), threshold=0.0), key=str(k)) for k in range(20)]
        marked += FOR in marks(own)
    assert marked / 200 <= 0.05


def test_claims_that_are_so_are_marked_and_those_without_numbers_are_not():
    rng = np.random.default_rng(0)
    claims = [claim(across(sign + 0.1 * rng.normal(size=6)), key=str(sign)) for sign in (1, -1)]
    empty = RecipeClaim("none", "t", "registered", (), math.nan, Verdict.NOT_APPLICABLE, "", (), ())
    assert marks([claims[0], empty, claims[1]]) == [FOR, "", AGAINST]
