"""Intervals and verdicts from columns: numbers in, numbers out; knows no model.

The limits are the outer of bootstrap-t and Student-t, each one-sided at level alpha. Every verdict can be wrong in one
direction only, so alpha bounds the probability of a wrong one; the gates below turn what no limit can be trusted
for into INCONCLUSIVE; the README says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attnres_core.shapes import Column

NULL_UNITS = 256
"""Null claims and REFUTED verdicts want this many documents; with fewer, the verdict says so."""
MIN_UNITS = 16
"""Fewer documents than this decide nothing."""
EXACT_TOLERANCE = 1e-6
"""A routing column whose values differ by at most this (float32 rounding) is constant."""
SEED = 20261122
_CHUNK = 8192


class Verdict(StrEnum):
    """What the data say about a claim."""

    SUPPORTED = "SUPPORTED"
    """The claim's limit clears its threshold."""
    REFUTED = "REFUTED"
    """The opposite limit clears it: the claim's effect is on the wrong side, not necessarily zero."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Neither; the reason says what would decide it."""
    NOT_APPLICABLE = "NOT APPLICABLE"
    """The claim speaks of sites that this checkpoint does not have."""


class Operator(StrEnum):
    """The three statements a claim can make about a mean."""

    ABOVE = ">"
    """The mean exceeds the threshold."""
    BELOW = "<"
    """The mean lies under the threshold."""
    WITHIN = "abs<"
    """Equivalence: the mean lies in (-threshold, threshold), by two one-sided tests."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One-sided limits at `alpha` each, so that the interval's confidence is 1 - 2 alpha."""

    mean: float
    low: float
    high: float
    n: int
    alpha: float
    sd: float = math.nan
    exact: bool = False
    """Decided by value over all measured prompts: no sampling inference."""
    gate: str = ""
    """Why no verdict may rest on this column; empty when one may."""
    note: str = ""
    """What the reader must know about the limits."""


def resamples_for(alpha: float) -> int:
    """At least 200 / alpha resamples, with alpha (B + 1) an integer whenever 1 / alpha is rational enough."""
    return math.ceil(200 / alpha - 1e-9) - 1


