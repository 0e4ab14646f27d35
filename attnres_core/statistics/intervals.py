"""Intervals and verdicts from columns: numbers in, numbers out; knows no model.

The limits are the outer of bootstrap-t and Student-t, each one-sided at level alpha. Every verdict can be wrong in one
direction only, so alpha bounds the probability of a wrong one; the gates below turn what no limit can be trusted
for into INCONCLUSIVE. docs/deciding.md says why.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attnres_core.claims.statements import Interval, Operator, Verdict
from attnres_core.shapes import Column

NULL_UNITS = 256
"""Null claims and REFUTED verdicts want this many documents; with fewer, the verdict says so."""
MIN_STRATUM = 8
"""Strata of fewer documents are pooled."""
MIN_UNITS = 16
"""Fewer documents than this decide nothing."""
TAIL = 1.0
"""A limit on the long-tail side is discarded when |skewness| z / sqrt(n) is at least this."""
EXACT_TOLERANCE = 1e-6
"""A routing column whose values differ by at most this (float32 rounding) is constant."""
SEED = 20261122
TINY, HUGE = 1e-100, 1e100
"""Columns beyond these are zero, or cannot be squared, in double precision."""
_CHUNK = 8192
"""Resamples drawn at once."""
_ROWS, _COLUMNS = 256, 256
"""Resamples and columns taken through them at once: what the cache holds, and memory that is not mapped anew."""


Strata = tuple[NDArray[np.intp], ...]
"""The documents of each stratum; together, every document once."""


def resamples_for(alpha: float) -> int:
    """At least 200 / alpha resamples, with alpha (B + 1) an integer whenever 1 / alpha is rational enough."""
    return math.ceil(200 / alpha - 1e-9) - 1


def strata_of(labels: Sequence[object], least: int = MIN_STRATUM) -> Strata:
    """The documents of each stratum; strata of fewer than `least` documents are pooled into one.

    Args:
        labels: each document's stratum.
        least: fewer documents than this give no variance worth having.
    """
    found: dict[object, list[int]] = {}
    for index, label in enumerate(labels):
        found.setdefault(label, []).append(index)
    groups = [np.array(rows) for _, rows in sorted(found.items(), key=lambda pair: str(pair[0])) if len(rows) >= least]
    rest = [index for rows in found.values() if len(rows) < least for index in rows]
    if rest and len(rest) < least and groups:  # too few even together: they join the largest
        largest = max(range(len(groups)), key=lambda place: len(groups[place]))
        groups[largest] = np.sort(np.concatenate([groups[largest], rest]))
    elif rest:
        groups.append(np.sort(np.array(rest)))
    return tuple(groups)


def standard_error(column: Column, strata: Strata | None = None) -> float:
    """Of the mean over documents, from the variance within strata (their shares are fixed, not drawn)."""
    n = len(column)
    groups = strata or (np.arange(n),)
    return math.sqrt(sum(len(rows) * float(column[rows].var(ddof=1)) for rows in groups)) / n


def bootstrap_t(
    columns: NDArray[np.float64], resamples: int, strata: Strata | None = None, seed: int = SEED
) -> NDArray[np.float32]:
    """Studentised bootstrap statistics of many columns under the same resampled documents.

    Args:
        columns: `[document, column]`; one resampling of documents serves every column.
        resamples: number of resamples.
        strata: the documents of each stratum, resampled within; None: all in one.
        seed: decides the resampled documents, whatever the columns are.

    Returns:
        `[column, resample]`, (mean* - mean) / se*; infinite where a resample is constant off the mean.
    """
    n, width = columns.shape
    rng = np.random.default_rng(seed)
    result = np.empty((width, resamples), dtype=np.float32)
    groups = strata or (np.arange(n),)
    ends = np.cumsum([len(rows) for rows in groups])
    places = [slice(end - len(rows), end) for rows, end in zip(groups, ends, strict=True)]
    deviations = np.concatenate([columns[rows] - columns[rows].mean(0) for rows in groups]).T  # (column, document)
    counts = np.empty((min(_CHUNK, resamples), n))
    for start in range(0, resamples, _CHUNK):
        drawn = counts[: min(_CHUNK, resamples - start)]
        for place, rows in itertools.product(places, _slices(len(drawn), _ROWS)):
            drawn[rows, place] = _drawn(rng, *drawn[rows, place].shape)
        for rows, own in itertools.product(_slices(len(drawn), _ROWS), _slices(width, _COLUMNS)):
            result[own, start : start + len(drawn)][:, rows] = _studentised(drawn[rows], deviations[own], places)
    return result


def _drawn(rng: np.random.Generator, count: int, size: int) -> NDArray[np.intp]:
    """`count` resamples of `size` documents: how often each is drawn, `[resample, document]`."""
    drawn = rng.integers(0, size, size=(count, size))
    drawn += size * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)


def _studentised(
    counts: NDArray[np.float64], deviations: NDArray[np.float64], strata: Sequence[slice]
) -> NDArray[np.float64]:
    """(mean* - mean) / se*, `[column, resample]`.

    A stratum of m documents adds m/n of its mean, and to the variance of the mean m/n^2 of its own: m/(m - 1) times
    mean square less squared mean. The factors go into the columns, so that a resample is few passes over memory.

    Args:
        counts: how often a resample draws a document, `[resample, document]`.
        deviations: of documents from their stratum's mean, `[column, document]`.
        strata: the documents of each.
    """
    means = deviations / counts.shape[1]
    squares = means**2
    for place in strata:
        squares[:, place] *= _size(place) / (_size(place) - 1)
    variance, shift = squares @ counts.T, np.zeros((len(deviations), len(counts)))
    for place in strata:
        mean = means[:, place] @ counts[:, place].T
        shift += mean
        np.square(mean, out=mean)
        mean /= _size(place) - 1
        variance -= mean
    with np.errstate(divide="ignore", invalid="ignore"):
        np.sqrt(np.maximum(variance, 0, out=variance), out=variance)
        np.divide(shift, variance, out=shift)
    shift[np.isnan(shift)] = 0
    return shift


def _size(place: slice) -> int:
    return place.stop - place.start


def _slices(count: int, size: int) -> list[slice]:
    """The slices of `size` that cover so many."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def residuals(column: Column, strata: Strata | None = None) -> Column:
    """The column less its strata's means: what varies once their fixed shares are taken off."""
    left = column - column.mean()
    for rows in strata or ():
        left[rows] = column[rows] - column[rows].mean()
    return left


