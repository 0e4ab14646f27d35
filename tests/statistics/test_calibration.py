"""benchmarks/calibration in reduced form: attained error where the truth is known, every data set bootstrapped.

Each bound names the half, gate or level whose loss breaks it. Seeds are fixed; bounds stand some four Monte-Carlo
standard errors from what the rule attains, and further from what it attains without the part they guard.
"""

import math

import numpy as np
import pytest
from scipy import stats

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.statistics.intervals import intervals
from benchmarks.calibration.early import FALSE, ended, false_verdicts
from benchmarks.calibration.populations import POPULATIONS, Population
from benchmarks.calibration.real import resampled, standardised
from benchmarks.calibration.rule import FIELDS, RULE, outcomes
from benchmarks.calibration.simulated import tally

ALPHA = 0.025
NAMED = {population.name: population for population in POPULATIONS}


def mirrored(population: Population) -> Population:
    return Population(population.name, lambda *size: -population.draw(*size), population.strata)


def rates(population: Population, n: int, sets: int, alpha: float = ALPHA) -> dict[str, float]:
    """Attained rates by field, no data set left out."""
    found = tally(population, n, alpha, sets, whole=sets, seed=17)
    return dict(zip(FIELDS, found.mean(0), strict=True))


@pytest.fixture(scope="module")
def lognormal() -> dict[str, float]:
    return rates(NAMED["lognormal"], 64, 2000)


@pytest.fixture(scope="module")
def left() -> dict[str, float]:
    """The same, mirrored."""
    return rates(mirrored(NAMED["lognormal"]), 64, 2000)


@pytest.mark.parametrize(
    ("name", "n"), [("normal", 16), ("normal", 128), ("t5", 64), ("clustered: documents", 32), ("stratified", 128)]
)
def test_limits_attain_their_level_on_symmetric_columns(name, n):
    """Neither more (alpha doubled, a missing Student half) nor far less (alpha halved)."""
    found = rates(NAMED[name], n, 3000)
    for field in ("limit low", "limit high", "> SUPP.", "> REF.", "abs at +m", "abs at -m"):
        assert 0.6 * ALPHA <= found[field] <= 1.3 * ALPHA, field


def test_the_level_holds_at_a_fortieth_of_alpha():
    """Only the data sets that Student's t misses are bootstrapped here."""
    found = tally(NAMED["normal"], 64, 0.05 / 40, 40_000, whole=64).mean(0)
    assert all(0.5 * 0.05 / 40 <= rate <= 1.5 * 0.05 / 40 for rate in found[2:8]), found


def test_student_s_half_guards_the_short_tail(lognormal, left):
    """There bootstrap-t alone attains its level; with Student's t, hardly anything."""
    assert lognormal["> SUPP."] <= lognormal["limit low"] <= 0.3 * ALPHA
    assert left["> REF."] <= left["limit high"] <= 0.3 * ALPHA


def test_the_bootstrap_s_half_guards_the_long_tail(lognormal, left):
    """Student's t alone misses over three times too often there; the outer of both, half as often."""
    assert lognormal["t high"] >= 3 * ALPHA
    assert lognormal["> REF."] <= lognormal["limit high"] <= 0.7 * lognormal["t high"]
    assert left["> SUPP."] <= left["limit low"] <= 0.7 * left["t low"]


@pytest.mark.parametrize("sign", [1, -1], ids=["right", "left"])
def test_the_tail_gate_discards_the_long_side_alone(sign):
    """At a fortieth of alpha and n = 64 most lognormal samples are beyond it."""
    data = sign * NAMED["lognormal"].draw(np.random.default_rng(3), 64, 64)
    beyond = np.abs(stats.skew(data, axis=1)) * stats.norm.ppf(1 - 0.05 / 40) / 8 >= 1
    assert 0.3 < beyond.mean() < 1
    found = [interval for (interval,) in intervals(list(data), [[0.05 / 40]] * 64)]
    assert [sign * (i.high if sign > 0 else i.low) == math.inf for i in found] == beyond.tolist()
    assert all(math.isfinite(i.low if sign > 0 else i.high) for i in found)
    assert (outcomes(list(data), 0.05 / 40)[:, 7] == beyond).all()


def test_the_support_gate_fires_as_often_as_it_should():
    """Of 64 documents at 90 % zeros: as often as fewer than ln(10 / alpha) differ from the mode."""
    sets = 2000
    found = rates(NAMED["90 % zeros"], 64, sets)
    expected = stats.binom.cdf(math.ceil(math.log(10 / ALPHA)) - 1, 64, 0.1)
    assert found["gated"] == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / sets))
    assert found["t high"] >= 4 * ALPHA  # what it is for: Student's t is blind to a tail it has not seen
    assert found["> REF."] <= 1.3 * ALPHA


