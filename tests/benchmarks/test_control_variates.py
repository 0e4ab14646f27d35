"""benchmarks/control_variates.py: the adjusted estimate against its definition, and what it may not be known from."""

from __future__ import annotations

import numpy as np

from benchmarks.control_variates import Population, adjusted, chosen, compared, plain


def moments(covariates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return covariates.mean(0)[None], np.cov(covariates.T, bias=True)[None]


def test_the_values_are_the_jackknifes_of_the_regression_estimator() -> None:
    rng, n = np.random.default_rng(1), 20
    covariates = rng.normal(size=(4 * n, 2))
    effects = covariates[:n, 0] + rng.normal(size=n)
    known, spread = moments(covariates)

    def estimate(rows: np.ndarray) -> float:
        design = np.column_stack([np.ones(len(rows)), covariates[rows]])
        return float(np.linalg.lstsq(design, effects[rows])[0] @ [1, *known[0]])

    everyone = np.arange(n)
    by_hand = [n * estimate(everyone) - (n - 1) * estimate(np.delete(everyone, i)) for i in everyone]
    found = adjusted(effects[None], covariates[None, :n], known, spread, 4 * n)
    np.testing.assert_allclose(found.columns[0], by_hand)
    assert found.freedom == n - 3


def test_the_error_is_that_of_double_sampling() -> None:
    rng, n, sets = np.random.default_rng(2), 128, 400
    covariates = rng.normal(size=(sets, 4 * n, 1))
    effects = 0.8 * covariates[:, :n, 0] + 0.6 * rng.normal(size=(sets, n))  # R^2 .64
    spread = (covariates.var(1))[..., None]
    found = adjusted(effects, covariates[:, :n], covariates.mean(1), spread, 4 * n)
    expected = (1 - 0.64) / n + 0.64 / (4 * n)
    np.testing.assert_allclose((found.errors**2).mean(), expected, rtol=0.05)
    np.testing.assert_allclose(found.means.var(), expected, rtol=0.25)


def test_without_covariates_nothing_is_adjusted() -> None:
    effects = np.random.default_rng(3).lognormal(size=(2, 30))
    none = np.empty((2, 30, 0))
    found, was = adjusted(effects, none, np.empty((2, 0)), np.empty((2, 0, 0)), 120), plain(effects)
    np.testing.assert_allclose(found.columns, was.columns)
    np.testing.assert_allclose(found.errors, was.errors)


def test_covariates_known_on_documents_that_chose_the_claim_err_and_fresh_ones_do_not() -> None:
    rng, alpha, sets = np.random.default_rng(4), 0.025, 500
    covariates = rng.normal(size=(1000, 12, 2))
    effects = 0.9 * covariates[..., 0] + 0.44 * rng.normal(size=(1000, 12))
    people = Population(tuple("abcdefghijkl"), effects - effects.mean(0), covariates - covariates.mean(0))
    measured, reused, fresh = chosen(people, 64, alpha, sets).mean(0) / alpha
    assert reused > 2
    assert max(measured, fresh) < 2


def test_a_covariate_narrows_and_misses_no_more_often() -> None:
    rng, alpha = np.random.default_rng(5), 0.025
    covariates = rng.normal(size=(1000, 2, 2))
    effects = 0.9 * covariates[..., 0] + 0.44 * rng.normal(size=(1000, 2))
    people = Population(("a", "b"), effects - effects.mean(0), covariates - covariates.mean(0))
    wrong, means = compared(people, 64, alpha, 1000)
    assert (means[..., 1].var(0) < 0.6 * means[..., 0].var(0)).all()
    assert (wrong.mean((0, 1)) / alpha < 1.6).all()