def _skewness(centred: Column) -> float:
    """Of a column with mean 0, as scipy.stats has it, which takes a second to import."""
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)


def describe_gate(column: Column, alpha: float, strata: Strata | None = None) -> str:
    """Return why no verdict may rest on this column at level `alpha`; empty when one may.

    Values that differ by rounding alone count as one, and support is counted within strata.
    """
    if len(column) < MIN_UNITS:
        return f"{len(column)} documents; at least {MIN_UNITS} are needed"
    bad = int((~np.isfinite(column)).sum())
    if bad:
        return f"{bad} of {len(column)} values are NaN or infinite"
    scale = float(np.abs(column).max())
    if not scale < HUGE:
        return f"values up to {scale:.1g}: too large to square"
    rounded = np.round(column / scale, 9) if scale > TINY else np.zeros(len(column))
    groups = strata or (np.arange(len(column)),)
    off_mode = sum(len(rows) - int(np.unique(rounded[rows], return_counts=True)[1].max()) for rows in groups)
    needed = math.log(10 / alpha)
    if off_mode == 0:
        where = " within every stratum" if len(groups) > 1 else ""
        return f"a constant effect column{where}: the intervention changed every prompt alike, or none"
    if off_mode < needed:
        return f"only {off_mode} prompts differ from the most common value; at least {math.ceil(needed)} are needed"
    return ""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A column's studentised resamples, with what turns them into limits and p-values."""

    column: Column
    statistics: NDArray[np.float32]
    """Of all resamples, as they were drawn."""
    lowest: NDArray[np.float32]
    """The first of them in order, as many as limits at its level take."""
    highest: NDArray[np.float32]
    """The last of them in order, as many."""
    error: float
    freedom: int
    """Documents less strata: degrees of freedom of Student's t."""
    skewness: float
    """Of the residuals within strata."""

    def interval(self, alpha: float, tail: float = TAIL) -> Interval:
        """The outer of bootstrap-t and Student-t; a limit on the side of a long tail is discarded (see TAIL)."""
        n, mean = len(self.column), float(self.column.mean())
        rank = _rank(alpha, len(self.statistics))
        if rank > len(self.lowest):
            raise ValueError(f"the level is {alpha:g}; say so when resampling: `bootstraps` has `levels` and `widest`")
        student = float(special.stdtrit(self.freedom, 1 - alpha))
        upper_t = max(float(self.highest[-rank]), student)
        lower_t = min(float(self.lowest[rank - 1]), -student)
        low, high = mean - upper_t * self.error, mean - lower_t * self.error
        extremes = {"bootstrap-t": (self.lowest[rank - 1], self.highest[-rank]), "Student's t": (-student, student)}
        methods = tuple(
            (name, mean - float(upper) * self.error, mean - float(lower) * self.error)
            for name, (lower, upper) in extremes.items()
        )
        skewness, note = self.skewness, ""
        if abs(skewness) * float(special.ndtri(1 - alpha)) / math.sqrt(n) >= tail:
            side = "upper" if skewness > 0 else "lower"
            note = f"skewness {skewness:.1f}: the {side} limit is discarded (long tail)"
            low, high = (low, math.inf) if skewness > 0 else (-math.inf, high)
        return Interval(mean, low, high, n, alpha, self.error * math.sqrt(n), note=note, methods=methods)

    def p_value(self, operator: Operator, threshold: float) -> float:
        """One-sided p-value of the statement: the larger of the bootstrap's and Student's; gates are not in it."""
        mean = float(self.column.mean())
        if operator is Operator.WITHIN:
            sides = [((mean + threshold) / self.error, 1), ((mean - threshold) / self.error, -1)]
        else:
            sides = [((mean - threshold) / self.error, 1 if operator is Operator.ABOVE else -1)]
        return max(self._tail(t, sign) for t, sign in sides)

    def _tail(self, t: float, sign: int) -> float:
        """P(t* >= t), or P(t* <= t) where `sign` is -1."""
        exact = np.float64(t)  # (a plain float would be rounded to the statistics' precision)
        count = int(np.count_nonzero(self.statistics >= exact if sign > 0 else self.statistics <= exact))
        return max((1 + count) / (len(self.statistics) + 1), float(special.stdtr(self.freedom, -sign * t)))


