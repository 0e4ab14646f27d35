"""Mass against effect: a column whose mean is the statistic and whose standard error is the statistic's."""

import numpy as np
import pytest
import torch
from scipy import stats

import attnres_core as ac
from attnres_core.engine.store import Store
from attnres_core.judging import stored_decisions
from attnres_core.quantities.vocabulary import Statistic
from attnres_core.statistics.associations import (
    influence,
    permutation_p,
    pseudo_values,
    reliable,
    smoothing_bias,
)

CELLS, DOCUMENTS = 30, 128
SCIPY = {
    Statistic.SLOPE: lambda x, y: stats.linregress(x, y).slope,
    Statistic.PEARSON: lambda x, y: stats.pearsonr(x, y).statistic,
    Statistic.SPEARMAN: lambda x, y: stats.spearmanr(x, y).statistic,
    Statistic.KENDALL: lambda x, y: stats.kendalltau(x, y).statistic,
}


def tables(rng, truth_x, truth_y, noise):
    shape = (CELLS, DOCUMENTS)
    return truth_x[:, None] + noise * rng.normal(size=shape), truth_y[:, None] + noise * rng.normal(size=shape)


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=CELLS)
    return x, 0.5 * x + 0.2 * rng.normal(size=CELLS)


@pytest.mark.parametrize("statistic", Statistic)
def test_with_little_noise_it_is_scipy_s(statistic, truth):
    x, y = tables(np.random.default_rng(1), *truth, 1e-6)
    column = influence(statistic, x, y)
    assert column.shape == (DOCUMENTS,)
    assert column.mean() == pytest.approx(SCIPY[statistic](*truth), abs=1e-4)


@pytest.mark.parametrize("statistic", Statistic)
def test_its_standard_error_is_the_statistic_s(statistic, truth):
    """Against the spread of the statistic over fresh samples of documents."""
    columns = [influence(statistic, *tables(np.random.default_rng(seed), *truth, 0.3)) for seed in range(40)]
    spread = np.std([column.mean() for column in columns], ddof=1)
    claimed = np.mean([column.std(ddof=1) / np.sqrt(DOCUMENTS) for column in columns])
    assert claimed == pytest.approx(spread, rel=0.35)  # (the spread of 40 is known to a tenth)


def test_it_covers_the_truth(truth):
    """Ninety-five in a hundred 95 % intervals hold the true rank correlation, at more noise than real effects have."""
    expected, held = SCIPY[Statistic.SPEARMAN](*truth), 0
    for seed in range(100):
        measured = tables(np.random.default_rng(seed), *truth, 0.5)
        column = influence(Statistic.SPEARMAN, *measured)
        half = 1.98 * column.std(ddof=1) / np.sqrt(DOCUMENTS) + smoothing_bias(Statistic.SPEARMAN, *measured, column)
        held += abs(column.mean() - expected) < half
    assert held >= 88


def test_noise_that_would_weaken_a_correlation_is_told():
    """A standard error of .4 times the range of the means halves a perfect correlation; one of .02 does nothing."""
    means = np.linspace(0, 1, CELLS)[:, None]
    noise = np.random.default_rng(0).normal(size=(CELLS, DOCUMENTS)) * np.sqrt(DOCUMENTS)
    assert reliable(means + 0.02 * noise)
    assert not reliable(means + 0.4 * noise)


def test_ties_are_counted_as_tau_b_does():
    x = np.repeat([[0.0], [0.0], [1.0], [2.0]], 8, axis=1)
    y = np.repeat([[0.0], [1.0], [1.0], [3.0]], 8, axis=1)
    expected = stats.kendalltau([0, 0, 1, 2], [0, 1, 1, 3]).statistic
    assert influence(Statistic.KENDALL, x, y) == pytest.approx(expected)


@pytest.mark.parametrize("statistic", Statistic)
def test_what_cannot_be_computed_is_nan(statistic):
    constant, rising = np.ones((4, 8)), np.arange(4.0)[:, None] + np.zeros(8)
    assert np.isnan(influence(statistic, constant, rising)).all()
    assert np.isnan(influence(statistic, rising, np.full((4, 8), np.nan))).all()


