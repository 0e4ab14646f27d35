"""The decision rule: oracles, gates, monotonicity and attained error."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attnres_core import estimate
from attnres_core.claims.statements import Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, Sample, judge
from attnres_core.statistics.intervals import (
    bootstrap_t,
    bootstraps,
    decide,
    describe_gate,
    exact_interval,
    intervals,
    resamples_for,
    strata_of,
)
from attnres_core.statistics.power import needed_units, unseen_share

ALPHA = 0.025


def interval_of(column, alpha=ALPHA):
    return intervals([np.asarray(column, float)], [[alpha]])[0][0]


def normal(n=64, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 1.0, n)


def test_limits_are_never_inside_student_t():
    column = normal()
    found = interval_of(column)
    student = stats.t.interval(1 - 2 * ALPHA, 63, column.mean(), stats.sem(column))
    assert found.low <= student[0]
    assert found.high >= student[1]


def test_on_normal_columns_the_limits_are_student_t_to_five_percent():
    column = normal(512)
    found = interval_of(column)
    student = stats.t.interval(1 - 2 * ALPHA, 511, column.mean(), stats.sem(column))
    assert found.high - found.low == pytest.approx(student[1] - student[0], rel=0.05)


def test_on_a_symmetric_column_the_limits_are_those_of_scipy_s_bca():
    """BCa is the oracle where it is right; on skewed columns it under-covers and the two differ."""
    column = normal(256, 0.3)
    found = interval_of(column)
    oracle = stats.bootstrap((column,), np.mean, n_resamples=9999, method="BCa", random_state=2).confidence_interval
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=0.05 * width)
    assert found.high == pytest.approx(oracle.high, abs=0.05 * width)


COLUMNS = {
    "normal": normal(64, seed=3),
    "skewed": stats.lognorm(1).rvs(64, random_state=4),
    "mostly zero": np.where(np.arange(64) % 5, 0.0, normal(64, seed=5)),
    "one far out": np.append(normal(63, seed=6), 1e6),
    "tiny": 1e-80 * normal(64, seed=7),
    "far from zero": 1e6 + normal(64, seed=8),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_bootstrap_t_by_brute_force(name):
    """The matrix products give what resampling one by one gives, in any company."""
    column = COLUMNS[name]
    company = np.stack([column, *COLUMNS.values()], axis=1)
    drawn = np.random.default_rng(9).integers(0, 64, size=(500, 64))
    resampled = column[drawn]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = (resampled.mean(1) - column.mean()) * 8 / resampled.std(1, ddof=1)
    for found in (bootstrap_t(column[:, None], 500, seed=9)[0], bootstrap_t(company, 500, seed=9)[0]):
        assert found == pytest.approx(expected, rel=1e-6)


def test_more_columns_and_resamples_than_are_taken_at_once():
    columns = np.random.default_rng(1).normal(size=(16, 300))
    found = bootstrap_t(columns, 8500, strata_of(["a", "b"] * 8))
    assert found[[0, 255, 256, 299]] == pytest.approx(
        bootstrap_t(columns[:, [0, 255, 256, 299]], 8500, strata_of(["a", "b"] * 8)), rel=1e-6, abs=1e-6
    )


def test_limits_of_a_wider_level_than_was_said_are_refused():
    (made,) = bootstraps([normal(64)], [0.01])
    assert made.interval(0.01).low < made.interval(0.002).mean
    with pytest.raises(ValueError, match=r"the level is 0\.05; say so when resampling"):
        made.interval(0.05)


def test_right_skew_moves_the_upper_limit_out():
    column = stats.lognorm(0.8).rvs(256, random_state=5)
    found = interval_of(column)
    assert found.high - found.mean > found.mean - found.low


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 64])
def test_resamples_make_alpha_a_rank(alpha):
    ranks = alpha * (resamples_for(alpha) + 1)
    assert ranks == pytest.approx(round(ranks))
    assert resamples_for(alpha) + 1 >= 200 / alpha


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (normal(15), "15 documents; at least 16 are needed"),
        (np.append(normal(20), np.nan), "1 of 21 values are NaN or infinite"),
        (np.append(normal(20), np.inf), "1 of 21 values are NaN or infinite"),
        (np.full(64, 0.3), "a constant effect column: the intervention changed every prompt alike, or none"),
        (
            np.append(np.zeros(60), [1.0, 2.0]),
            "only 2 prompts differ from the most common value; at least 6 are needed",
        ),
    ],
)
def test_gates_make_a_column_inconclusive(column, reason):
    assert describe_gate(column, ALPHA) == reason
    found = interval_of(column)
    for operator in Operator:
        assert decide(operator, -1.0 if operator is Operator.ABOVE else 1.0, found) is Verdict.INCONCLUSIVE


def test_long_tail_discards_its_own_limit_only():
    column = np.append(np.linspace(0.9, 1.1, 63), 60.0)
    found = interval_of(column)
    assert found.high == math.inf
    assert math.isfinite(found.low)
    assert "the upper limit is discarded" in found.note


@pytest.mark.parametrize(
    ("operator", "threshold", "low", "high", "verdict"),
    [
        (Operator.ABOVE, 0.02, 0.03, 0.05, Verdict.SUPPORTED),
        (Operator.ABOVE, 0.02, 0.01, 0.05, Verdict.INCONCLUSIVE),
        (Operator.ABOVE, 0.02, 0.00, 0.01, Verdict.REFUTED),
        (Operator.BELOW, 0.02, 0.00, 0.01, Verdict.SUPPORTED),
        (Operator.BELOW, 0.02, 0.00, 0.03, Verdict.INCONCLUSIVE),
        (Operator.BELOW, 0.02, 0.03, 0.05, Verdict.REFUTED),
        (Operator.WITHIN, 0.02, -0.01, 0.01, Verdict.SUPPORTED),
        (Operator.WITHIN, 0.02, -0.03, 0.01, Verdict.INCONCLUSIVE),
        (Operator.WITHIN, 0.02, -0.03, 0.03, Verdict.INCONCLUSIVE),
        (Operator.WITHIN, 0.02, 0.03, 0.05, Verdict.REFUTED),
        (Operator.WITHIN, 0.02, -0.05, -0.03, Verdict.REFUTED),
    ],
)
def test_verdicts_follow_the_limits(operator, threshold, low, high, verdict):
    assert decide(operator, threshold, Interval((low + high) / 2, low, high, 64, ALPHA)) is verdict


def test_refuting_uses_the_stricter_limits():
    wide, strict = Interval(0, -0.03, 0.01, 64, 0.01), Interval(0, -0.05, 0.03, 64, 0.005)
    assert decide(Operator.ABOVE, 0.02, wide) is Verdict.REFUTED
    assert decide(Operator.ABOVE, 0.02, wide, strict) is Verdict.INCONCLUSIVE


columns = st.integers(0, 10**6).map(lambda seed: stats.lognorm(0.5).rvs(48, random_state=seed) - 0.5)


@settings(max_examples=25, deadline=None)
@given(columns, st.floats(0.05, 20), st.floats(-3, 3))
def test_limits_are_equivariant_to_scale_and_shift(column, scale, shift):
    plain, moved = interval_of(column), interval_of(scale * column + shift)
    for field in ("mean", "low", "high"):
        assert getattr(moved, field) == pytest.approx(scale * getattr(plain, field) + shift, rel=1e-5, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(columns)
def test_limits_are_equivariant_to_sign(column):
    """Resampling is the same, so a mirrored column has mirrored limits (ranks differ by at most one)."""
    plain, mirrored = interval_of(column), interval_of(-column)
    assert mirrored.low == pytest.approx(-plain.high, rel=1e-5)
    assert mirrored.high == pytest.approx(-plain.low, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(columns, st.floats(-1, 2), st.floats(0, 1))
def test_a_lower_threshold_never_loses_support(column, threshold, easier):
    found = interval_of(column)
    if decide(Operator.ABOVE, threshold, found) is Verdict.SUPPORTED:
        assert decide(Operator.ABOVE, threshold - easier, found) is Verdict.SUPPORTED


def test_company_changes_no_limit():
    """A column's limits are the same alone and among others."""
    one, two = normal(64, 0.2), stats.lognorm(1).rvs(64, random_state=7)
    alone = intervals([one], [[ALPHA]])[0][0]
    among = intervals([two, one, -two], [[ALPHA]] * 3)[1][0]
    assert (alone.low, alone.high) == pytest.approx((among.low, among.high), rel=1e-6)


