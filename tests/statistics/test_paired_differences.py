"""Paired differences of columns: what is the same, what differs, and how sure that is."""

import numpy as np
import pytest

from attnres_core.statistics import intervals
from attnres_core.statistics.paired import ALPHA, Difference, differences

RNG = np.random.default_rng(7)
BASE = RNG.normal(size=64) * 5
"""What a document adds to both runs, far more than they differ by."""
STEP = RNG.normal(size=64)
STEP = (STEP - STEP.mean()) / STEP.std(ddof=1)


def shifted(t):
    """A pair whose difference has this t statistic over 64 documents."""
    return BASE, BASE + STEP + t / 8


def only(pair, noise=0.0, **given):
    (found,) = differences([pair], [noise], **given)
    return found


def test_the_limits_are_the_suites_own_of_the_differences():
    found = only(shifted(5))
    ((own,),) = intervals.intervals([STEP + 5 / 8], [[ALPHA / 2]])
    assert (found.mean, found.low, found.high) == pytest.approx((own.mean, own.low, own.high))
    assert found.mean == pytest.approx(5 / 8)
    assert found.differs
    assert found.p < 0.001


def test_what_documents_add_to_both_runs_falls_out():
    (((unpaired,),)) = [intervals.intervals([shifted(5)[1]], [[ALPHA / 2]])[0]]
    assert only(shifted(5)).high - only(shifted(5)).low < (unpaired.high - unpaired.low) / 4


def test_the_direction_is_second_less_first():
    first, second = shifted(5)
    assert only((second, first)).mean == pytest.approx(-5 / 8)


@pytest.mark.parametrize("t", [0.0, 1.0, 1.9])
def test_what_noise_explains_does_not_differ(t):
    found = only(shifted(t))
    assert not found.differs
    assert found.low < 0 < found.high
    assert found.p > ALPHA


def test_the_arithmetics_own_error_moves_limits_and_p_value_out():
    found, noisy = only(shifted(5)), only(shifted(5), noise=0.5)
    assert (noisy.low, noisy.high) == pytest.approx((found.low - 0.5, found.high + 0.5))
    assert not noisy.differs
    assert noisy.p > ALPHA


def test_holm_steps_down_where_bonferroni_would_stop():
    """t = 2.2 has p near 0.03: too much for half of 5 %, enough once a clear difference is out of the way."""
    clear, faint = differences([shifted(9), shifted(2.2)], [0.0, 0.0])
    assert (clear.differs, faint.differs) == (True, True)
    assert faint.low == pytest.approx(only(shifted(2.2)).low, abs=0.02)
    beside_nothing = differences([shifted(0), shifted(2.2)], [0.0, 0.0])
    assert [each.differs for each in beside_nothing] == [False, False]
    assert beside_nothing[1].p == pytest.approx(2 * only(shifted(2.2)).p, rel=0.1)


def test_a_verdict_and_its_interval_and_its_p_value_say_the_same():
    for found in differences([shifted(t) for t in np.linspace(-4, 4, 17)], [0.0] * 17):
        assert found.differs == (found.low > 0 or found.high < 0)
        assert found.differs == (found.p <= ALPHA)


def test_a_long_tail_that_hides_the_limit_facing_zero_shows_nothing():
    few = np.zeros(64)
    few[:20] = np.exp(np.arange(20.0))
    found = only((np.zeros(64), -few))  # skewed to the left: the lower limit goes, the upper one faces zero and stays
    assert found.low == -np.inf
    assert "long tail" in found.note
    turned = only((np.zeros(64), few))
    assert turned.high == np.inf


def test_equal_and_shifted_columns_are_no_sample_of_differences():
    assert only((BASE, BASE.copy())) == "the same numbers"
    assert "constant" in only((BASE, BASE + 1))
    assert only((BASE[:8], BASE[:8] + STEP[:8])) == "8 documents; at least 16 are needed"
    same, other = differences([(BASE, BASE), shifted(5)], [0.0, 0.0])
    assert same == "the same numbers"
    assert other == only(shifted(5))
    assert isinstance(other, Difference)


def test_strata_are_resampled_within():
    labels = np.repeat([0, 1], 32)
    second = BASE + STEP + 10 * labels
    strata = intervals.strata_of(labels.tolist())
    within, across = only((BASE, second), strata=strata), only((BASE, second))
    assert within.high - within.low < (across.high - across.low) / 2