@pytest.mark.parametrize(("relation", "of"), [(ac.mass_and_effect, ac.mass), (ac.turn_and_effect, ac.turn)])
def test_measured_it_is_that_of_single_drops(relation, of, conformance):
    """Each family dropped at each site alone, mass or turn and effect averaged over the prompts."""
    model = ac.load_model(conformance / "open_reset_12")
    rows = np.random.default_rng(0).integers(0, 96, (6, 12)).tolist()
    what = relation("spearman", ac.MLP)
    masses, effects = [], []
    for site in model.sites:
        if site.sublayer is not ac.MLP or len(site.sources) < 2:
            continue
        here = range(site.layer, site.layer + 1)
        for family in dict.fromkeys(site.sources):
            drop, mass = ac.drop(family, ac.MLP, here), of(family, ac.MLP, here)
            columns = ac.measure(model, rows, [drop, mass])
            masses.append(columns[mass])
            effects.append(columns[drop])
    found = ac.measure(model, rows, [what])
    assert found[what] == pytest.approx(influence(Statistic.SPEARMAN, np.stack(masses), np.stack(effects)), abs=1e-3)
    assert set(found.record(what).sites) == {str(s) for s in model.sites if s.sublayer is ac.MLP and len(s.sources) > 1}


def pairs(seed, correlation, n=DOCUMENTS):
    """Documents' pairs of numbers; the second has a long tail, as losses do."""
    x, rest = np.random.default_rng(seed).normal(size=(2, n))
    return x, np.exp(correlation * x + np.sqrt(1 - correlation**2) * rest)


@pytest.mark.parametrize("statistic", Statistic)
def test_pseudo_values_average_to_the_statistic(statistic):
    x, y = pairs(0, 0.4)
    assert pseudo_values(statistic, x, y).mean() == pytest.approx(SCIPY[statistic](x, y), rel=0.1)
    without = SCIPY[statistic](x[1:], y[1:])
    whole = SCIPY[statistic](x, y)
    assert pseudo_values(statistic, x, y)[0] == pytest.approx(DOCUMENTS * whole - (DOCUMENTS - 1) * without)


@pytest.mark.parametrize(
    ("statistic", "truth"),
    [  # of the bivariate normal, which ranks do not tell from its exponential
        (Statistic.SPEARMAN, 6 / np.pi * np.arcsin(0.4 / 2)),
        (Statistic.KENDALL, 2 / np.pi * np.arcsin(0.4)),
    ],
)
def test_pseudo_values_cover_the_truth(statistic, truth):
    held, n = 0, 36
    for seed in range(200):
        column = pseudo_values(statistic, *pairs(seed, 0.4, n))
        held += abs(column.mean() - truth) < stats.t.ppf(0.975, n - 1) * column.std(ddof=1) / np.sqrt(n)
    assert 181 <= held <= 198  # 95 % of 200, give or take three standard errors


def test_permutation_p_is_scipy_s():
    x, y = pairs(3, 0.2, n=40)
    method = stats.PermutationMethod(n_resamples=9999, rng=1)
    for statistic, reference in ((Statistic.PEARSON, stats.pearsonr), (Statistic.KENDALL, None)):
        expected = reference(x, y, method=method).pvalue if reference else stats.kendalltau(x, y).pvalue
        assert permutation_p(statistic, x, y) == pytest.approx(expected, abs=0.02)


def test_a_permutation_p_is_computed_once(tmp_path, monkeypatch):
    store, (x, y) = Store(tmp_path), pairs(0, 0.3, n=24)
    halves = ("a",) * 12 + ("b",) * 12
    found = stored_decisions.unrelated_p(Statistic.SPEARMAN, x, y, halves, store)
    assert found == permutation_p(Statistic.SPEARMAN, x, y, (np.arange(12), np.arange(12, 24)))
    monkeypatch.setattr(stored_decisions.associations, "permutation_p", lambda *_: 2.0)
    assert stored_decisions.unrelated_p(Statistic.SPEARMAN, x, y, halves, Store(tmp_path)) == found
    others = [
        (Statistic.PEARSON, x, y, halves),
        (Statistic.SPEARMAN, y, x, halves),
        (Statistic.SPEARMAN, x, y, ("a",) * 24),
    ]
    assert [stored_decisions.unrelated_p(*other, store) for other in others] == [2.0, 2.0, 2.0]