def test_what_is_gated_gives_no_verdict():
    """Fifteen documents, a NaN, a constant: far from every threshold, and yet undecided."""
    rng = np.random.default_rng(1)
    few, broken, constant = rng.normal(5, 0.1, 15), rng.normal(5, 0.1, 64), np.full(64, 5.0)
    broken[3] = math.nan
    gated = RULE.index("gated")
    for column in (few, broken, constant, -few, -broken, -constant):
        assert outcomes([column], ALPHA)[0].nonzero()[0].tolist() == [gated]
    assert not outcomes([rng.normal(5, 0.1, 16)], ALPHA)[0, gated]


def test_prompts_of_one_document_are_no_units():
    """Four prompts a document with half their variance in common: taken for units, they miss four times too often."""
    assert rates(NAMED["clustered: prompts"], 32, 1000)["> SUPP."] >= 3 * ALPHA


def test_a_suite_with_every_margin_at_the_truth_is_seldom_wrong():
    """Forty claims at alpha / 40 on correlated columns, skewed to both sides: the bound is .05 (4 sigma)."""
    rng, sets, claims = np.random.default_rng(2), 2000, 40
    common = rng.normal(size=(512, 1))
    normal = (common + rng.normal(size=(512, claims))) / math.sqrt(2)
    columns = standardised(np.exp(0.15 * normal) * np.where(np.arange(claims) % 2, 1, -1))
    found = resampled(columns, 256, 0.05 / claims, sets)
    wrong = found[:, np.arange(claims), 4 + np.arange(claims) // 2 % 4].any(1).mean()
    assert 0.01 <= wrong <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / sets)


@pytest.fixture(scope="module")
def early() -> dict[str, list[int]]:
    """Wrong verdicts with the truth at the threshold in 3,000 normal data sets: at a fixed n, and over all looks."""
    return dict(zip(FALSE, false_verdicts(NAMED["normal"], ALPHA, 3000).tolist(), strict=True))


@pytest.mark.parametrize("wrong", FALSE)
def test_looking_early_spends_no_more_than_alpha_and_most_of_it(early, wrong):
    """Each look spends its share: at alpha each, three looks would spend nearly two alphas."""
    fixed, looked = (count / 3000 for count in early[wrong])
    assert 0.6 * ALPHA <= fixed <= 1.45 * ALPHA
    assert 0.5 * ALPHA <= looked <= 1.3 * ALPHA


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_every_look_finds_wrong_verdicts_of_its_share(looks):
    """Over the first, the first two and all looks: a quarter, a half and all of alpha bound them."""
    data, share = np.random.default_rng(23).normal(size=(3000, 256)), (0.25, 0.5, 1)[looks - 1]
    verdicts, documents = ended(data, Operator.ABOVE, 0.0, ALPHA, sequential=True)
    seen = documents <= (64, 128, 256)[looks - 1]
    for wrong in (Verdict.SUPPORTED, Verdict.REFUTED):
        rate = (seen & (verdicts == wrong)).mean()
        assert 0.4 * share * ALPHA <= rate <= share * ALPHA + 4 * math.sqrt(share * ALPHA / 3000)


def test_looking_early_knows_that_a_first_part_has_drawn_its_strata():
    """Half of the variance lies between strata: with their shares taken as fixed at 64 documents, this errs often."""
    supported, refuted = [], []
    for seed in range(60):  # which documents come first differs from set to set
        labels = np.random.default_rng([31, seed]).permutation(np.repeat([0, 1], 128))
        data = np.random.default_rng([37, seed]).normal(size=(50, 256)) + np.where(labels, 1.0, -1.0)
        found, _ = ended(data, Operator.ABOVE, 0.0, ALPHA, sequential=True, labels=labels)
        supported += list(found == Verdict.SUPPORTED)
        refuted += list(found == Verdict.REFUTED)
    for wrong in (supported, refuted):
        assert 0.4 * ALPHA <= np.mean(wrong) <= 1.3 * ALPHA


@pytest.mark.parametrize(
    ("operator", "threshold", "verdict"),
    [
        (Operator.ABOVE, 0.0, Verdict.SUPPORTED),
        (Operator.ABOVE, 1.0, Verdict.REFUTED),
        (Operator.WITHIN, 1.0, Verdict.SUPPORTED),
    ],
)
def test_looking_early_saves_documents_and_loses_few_verdicts(operator, threshold, verdict):
    """A mean half a standard deviation from the threshold: decided at 64 or 128 documents more often than not."""
    data = np.random.default_rng(29).normal(0.5, 1, size=(150, 256))
    verdicts, documents = ended(data, operator, threshold, 0.05 / 40, sequential=True)
    assert (verdicts == verdict).mean() > 0.99
    assert documents.mean() < 0.5 * 256
