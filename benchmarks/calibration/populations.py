"""Simulated super-populations whose mean is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnres_core.statistics import intervals

from .options import ALL_SIZES

Numbers = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Numbers]
"""(generator, data sets, documents) -> `[data set, unit]`."""

WITHIN_DOCUMENT = 4
STRATA = ((0.4, 0.0, 1.0), (0.3, 1.0, 1.0), (0.2, 2.0, 2.0), (0.1, 4.0, 2.0))  # share of documents, mean, sd


@dataclass(frozen=True)
class Population:
    """What columns are drawn from, standardised: true mean 0, sd 1 (of a document; within strata if it has them)."""

    name: str
    draw: Draw
    strata: Callable[[int], intervals.Strata | None] = lambda n: None
    share: float = 1.0  # of the data sets asked for: less where each is dear and rates are large
    largest: int = max(ALL_SIZES)


def _lognormal(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    return (rng.lognormal(size=(sets, n)) - math.exp(0.5)) / math.sqrt(math.e * (math.e - 1))


def _zero_inflated(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    """90 % zeros, otherwise exponential."""
    return (rng.exponential(size=(sets, n)) * (rng.random((sets, n)) < 0.1) - 0.1) / math.sqrt(0.19)


def _outliers(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    """Normal, and 2 % of documents 10 sd above."""
    values = rng.normal(size=(sets, n)) + 10 * (rng.random((sets, n)) < 0.02) - 0.2
    return np.asarray(values / math.sqrt(1 + 100 * 0.02 * 0.98))


def _prompts(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    """Prompts of n documents, half of whose variance is their document's."""
    document, prompt = rng.normal(size=(sets, n, 1)), rng.normal(size=(sets, n, WITHIN_DOCUMENT))
    return np.asarray(((document + prompt) / math.sqrt(2)).reshape(sets, -1))


def _documents(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    """The documents' means of the same prompts."""
    means = _prompts(rng, sets, n).reshape(sets, n, WITHIN_DOCUMENT).mean(2)
    return np.asarray(means / math.sqrt((1 + 1 / WITHIN_DOCUMENT) / 2))


def labels(n: int) -> NDArray[np.intp]:
    """The stratum of each of n documents; their numbers are fixed."""
    bounds = np.cumsum([share for share, _, _ in STRATA]) * n
    return np.searchsorted(np.round(bounds), np.arange(n), side="right").clip(max=len(STRATA) - 1)


def _stratified(rng: np.random.Generator, sets: int, n: int) -> Numbers:
    """Normal within four strata of different means and sds."""
    means, sds = (np.array([row[at] for row in STRATA])[labels(n)] for at in (1, 2))
    return np.asarray((rng.normal(size=(sets, n)) * sds + means - means.mean()) / math.sqrt(np.mean(sds**2)))


POPULATIONS = (
    Population("normal", lambda rng, sets, n: rng.normal(size=(sets, n))),
    Population("t5", lambda rng, sets, n: np.asarray(rng.standard_t(5, (sets, n)) / math.sqrt(5 / 3))),
    Population("lognormal", _lognormal),
    Population("90 % zeros", _zero_inflated),
    Population("2 % outliers", _outliers),
    Population("clustered: documents", _documents),
    Population("clustered: prompts", _prompts, share=0.1, largest=256),
    Population("stratified", _stratified, lambda n: intervals.strata_of(labels(n).tolist())),
)

SKEWED = (_lognormal, _zero_inflated, _outliers)
