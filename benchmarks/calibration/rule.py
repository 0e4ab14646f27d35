"""What the library's rule does to columns whose true mean is 0.

Its limits are never inside Student's, so a data set that Student's t does not miss cannot be missed: by default only
those that Student misses are bootstrapped. Up to 64 data sets share their resampling weights, which leaves marginal
rates as they are; every such batch has a seed of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.shapes import Column
from attnres_core.statistics import intervals

from .options import Options
from .populations import Numbers
from .tables import ratio

Flags = NDArray[np.bool_]

SEED = 5
BATCH = 64
RULE = ("limit low", "limit high", "> SUPP.", "> REF.", "abs at +m", "abs at -m", "gated", "discarded")
FIELDS = ("t low", "t high", *RULE)


def outcomes(
    columns: Sequence[Column], alpha: float, seed: int = SEED, strata: intervals.Strata | None = None
) -> Flags:
    """What the rule does to columns whose true mean is 0, as booleans `[column, field]` in the order of RULE.

    The limits' misses are read off the p-value, in which there is no gate; verdicts are `decide`'s, after all gates.
    `> SUPP.`: `x > m` SUPPORTED with the truth at m; `> REF.`: REFUTED with the truth (just above) m. `abs at +m`,
    `abs at -m`: `abs(x) < m` SUPPORTED with the truth there, m being 1 sd.
    """
    found = np.zeros((len(columns), len(RULE)), bool)
    for start in range(0, len(columns), BATCH):
        part = columns[start : start + BATCH]
        made = intervals.bootstraps(part, [alpha] * len(part), strata, seed + start)
        for row, (column, one) in enumerate(zip(part, made, strict=True), start):
            if isinstance(one, str):
                interval, misses = intervals.gated(column, alpha, one), [False, False]
            else:
                interval, level = one.interval(alpha), alpha * (1 + 1e-9)
                misses = [one.p_value(operator, 0.0) <= level for operator in (Operator.ABOVE, Operator.BELOW)]
            above = intervals.decide(Operator.ABOVE, 0.0, interval)
            verdicts = [above is Verdict.SUPPORTED, above is Verdict.REFUTED]
            for place in (1.0, -1.0):  # the column moved there, and its limits along
                moved = replace(interval, low=interval.low + place, high=interval.high + place)
                verdicts.append(intervals.decide(Operator.WITHIN, 1.0, moved) is Verdict.SUPPORTED)
            discarded = math.isinf(interval.low) != math.isinf(interval.high)
            found[row] = (*misses, *verdicts, bool(interval.gate), discarded)
    return found


def student_misses(mean: Numbers, error: Numbers, freedom: int, alpha: float) -> Flags:
    """Which one-sided limits of Student's t miss a true mean of 0, `[..., low or high]`."""
    quantile = stats.t.ppf(1 - alpha, freedom) * (1 - 1e-9)
    return np.stack([mean > quantile * error, mean < -quantile * error], axis=-1)


def joined(student: Flags, chosen: Flags, outcome: Flags) -> Flags:
    """All fields, `[..., field]`: those that Student's t misses and, where `chosen`, what the rule does."""
    found = np.zeros((*chosen.shape, len(FIELDS)), bool)
    found[..., :2] = student
    found[chosen, 2:] = outcome
    if (found[..., 2:4] & ~student).any():  # then leaving data sets out would be wrong
        raise RuntimeError("a limit lies inside Student's: the rule is broken")
    return found


def rates(options: Options) -> tuple[str, ...]:
    """The names of the rates that are printed: Student's on its worse side and the wrong verdicts, or all."""
    return FIELDS[:8] if options.long else ("t", "> SUPP.", "> REF.")


def heads(options: Options) -> list[str]:
    """The rates at both levels, and what the gates do at the smaller one."""
    return [*(f"{name}, {alpha:g}" for alpha in options.alphas for name in rates(options)), "gated", "discarded"]


def cells(found: Flags, alpha: float, options: Options) -> list[str]:
    """Attained / nominal rates of `[..., field]` (see `rates`)."""
    flat = found.reshape(-1, len(FIELDS))
    counts = dict(zip(FIELDS, flat.sum(0).tolist(), strict=True))
    counts["t"] = max(counts["t low"], counts["t high"])
    return [ratio(counts[name], len(flat), alpha) for name in rates(options)]


def gates(found: Flags) -> list[str]:
    """The shares gated and discarded of data sets that were all judged, `[..., field]`."""
    return [f"{share:.0%}" for share in found.reshape(-1, len(FIELDS))[:, 8:].mean(0)]