def test_exact_columns_are_decided_by_value():
    found = exact_interval(np.array([1e-8, 3e-8, 2e-8]), ALPHA, worst=True)
    assert found.exact
    assert (found.mean, found.low, found.high) == (3e-8, 3e-8, 3e-8)
    assert decide(Operator.BELOW, 3e-8, found) is Verdict.REFUTED
    assert decide(Operator.BELOW, 4e-8, found) is Verdict.SUPPORTED


def test_needed_units_are_those_of_the_z_test():
    found = Interval(0.5, 0.0, 1.0, 100, ALPHA, sd=2.0)
    z = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(0.8)
    assert needed_units(Operator.ABOVE, 0.1, found) == math.ceil((z * 2.0 / 0.4) ** 2)
    assert needed_units(Operator.ABOVE, 0.5, found) is None


def test_unseen_share():
    """With 256 prompts and alpha = 0.05 / 64, an effect on fewer than 2.8 % of prompts can be missed altogether."""
    assert unseen_share(0.05 / 64, 256) == pytest.approx(0.0275, abs=2e-4)


def test_estimate_of_a_column():
    column = normal(200, 0.5)
    found = estimate(column, confidence=0.95)
    assert found.mean == pytest.approx(column.mean())
    assert found.n == 200
    assert (found > 0).verdict is Verdict.SUPPORTED
    assert (found > 1).verdict is Verdict.REFUTED
    assert (found > 0.5).verdict is Verdict.INCONCLUSIVE
    assert (abs(found) < 1).verdict is Verdict.SUPPORTED


