"""Two runs over the same documents: which column's mean differs, by the suite's own limits, over all columns together.

Numbers in, numbers out. Differences are taken document by document, so that what a document adds to both runs falls
out. Holm's step-down keeps the probability of any wrong "differs" at most alpha, whatever the columns share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from attnres_core.claims.statements import Interval, Operator
from attnres_core.shapes import Column
from attnres_core.statistics import intervals, multiplicity
from attnres_core.statistics.intervals import Bootstrap, Strata

ALPHA = 0.05
"""The probability of any wrong "differs" at most."""
_BLOCK = 16
"""Columns whose resamples are held at once."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of second less first over documents."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, adjusted by Holm over all columns that were tested."""
    differs: bool
    """Whether the interval, at the level of its own step, excludes zero."""
    note: str = ""
    """What the reader must know about the limits."""


def differences(
    pairs: Sequence[tuple[Column, Column]],
    noises: Sequence[float],
    strata: Strata | None = None,
    alpha: float = ALPHA,
    progress: Callable[[range], Iterable[int]] = iter,
) -> list[Difference | str]:
    """Each pair's difference, or why none can be told: a gate, or that both are the same numbers.

    Args:
        pairs: the columns of the first and of the second run, `[document]`, all over the same documents.
        noises: how far the arithmetic may have moved each difference; limits are moved out by it.
        strata: see `intervals.bootstrap_t`.
        alpha: the probability of any wrong "differs" at most.
        progress: wraps the columns' blocks, to tell how far it is.
    """
    columns = [second - first for first, second in pairs]
    told: list[Difference | str] = ["the same numbers" if not column.any() else "" for column in columns]
    open_ones = [place for place, why in enumerate(told) if not why]
    most = len(open_ones)
    p_values: dict[int, float] = {}
    steps: dict[int, list[Interval]] = {}  # limits at the level of each step of Holm's, from the last to the first
    for start in progress(range(0, most, _BLOCK)):
        block = open_ones[start : start + _BLOCK]
        own = [columns[place] for place in block]
        made = intervals.bootstraps(own, [alpha / 2 / most] * len(block), strata, widest=alpha / 2)
        for place, bootstrap in zip(block, made, strict=True):
            if isinstance(bootstrap, str):
                told[place] = bootstrap
                continue
            steps[place] = [bootstrap.interval(alpha / 2 / left).widened(noises[place]) for left in range(1, most + 1)]
            p_values[place] = _p_value(bootstrap, noises[place], steps[place][-1])
    ordered = sorted(p_values, key=lambda place: p_values[place])
    adjusted = dict(zip(ordered, multiplicity.holm([p_values[place] for place in ordered]), strict=True))
    count, found = len(ordered), 0
    while found < count and _rejected(steps[ordered[found]][count - found - 1], adjusted[ordered[found]], alpha):
        found += 1
    for rank, place in enumerate(ordered):  # the limits of its own step; where none was rejected, of the last step
        limits = steps[place][count - 1 - min(rank, found)]
        told[place] = Difference(limits.mean, limits.low, limits.high, adjusted[place], rank < found, limits.note)
    return told


def _rejected(limits: Interval, p: float, alpha: float) -> bool:
    return p <= alpha and (limits.low > 0 or limits.high < 0)


def _p_value(bootstrap: Bootstrap, noise: float, strictest: Interval) -> float:
    """Two-sided; 1 where the limit that faces zero was discarded for a long tail."""
    facing = strictest.low if strictest.mean > 0 else strictest.high
    if not math.isfinite(facing):
        return 1.0
    sides = (bootstrap.p_value(Operator.ABOVE, noise), bootstrap.p_value(Operator.BELOW, -noise))
    return min(1.0, 2 * min(sides))