def _rank(alpha: float, resamples: int) -> int:
    """The statistic that makes a limit at a level, counted from its end."""
    return max(1, math.floor(alpha * (resamples + 1) + 1e-9))


def _lowest(statistics: NDArray[np.float32], count: int, freedom: int) -> NDArray[np.float32]:
    """The `count` lowest in order, which are looked for where Student's t has four times as many."""
    few = statistics[statistics < special.stdtrit(freedom, min(1.0, 4 * count / len(statistics)))]
    return np.sort(few if len(few) >= count else statistics)[:count]


def bootstraps(
    columns: Sequence[Column],
    alphas: Sequence[float],
    strata: Strata | None = None,
    seed: int = SEED,
    levels: Sequence[float] | None = None,
    widest: float | None = None,
) -> list[Bootstrap | str]:
    """Each column's resamples at its own level, or the gate that forbids a verdict on it.

    Args:
        columns: each `[document]`, documents in one order.
        alphas: each column's one-sided level, which sets the number of resamples.
        strata: see `bootstrap_t`.
        seed: see `bootstrap_t`.
        levels: of the limits that are wanted, where they are less than that; the gates ask for more support there.
        widest: the highest level of any limit that is wanted; None: the column's own.
    """
    fits = [strata if strata is not None and sum(map(len, strata)) == len(c) else None for c in columns]
    each = zip(columns, levels or alphas, fits, strict=True)
    result: list[Bootstrap | str] = [describe_gate(column, alpha, groups) for column, alpha, groups in each]
    by_shape: dict[tuple[int, int], dict[bytes, list[int]]] = {}  # (several statements speak of one column)
    for index, gate in enumerate(result):
        if not gate:
            alike = by_shape.setdefault((len(columns[index]), resamples_for(alphas[index])), {})
            alike.setdefault(columns[index].tobytes(), []).append(index)
    for (n, resamples), alike in by_shape.items():
        firsts = [same[0] for same in alike.values()]
        groups = fits[firsts[0]]
        freedom = n - len(groups or (n,))
        drawn = bootstrap_t(np.stack([columns[index] for index in firsts], axis=1), resamples, groups, seed)
        for statistics, same in zip(drawn, alike.values(), strict=True):
            column = columns[same[0]]
            count = _rank(widest or max(alphas[index] for index in same), resamples)
            ends = _lowest(statistics, count, freedom), -_lowest(-statistics, count, freedom)[::-1]
            error, skewness = standard_error(column, groups), _skewness(residuals(column, groups))
            made = Bootstrap(column, statistics, *ends, error, freedom, skewness)
            for index in same:
                result[index] = made
    return result


def intervals(
    columns: Sequence[Column], alphas: Sequence[Sequence[float]], strata: Strata | None = None, seed: int = SEED
) -> list[list[Interval]]:
    """Limits for many columns over the same documents, each at several one-sided levels.

    Args:
        columns: each `[document]`, documents in one order.
        alphas: for each column, the one-sided levels wanted; the first is the claim's own.
        strata: see `bootstrap_t`.
        seed: see `bootstrap_t`.
    """
    widest = max((level for levels in alphas for level in levels), default=None)
    found = bootstraps(columns, [levels[0] for levels in alphas], strata, seed, widest=widest)
    return [
        [gated(column, level, made) if isinstance(made, str) else made.interval(level) for level in levels]
        for column, levels, made in zip(columns, alphas, found, strict=True)
    ]


def gated(column: Column, alpha: float, gate: str) -> Interval:
    """The interval of a column that no verdict may rest on."""
    mean = float(column.mean()) if len(column) and np.isfinite(column).all() else math.nan
    return Interval(mean, -math.inf, math.inf, len(column), alpha, gate=gate)


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


def t_interval(column: Column) -> tuple[float, float, float]:
    """Low, mean and high of a 95 % t interval, descriptive; NaN limits for fewer than two documents."""
    mean = float(column.mean())
    half = float(special.stdtrit(len(column) - 1, 0.975)) * standard_error(column) if len(column) > 1 else math.nan
    return mean - half, mean, mean + half


def noise_floor(errors: Column, alpha: float) -> float:
    """Return how far the arithmetic may move a mean effect: |mean error| + t sd / sqrt(n), at one-sided level `alpha`.

    Args:
        errors: measured effect minus its float32 plain-path value, `[prompt]`.
        alpha: the claim's one-sided level.
    """
    if len(errors) < 2 or not np.isfinite(errors).all():
        return math.inf
    spread = float(special.stdtrit(len(errors) - 1, 1 - alpha)) * standard_error(errors)
    return abs(float(errors.mean())) + spread
