"""p-values of a whole set of claims, adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnres_core.shapes import Column
from attnres_core.statistics.intervals import Strata, bootstrap_t


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values (statsmodels), in the order given: they bound the probability of any false finding."""
    return _adjusted(p_values, "holm")


def benjamini_yekutieli(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Yekutieli-adjusted p-values (statsmodels), in the order given.

    They bound the expected share of false findings among the findings, however the p-values depend on each other.
    """
    return _adjusted(p_values, "fdr_by")


def _adjusted(p_values: Sequence[float], method: str) -> list[float]:
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method=method)[1]]


def max_t(
    columns: Sequence[Column], scores: Sequence[float], strata: Strata | None = None, resamples: int = 19_999
) -> list[float]:
    """Single-step max-T adjusted p-values: how often the largest of all resampled statistics reaches each score.

    Args:
        columns: each `[document]`, turned so that a large mean speaks for its statement.
        scores: each statement's (mean - threshold) / standard error.
        strata: see `bootstrap_t`.
        resamples: number of resamples.
    """
    largest = bootstrap_t(np.stack(columns, axis=1), resamples, strata).max(0)
    return [(1 + int((largest >= score).sum())) / (resamples + 1) for score in scores]