def bootstrap_t(columns: NDArray[np.float64], resamples: int, seed: int = SEED) -> NDArray[np.float32]:
    """Studentised bootstrap statistics of many columns under the same resampled documents.

    Args:
        columns: `[document, column]`; one resampling of documents serves every column.
        resamples: number of resamples.
        seed: decides the resampled documents, whatever the columns are.

    Returns:
        `[column, resample]`, (mean* - mean) / se*; infinite where a resample is constant off the mean.
    """
    n, width = columns.shape
    rng = np.random.default_rng(seed)
    centred = columns - columns.mean(0)
    both = np.concatenate([centred, centred**2], axis=1)  # (document, 2 columns)
    result = np.empty((width, resamples), dtype=np.float32)
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n) / n
        moments = weights @ both
        shift, square = moments[:, :width], moments[:, width:]
        variance = np.maximum(square - shift**2, 0) * n / (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = shift / np.sqrt(variance / n)
        result[:, start : start + count] = np.where(np.isnan(t), 0.0, t).T
    return result


def describe_gate(column: Column, alpha: float) -> str:
    """Why no verdict may rest on this column at level `alpha`; empty when one may."""
    if len(column) < MIN_UNITS:
        return f"{len(column)} documents; at least {MIN_UNITS} are needed"
    bad = int((~np.isfinite(column)).sum())
    if bad:
        return f"{bad} of {len(column)} values are NaN or infinite"
    _, counts = np.unique(column, return_counts=True)
    off_mode, needed = len(column) - int(counts.max()), math.log(10 / alpha)
    if off_mode == 0:
        return "a constant effect column: the intervention changed every prompt alike, or none"
    if off_mode < needed:
        return f"only {off_mode} prompts differ from the most common value; at least {math.ceil(needed)} are needed"
    return ""


def intervals(columns: Sequence[Column], alphas: Sequence[Sequence[float]], seed: int = SEED) -> list[list[Interval]]:
    """Limits for many columns over the same documents, each at several one-sided levels.

    Args:
        columns: each `[document]`, documents in one order.
        alphas: for each column, the one-sided levels wanted; the first is the claim's own.
        seed: see `bootstrap_t`.
    """
    result: list[list[Interval]] = [[] for _ in columns]
    sound = []
    for index, column in enumerate(columns):
        if gate := describe_gate(column, alphas[index][0]):
            mean = float(column.mean()) if len(column) else math.nan
            n = len(column)
            result[index] = [Interval(mean, -math.inf, math.inf, n, alpha, gate=gate) for alpha in alphas[index]]
        else:
            sound.append(index)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index in sound:
        by_shape.setdefault((len(columns[index]), resamples_for(alphas[index][0])), []).append(index)
    for (_, resamples), group in by_shape.items():
        for start in range(0, len(group), 64):  # 64 columns of 256,000 float32 statistics: 65 MB
            part = group[start : start + 64]
            statistics = bootstrap_t(np.stack([columns[i] for i in part], axis=1), resamples, seed)
            for row, index in enumerate(part):
                ordered = np.sort(statistics[row])
                result[index] = [_interval(columns[index], ordered, alpha) for alpha in alphas[index]]
    return result


def _interval(column: Column, ordered: NDArray[np.float32], alpha: float) -> Interval:
    """The outer of bootstrap-t and Student-t; a limit on the side of a long tail is discarded."""
    n = len(column)
    mean, sd = float(column.mean()), float(column.std(ddof=1))
    error = sd / math.sqrt(n)
    rank = max(1, math.floor(alpha * (len(ordered) + 1) + 1e-9))
    student = float(stats.t.ppf(1 - alpha, n - 1))
    upper_t = max(float(ordered[-rank]), student)
    lower_t = min(float(ordered[rank - 1]), -student)
    low, high = mean - upper_t * error, mean - lower_t * error
    skewness, note = float(stats.skew(column)), ""
    if abs(skewness) * float(stats.norm.ppf(1 - alpha)) / math.sqrt(n) >= 1:
        side = "upper" if skewness > 0 else "lower"
        note = f"skewness {skewness:.1f}: the {side} limit is discarded (long tail)"
        low, high = (low, math.inf) if skewness > 0 else (-math.inf, high)
    return Interval(mean, low, high, n, alpha, sd, note=note)


def exact_interval(column: Column, alpha: float, *, worst: bool) -> Interval:
    """A column decided by value: its maximum where `worst`, otherwise its (constant) range."""
    if not np.isfinite(column).all() or not len(column):
        return Interval(math.nan, -math.inf, math.inf, len(column), alpha, gate="NaN or infinite depth weights")
    if worst:
        value = float(column.max())
        return Interval(value, value, value, len(column), alpha, 0.0, exact=True)
    low, high = float(column.min()), float(column.max())
    mean = min(max(float(column.mean()), low), high)  # rounding can carry a mean of constants past them
    return Interval(mean, low, high, len(column), alpha, 0.0, exact=True)


def decide(operator: Operator, threshold: float, interval: Interval, strict: Interval | None = None) -> Verdict:
    """The verdict on one statement.

    Args:
        operator: the statement's form.
        threshold: its threshold or margin.
        interval: the limits at the claim's alpha, which can support.
        strict: the limits that can refute (alpha over the number of statements); default `interval`.
    """
    refuting = strict or interval
    if interval.gate or refuting.gate:
        return Verdict.INCONCLUSIVE
    if operator is Operator.ABOVE:
        supported, refuted = interval.low > threshold, refuting.high <= threshold
    elif operator is Operator.BELOW:
        supported, refuted = interval.high < threshold, refuting.low >= threshold
    else:
        supported = -threshold < interval.low and interval.high < threshold
        refuted = refuting.low >= threshold or refuting.high <= -threshold
    if supported:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if refuted else Verdict.INCONCLUSIVE


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
    z = float(stats.norm.ppf(1 - interval.alpha) + stats.norm.ppf(power))
    needed = math.ceil((z * interval.sd / distance) ** 2)
    return needed if needed <= 10**7 else None


def unseen_share(alpha: float, n: int) -> float:
    """The share of prompts that could carry an effect without one of them among `n`, at level `alpha`."""
    return 1 - alpha ** (1 / n)