def test_permutation_p_is_small_for_what_is_related_and_uniform_for_what_is_not():
    assert permutation_p(Statistic.SPEARMAN, *pairs(0, 0.8)) == 1 / 10_000
    unrelated = [permutation_p(Statistic.SPEARMAN, *pairs(seed, 0.0, n=24)) for seed in range(60)]
    assert stats.kstest(unrelated, "uniform").pvalue > 0.01


@pytest.mark.parametrize("statistic", Statistic)
def test_a_permutation_p_of_a_constant_is_none(statistic):
    for constant in (1.0, 2.7, 3.217):  # (17 of which do not add up to 17 times it)
        for n in (8, 17):
            assert np.isnan(permutation_p(statistic, np.full(n, constant), np.arange(float(n))))
            assert np.isnan(permutation_p(statistic, np.arange(float(n)), np.full(n, constant)))


@pytest.mark.parametrize("statistic", Statistic)
def test_a_permutation_p_counts_every_shuffle_where_nothing_can_be_less(statistic):
    """No correlation at all in the data: every shuffle gives as large a one."""
    x = np.tile([0.1, 0.1, 0.7, 0.7], 9)
    y = np.tile([0.3, 1.3, 0.3, 1.3], 9) * 1e3
    assert permutation_p(statistic, x, y) == 1.0


def test_what_strata_share_is_not_what_documents_share():
    """Two strata far apart in both numbers, unrelated within: related over all, not beyond the strata."""
    x, y = pairs(5, 0.0)
    shift = np.repeat([0.0, 100.0], DOCUMENTS // 2)
    halves = (np.arange(DOCUMENTS // 2), np.arange(DOCUMENTS // 2, DOCUMENTS))
    assert permutation_p(Statistic.PEARSON, x + shift, y + shift) == 1 / 10_000
    assert permutation_p(Statistic.PEARSON, x + shift, y + shift, halves) > 0.05
    assert permutation_p(Statistic.PEARSON, 3 * y + x + shift, y + shift, halves) == 1 / 10_000


def test_a_constant_summary_predicts_nothing_that_can_be_computed():
    assert np.isnan(pseudo_values(Statistic.SPEARMAN, np.ones(8), np.arange(8.0))).all()
    assert np.isnan(pseudo_values(Statistic.SPEARMAN, np.arange(2.0), np.arange(2.0))).all()


def test_measured_it_is_that_of_the_summary_and_the_loss(conformance):
    """The loss being the model's own, from its logits."""
    model = ac.load_model(conformance / "open_block_11")
    rows = np.random.default_rng(0).integers(0, 96, (8, 12)).tolist()
    what, summary = ac.summary_and_loss("pearson", ac.entropy(ac.MLP)), ac.entropy(ac.MLP)
    logits = model.logits(torch.tensor(rows))
    losses = [
        torch.nn.functional.cross_entropy(own[:-1], torch.tensor(row[1:])).item()
        for own, row in zip(logits, rows, strict=True)
    ]
    found = ac.measure(model, rows, [what, summary])
    assert found[what] == pytest.approx(pseudo_values(Statistic.PEARSON, found[summary], np.array(losses)), abs=1e-2)
    assert found.record(what).sites == found.record(summary).sites


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ac.mass_and_effect("r2"), "`statistic` is 'r2'; allowed: SLOPE"),
        (lambda: ac.mass_and_effect("slope", ac.FINAL), "the read-out is one site"),
        (lambda: ac.summary_and_loss("r2", ac.entropy(ac.MLP)), "`statistic` is 'r2'; allowed: SLOPE"),
        (lambda: ac.summary_and_loss("pearson", ac.drop(ac.OLDER, ac.MLP)), r"`summary` is drop\(older, mlp, all\)"),
        (lambda: ac.summary_and_loss("pearson", ac.mass(ac.most_massive(ac.MLP), ac.MLP)), "most_massive"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