def test_contrasts_of_estimates_are_paired():
    """Two columns that differ by a constant jitter: unpaired, their difference would drown."""
    base, jitter = 10 * normal(64), 0.01 * normal(64, seed=1)
    difference = estimate(base + 0.1 + jitter) - estimate(base)
    assert (difference > 0.05).verdict is Verdict.SUPPORTED
    assert difference.mean == pytest.approx(0.1 + jitter.mean())


@pytest.mark.parametrize("column", [[], [[1.0, 2.0]], 3.0])
def test_estimate_refuses_what_is_no_column(column):
    with pytest.raises(ValueError, match="give one number per document, at least one document"):
        estimate(column)


def test_estimate_refuses_a_confidence_of_95():
    with pytest.raises(ValueError, match=r"`confidence` is 95; give a number from 0 to 0\.9999, such as 0\.95"):
        estimate(normal(), confidence=95)


def test_a_three_part_claim_refutes_at_a_third_of_alpha():
    column = normal(256, -0.12)
    statement = Statement(Linear((("x", 1.0),)), Operator.ABOVE, 0.0)
    one, three = Question(statement, 0.05, 1), Question(statement, 0.05, 3)
    found = judge([one, three], {"x": column})
    strict = intervals([column], [[0.05 / 3]])[0][0]
    strict = intervals([column], [[0.05, 0.05 / 3]])[0][1]
    assert found[one].verdict is Verdict.REFUTED
    assert found[three].verdict is Verdict.INCONCLUSIVE
    assert found[three].interval == strict  # the limits shown are those that decided
    assert strict.high > 0 > found[one].interval.high
    assert Sample({"x": column}, 0.05).compare(statement).verdict is found[one].verdict


@pytest.mark.parametrize("draw", ["normal", "lognormal", "t5"])
def test_attained_error_at_the_threshold_is_nominal(draw):
    """With the margin at the truth, SUPPORTED comes out at most about alpha of the time (400 columns, 4 sigma)."""
    rng, alpha, n, trials = np.random.default_rng(11), 0.05, 64, 400
    if draw == "normal":
        data, truth = rng.normal(0, 1, (trials, n)), 0.0
    elif draw == "lognormal":
        data, truth = rng.lognormal(0, 0.75, (trials, n)), math.exp(0.75**2 / 2)
    else:
        data, truth = rng.standard_t(5, (trials, n)), 0.0
    found = [part[0] for part in intervals(list(data), [[alpha]] * trials)]
    bound = alpha + 4 * math.sqrt(alpha * (1 - alpha) / trials)
    assert np.mean([i.low > truth for i in found]) <= bound
    assert np.mean([i.high < truth for i in found]) <= bound
