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
_ROWS, _COLUMNS = 1024, 64
"""Resamples and columns taken through them at once: what the cache holds."""


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
    centred = [columns[rows] - columns[rows].mean(0) for rows in groups]
    # A stratum of m documents adds m/n of its mean, and to the variance of the mean m/n^2 of its own: m/(m - 1) times
    # mean square less squared mean. The factors go into the columns, so that a resample is few passes over memory.
    shift_of = np.concatenate([each * (len(each) / n) for each in centred])
    roots = [each * (len(each) / (n * math.sqrt(len(each) - 1))) for each in centred]
    square_of = np.concatenate(roots) ** 2
    blocks = _slices(width, _COLUMNS)
    both = [np.concatenate([shift_of[:, own], square_of[:, own]], axis=1) for own in blocks]  # (document, 2 columns)
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        weights = [_drawn(rng, count, len(rows)) for rows in groups]
        together = np.concatenate(weights, axis=1)
        for rows, (own, moments_of) in itertools.product(_slices(count, _ROWS), zip(blocks, both, strict=True)):
            shift, variance = np.hsplit(together[rows] @ moments_of, 2)
            for drawn, root in zip(weights, roots, strict=True):
                first = drawn[rows] @ root[:, own]
                variance -= np.square(first, out=first)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = shift / np.sqrt(np.maximum(variance, 0, out=variance))
            result[own, start : start + count][:, rows] = np.where(np.isnan(t), 0.0, t).T
    return result


def _drawn(rng: np.random.Generator, count: int, size: int) -> NDArray[np.float64]:
    """`count` resamples of `size` documents: how often each is drawn, as a share, `[resample, document]`."""
    drawn = rng.integers(0, size, size=(count, size)) + size * np.arange(count)[:, None]
    return np.asarray(np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size) / size)


def _slices(count: int, size: int) -> list[slice]:
    """The slices of `size` that cover so many."""
    return [slice(start, start + size) for start in range(0, count, size)]


def residuals(column: Column, strata: Strata | None = None) -> Column:
    """The column less its strata's means: what varies once their fixed shares are taken off."""
    left = column - column.mean()
    for rows in strata or ():
        left[rows] = column[rows] - column[rows].mean()
    return left


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
    """A column's studentised resamples, in order, with what turns them into limits and p-values."""

    column: Column
    ordered: NDArray[np.float32]
    error: float
    freedom: int
    """Documents less strata: degrees of freedom of Student's t."""
    skewness: float
    """Of the residuals within strata."""

    def interval(self, alpha: float, tail: float = TAIL) -> Interval:
        """The outer of bootstrap-t and Student-t; a limit on the side of a long tail is discarded (see TAIL)."""
        n, mean = len(self.column), float(self.column.mean())
        rank = max(1, math.floor(alpha * (len(self.ordered) + 1) + 1e-9))
        student = float(special.stdtrit(self.freedom, 1 - alpha))
        upper_t = max(float(self.ordered[-rank]), student)
        lower_t = min(float(self.ordered[rank - 1]), -student)
        low, high = mean - upper_t * self.error, mean - lower_t * self.error
        extremes = {"bootstrap-t": (self.ordered[rank - 1], self.ordered[-rank]), "Student's t": (-student, student)}
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
        beyond = np.searchsorted(self.ordered, t, "left" if sign > 0 else "right")
        count = len(self.ordered) - beyond if sign > 0 else beyond
        return max((1 + int(count)) / (len(self.ordered) + 1), float(special.stdtr(self.freedom, -sign * t)))


def bootstraps(
    columns: Sequence[Column],
    alphas: Sequence[float],
    strata: Strata | None = None,
    seed: int = SEED,
    levels: Sequence[float] | None = None,
) -> list[Bootstrap | str]:
    """Each column's resamples at its own level, or the gate that forbids a verdict on it.

    Args:
        columns: each `[document]`, documents in one order.
        alphas: each column's one-sided level, which sets the number of resamples.
        strata: see `bootstrap_t`.
        seed: see `bootstrap_t`.
        levels: of the limits that are wanted, where they are less than that; the gates ask for more support there.
    """
    fits = [strata if strata is not None and sum(map(len, strata)) == len(c) else None for c in columns]
    each = zip(columns, levels or alphas, fits, strict=True)
    result: list[Bootstrap | str] = [describe_gate(column, alpha, groups) for column, alpha, groups in each]
    from scipy import stats  # a second to import, which runs that find their decisions in the store need not wait for

    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, gate in enumerate(result):
        if not gate:
            by_shape.setdefault((len(columns[index]), resamples_for(alphas[index])), []).append(index)
    for (n, resamples), group in by_shape.items():
        groups = fits[group[0]]
        drawn = bootstrap_t(np.stack([columns[i] for i in group], axis=1), resamples, groups, seed)
        drawn.sort(axis=1)
        for row, index in enumerate(group):
            error = standard_error(columns[index], groups)
            skewness = float(stats.skew(residuals(columns[index], groups)))
            freedom = n - len(groups or (n,))
            result[index] = Bootstrap(columns[index], drawn[row], error, freedom, skewness)
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
    found = bootstraps(columns, [levels[0] for levels in alphas], strata, seed)
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
