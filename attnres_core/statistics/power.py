"""Power: what so many documents can detect, how many a statement needs, what no number of them can exclude."""

from __future__ import annotations

import math

from scipy import special

from attnres_core.claims.statements import Interval, Operator
from attnres_core.shapes import Column
from attnres_core.statistics.intervals import MIN_UNITS, TAIL


def needed_units(operator: Operator, threshold: float, interval: Interval, power: float = 0.8) -> int | None:
    """Documents that would decide the statement with `power` if the truth is the present estimate; None: never."""
    if not math.isfinite(interval.sd) or interval.sd == 0:
        return None
    if operator is Operator.WITHIN:
        distance = abs(threshold - abs(interval.mean))
    else:
        distance = abs(interval.mean - threshold)
    if distance == 0:
        return None
    z = float(special.ndtri(1 - interval.alpha) + special.ndtri(power))
    needed = math.ceil((z * interval.sd / distance) ** 2)
    return needed if needed <= 10**7 else None


def detectable(interval: Interval, power: float = 0.8) -> float | None:
    """The smallest distance from the threshold that this many documents would decide with `power`."""
    if not math.isfinite(interval.sd) or interval.sd == 0:
        return None
    z = float(special.ndtri(1 - interval.alpha) + special.ndtri(power))
    return z * interval.sd / math.sqrt(interval.n)


def hall_units(column: Column, alpha: float, power: float = 0.8) -> int | None:
    """Documents for which the lower limit of a positive mean clears zero with `power`; None beyond ten million.

    The limit is mean - sd/sqrt(n) q with q the inverse of Hall's cubic at the normal quantile of 1 - alpha
    (P. Hall, 1992, J. R. Statist. Soc. B 54:221): q = (sqrt(n) 3/g) [(1 + g (z/sqrt(n) - g/(6 n)))^(1/3) - 1].
    """
    from scipy import stats  # slow to import, and only --attnres-plan asks

    mean, sd, skewness = float(column.mean()), float(column.std(ddof=1)), float(stats.skew(column))
    if mean <= 0 or sd == 0:
        return None
    z, extra = float(special.ndtri(1 - alpha)), float(special.ndtri(power))

    def decides(n: int) -> bool:
        quantile = z
        if abs(skewness) > 1e-6:
            inner = 1 + skewness * (z / math.sqrt(n) - skewness / (6 * n))
            quantile = math.sqrt(n) * 3 / skewness * (math.copysign(abs(inner) ** (1 / 3), inner) - 1)
        tail = abs(skewness) * z / math.sqrt(n) < TAIL or skewness > 0
        return tail and mean * math.sqrt(n) / sd >= quantile + extra

    low, high = MIN_UNITS, MIN_UNITS
    while not decides(high):
        low, high = high, 2 * high
        if high > 10**7:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high


SPARSE = 20
"""Documents: effects carried by fewer may be SUPPORTED wrongly more often than alpha says; measured by
`python -m benchmarks.calibration rare`."""


def sparse_share(n: int) -> float:
    """The share of prompts below which the level is not kept for effects that so few of `n` carry."""
    return min(1.0, SPARSE / n)


def unseen_share(alpha: float, n: int) -> float:
    """The share of prompts that could carry an effect without one of them among `n`, at level `alpha`."""
    return 1 - float(alpha ** (1 / n))
