"""Statistics of two numbers together, made into columns: one number a document, whose mean is the statistic."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attnres_core.quantities.vocabulary import Statistic
from attnres_core.shapes import Column

VERSION = 1
"""Raise when a change to the statistics changes columns."""
RESAMPLES = 8192
"""Bootstrap samples; they inflate the variance by documents / RESAMPLES: 3 % at 256."""
PERMUTATIONS = 9999
"""Shuffles of a permutation test; its smallest p is one in one more."""
SEED = 20261122
LEFT_OUT = 256
"""Documents left out together, each in a row of its own: it bounds the memory."""
RELIABILITY = 0.9
"""Share of the variance between cells that must not be noise: it bounds the loss of a correlation to 5 %."""
Table = NDArray[np.float64]


def influence(statistic: Statistic, first: Table, second: Table) -> Column:
    """A statistic of two rows of means, as a column `[document]` that can be decided like any other.

    The statistic is smoothed over bootstrap samples of the documents, so that ranks become smooth too. A document's
    value is the smoothed statistic plus n times the covariance, over those samples, of the statistic and how often the
    document is drawn: the infinitesimal jackknife, whose standard error is that of the column's mean (Efron 2014,
    JASA 109:991).

    Noise in the means weakens correlations, and smoothing does so again: where the first matters no verdict may rest on
    the column (see `reliable`), and limits are moved out by the second (see `smoothing_bias`).

    Args:
        statistic: what is computed from the means.
        first: `[cell, document]`.
        second: the same shape.
    """
    n = first.shape[1]
    if n < 2 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return np.full(n, np.nan)
    counts = _draws(n)
    x, y = (counts @ table.T / n for table in (first, second))  # (sample, cell)
    values = _STATISTICS[statistic](x, y)
    covariance = (counts - 1.0).T @ (values - values.mean()) / RESAMPLES
    covariance -= covariance.mean()
    return np.asarray(values.mean() + n * covariance, dtype=np.float64)


@functools.lru_cache(maxsize=1)  # (claims ask for the same number of documents, one after the other)
def _draws(n: int) -> Table:
    """Return how often each sample draws each of `n` documents, `[sample, document]`, read-only."""
    counts = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    counts.setflags(write=False)
    return counts


def smoothing_bias(statistic: Statistic, first: Table, second: Table, smoothed: Column) -> float:
    """Return how far smoothing moved a statistic whose column is `smoothed`; other arguments as for `influence`."""
    (plain,) = _STATISTICS[statistic](first.mean(1)[None], second.mean(1)[None])
    return abs(float(plain - smoothed.mean()))


def reliable(table: Table) -> bool:
    """Return whether cells' means differ by so much more than their errors that correlations lose under 5 %."""
    errors = table.var(1, ddof=1) / table.shape[1]
    spread = table.mean(1).var(ddof=1)
    return bool(errors.mean() <= (1 - RELIABILITY) * spread)


def pseudo_values(statistic: Statistic, first: Column, second: Column) -> Column:
    """A statistic of documents' pairs of numbers, as a column `[document]` that can be decided like any other.

    The jackknife's pseudo-values (Tukey 1958), n times the statistic less n - 1 times that without the document: their
    mean is the statistic less its bias of order 1/n, their standard error is the statistic's own.

    Args:
        statistic: what is computed from the pairs.
        first: `[document]`.
        second: the same shape.
    """
    n = len(first)
    if n < 3 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        return np.full(n, np.nan)
    compute = _STATISTICS[statistic]
    (whole,) = compute(first[None], second[None])
    without = np.empty(n)
    for start in range(0, n, LEFT_OUT):  # (together: ranking row by row takes ten times as long)
        rows = np.arange(start, min(start + LEFT_OUT, n))
        kept = rows[:, None] != np.arange(n)
        tables = (np.broadcast_to(column, kept.shape)[kept].reshape(len(rows), n - 1) for column in (first, second))
        without[rows] = compute(*tables)
    return np.asarray(n * whole - (n - 1) * without, dtype=np.float64)


def permutation_p(
    statistic: Statistic, first: Column, second: Column, strata: Sequence[NDArray[np.intp]] | None = None
) -> float:
    """The two-sided p-value of two columns `[document]` being unrelated within strata; NaN where one is constant.

    The share of PERMUTATIONS shuffles of the second that give as large a statistic, itself counted among them.

    Args:
        statistic: what is computed from the pairs.
        first: `[document]`.
        second: the same shape.
        strata: the documents of each stratum, shuffled within; None: all in one.
    """
    if statistic is Statistic.SPEARMAN:  # (ranks once: a shuffle's ranks are the shuffled ranks)
        first, second, statistic = _ranks(first), _ranks(second), Statistic.PEARSON
    compute = _STATISTICS[statistic]
    (found,) = compute(first[None], second[None])
    if np.isnan(found) or np.ptp(second) == 0:
        return float("nan")
    shuffled = second[_shuffles(len(second), tuple(tuple(rows.tolist()) for rows in strata or ()))]
    if statistic is Statistic.KENDALL:
        values = compute(np.broadcast_to(first, shuffled.shape), shuffled)
    else:  # a shuffle changes neither means nor variances: it is the products' sum that orders the statistics
        spread, centre = first - first.mean(), second.mean()
        scale = np.linalg.norm(spread) * np.linalg.norm(second - centre)
        found, values = (second - centre) @ spread / scale, (shuffled - centre) @ spread / scale
    larger = np.abs(values) >= abs(found) - 1e-12  # (equal but for the order of adding)
    return float((1 + larger.sum()) / (1 + PERMUTATIONS))


@functools.lru_cache(maxsize=2)
def _shuffles(count: int, strata: tuple[tuple[int, ...], ...]) -> NDArray[np.intp]:
    """The places of `count` numbers in PERMUTATIONS orders, shuffled within strata, `[permutation, place]`."""
    rng, places = np.random.default_rng(SEED), np.tile(np.arange(count), (PERMUTATIONS, 1))
    for rows in strata or (range(count),):
        places[:, rows] = rng.permuted(places[:, rows], axis=1)
    return places


def _slope(x: Table, y: Table) -> Column:
    x, y = (table - table.mean(1, keepdims=True) for table in (x, y))
    spread = (x * x).sum(1)
    return np.asarray((x * y).sum(1) / np.where(spread > 0, spread, np.nan))


def _pearson(x: Table, y: Table) -> Column:
    x, y = (table - table.mean(1, keepdims=True) for table in (x, y))
    spread = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.asarray((x * y).sum(1) / np.where(spread > 0, spread, np.nan))


def _spearman(x: Table, y: Table) -> Column:
    return _pearson(_ranks(x), _ranks(y))


def _ranks(table: Table) -> Table:
    """Of each number along the last axis; ties share their mean rank."""
    from scipy import stats  # slow to import, and few claims ask

    return np.asarray(stats.rankdata(table, axis=-1))


def _kendall(x: Table, y: Table) -> Column:
    total, ties_x, ties_y = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
    for cell in range(1, x.shape[1]):  # against all before it
        own_x, own_y = (np.sign(table[:, cell, None] - table[:, :cell]) for table in (x, y))
        total += (own_x * own_y).sum(1)
        ties_x += (own_x != 0).sum(1)
        ties_y += (own_y != 0).sum(1)
    pairs = np.sqrt(ties_x * ties_y)
    return np.asarray(total / np.where(pairs > 0, pairs, np.nan))


_STATISTICS = {
    Statistic.SLOPE: _slope,
    Statistic.PEARSON: _pearson,
    Statistic.SPEARMAN: _spearman,
    Statistic.KENDALL: _kendall,
}
