"""Statements judged: limits and gates turned into decisions, together for a suite or on the spot in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attnres_core.claims.estimates import Estimate
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.quantities.ablations import Kind
from attnres_core.shapes import Column
from attnres_core.statistics import intervals, multiplicity, power
from attnres_core.statistics.intervals import TINY, Bootstrap, Strata
from attnres_core.statistics.sequential import EARLY_TAIL, ONLY, Look

MOST_CONFIDENT = 0.9999
"""Beyond this a bootstrap needs more resamples (200 / alpha) than are worth their time."""
DISAGREE = "the kinds of ablation disagree"
"""The beginning of the reason where one kind supports a claim and another refutes it."""
VARIANTS_DISAGREE = "the variants disagree"
"""The same of variants of the documents."""
MARGIN_FLOORS = 10
"""A threshold other than zero must be at least so many noise floors."""


@dataclass(frozen=True, slots=True)
class Question:
    """A statement with the error share it may use."""

    statement: Statement
    alpha: float
    """The claim's one-sided share, over all looks."""
    refuters: int = 1
    """Limits that may refute the claim (see `judging.negation`): each does at the look's level / refuters."""
    noise: float = 0.0
    """The noise floor of its form: limits are moved out by it, and a margin must be ten times as large."""
    look: Look = ONLY
    """The look at the data that this is."""
    bias: float = 0.0
    """The distance by which its estimate may be off beside that: limits are moved out by it, too."""
    gate: str = ""
    """The reason why no verdict may rest on these columns; empty: nothing is known against it."""

    @property
    def supporting(self) -> float:
        """The part of alpha that this look may spend: the level of a limit that supports."""
        return self.alpha * self.look.share


NO_ALPHA = (
    "registered as exact, which takes no share of alpha, and its values differ between prompts: register it on fresh "
    "prompts with a statement that has a share"
)


def judge(
    questions: Iterable[Question],
    columns: Mapping[Any, Column],
    strata: Strata | None = None,
    seed: int = intervals.SEED,
) -> dict[Question, Decision]:
    """Decide statements together: one bootstrap over the documents serves them all.

    Args:
        questions: what to decide; equal questions are decided once.
        columns: the measured columns, one value a document.
        strata: the documents of each stratum, resampled within; None: all in one.
        seed: decides the resampled documents.
    """
    data = {question: question.statement.form.of(columns) for question in dict.fromkeys(questions)}
    random = [q for q, column in data.items() if not _is_exact(q.statement, column)]
    sampled = [q for q in random if q.alpha]
    made = intervals.bootstraps(
        [data[q] for q in sampled], [q.alpha for q in sampled], strata, seed, [q.supporting for q in sampled]
    )
    found: dict[Question, Bootstrap | str] = dict(zip(sampled, made, strict=True))
    found |= {question: NO_ALPHA for question in random if not question.alpha}
    return {question: _decide(question, column, found.get(question)) for question, column in data.items()}


def _decide(question: Question, column: Column, bootstrap: Bootstrap | str | None) -> Decision:
    """One statement's decision; without a bootstrap it is exact, a string is the gate that forbids one."""
    statement, level, look = question.statement, question.supporting, question.look
    p_value: float | None = None
    gate = question.gate or (bootstrap if isinstance(bootstrap, str) else noise_gate(statement, question.noise))
    exact = bootstrap is None
    if bootstrap is None and statement.takes_worst:
        wide = strict = intervals.exact_interval(column, level, worst=True)
    elif gate or isinstance(bootstrap, str):
        wide = strict = intervals.gated(column, level, gate)
    elif bootstrap is None:  # exact over the prompts, not beyond what float32 can tell
        told = max(question.noise, intervals.EXACT_TOLERANCE)
        wide = strict = intervals.exact_interval(column, level, worst=False).widened(told)
    else:
        tail = intervals.TAIL if look.final else EARLY_TAIL
        margin = question.noise + question.bias
        wide = bootstrap.interval(level, tail).widened(margin)
        strict = bootstrap.interval(level / question.refuters, tail).widened(margin)
        p_value = bootstrap.p_value(statement.operator, statement.threshold)
        p_value = min(1.0, p_value / look.share)  # Bonferroni over the looks, weighted by their shares
    verdict = intervals.decide(statement.operator, statement.threshold, wide, strict)
    if exact and not look.final:  # by value over all documents, or not at all
        verdict = Verdict.INCONCLUSIVE
    if exact and not wide.gate:
        p_value = 0.0 if verdict is Verdict.SUPPORTED else 1.0
    shown = {Verdict.SUPPORTED: wide, Verdict.REFUTED: strict}.get(verdict, min(wide, strict, key=lambda i: i.alpha))
    return Decision(statement, verdict, shown, _reason(statement, verdict, shown), p_value)


def noise_gate(statement: Statement, noise: float) -> str:
    """Return why a statement's margin cannot be told from the arithmetic's own error; empty when it can."""
    if not noise < np.inf:
        return "the noise floor of this effect is not finite: too few exploration prompts, or NaN"
    margin = abs(statement.threshold)
    if 0 < margin < MARGIN_FLOORS * noise:
        remedy = "use a wider margin, or --attnres-dtype float32"
        return f"the margin {margin:g} is under {MARGIN_FLOORS} x the noise floor {noise:.2g} of this effect: {remedy}"
    return ""


def _is_exact(statement: Statement, column: Column) -> bool:
    constant = len(column) >= intervals.MIN_UNITS and float(np.ptp(column)) <= intervals.EXACT_TOLERANCE
    return statement.takes_worst or (statement.is_routing and constant)


def _reason(statement: Statement, verdict: Verdict, interval: Interval) -> str:
    """Return what the reader must know beside the numbers: gates, discarded limits, what would decide it."""
    if interval.gate:
        return interval.gate
    notes = [interval.note]
    null = verdict is Verdict.REFUTED or statement.operator is Operator.WITHIN
    if null and not interval.exact and interval.n < intervals.NULL_UNITS:
        notes.append(f"null claims and REFUTED verdicts want {intervals.NULL_UNITS} documents; here are {interval.n}")
    if verdict is Verdict.INCONCLUSIVE:
        detectable = power.detectable(interval)
        if detectable is not None:
            notes.append(f"{interval.n} prompts detect a distance of {detectable:.3g} with 80 % power")
        needed = power.needed_units(statement.operator, statement.threshold, interval)
        if needed is None:
            notes.append("the estimate sits too close to the threshold for any number of prompts")
        elif needed > interval.n:
            notes.append(f"about {needed} prompts would decide it if the truth is the present estimate")
        elif not interval.note:
            notes.append("the limits are wider than a normal forecast; somewhat more prompts would decide it")
    return "; ".join(filter(None, notes))


def combine(decisions: Sequence[Decision]) -> Verdict:
    """A claim's verdict: REFUTED if any statement is, SUPPORTED if all are, otherwise INCONCLUSIVE."""
    verdicts = {decision.verdict for decision in decisions}
    if Verdict.REFUTED in verdicts:
        return Verdict.REFUTED
    return Verdict.SUPPORTED if verdicts == {Verdict.SUPPORTED} else Verdict.INCONCLUSIVE


def deciding(groups: Sequence[Sequence[Decision]], verdict: Verdict) -> int | None:
    """Return which decision is shown for a claim of this verdict, counted over all groups; None where there are none.

    Of the first kind of ablation that has decisions of that verdict: for SUPPORTED the tightest of them, nearest to
    failing; for REFUTED the one that refutes by most; otherwise the first. Where kinds disagree none may have it, and
    the first decision of all is shown.

    Args:
        groups: the decisions under each kind, or all in one group.
        verdict: the claim's.
    """
    start = 0
    for group in groups:
        own = [place for place, decision in enumerate(group) if decision.verdict is verdict]
        if own and verdict is Verdict.SUPPORTED:
            return start + min(own, key=lambda place: _slack(group[place]))
        if own and verdict is Verdict.REFUTED:
            return start + max(own, key=lambda place: _slack(group[place]))
        if own:
            return start + own[0]
        start += len(group)
    return 0 if start else None


def _slack(decision: Decision) -> tuple[float, float]:
    """Return how far the deciding limit lies from its threshold: in standard errors, and relative to the numbers' size.

    What is exact has no standard error, so that it is infinitely far; among such, the share tells.
    """
    interval, sides = decision.interval, _sides(decision.statement)
    if decision.verdict is Verdict.SUPPORTED:  # on every side
        slack, edge = min((sign * ((interval.low if sign > 0 else interval.high) - edge), edge) for sign, edge in sides)
    else:  # on one of them
        slack, edge = max((sign * (edge - (interval.high if sign > 0 else interval.low)), edge) for sign, edge in sides)
    error = 0.0 if interval.exact else interval.sd / math.sqrt(max(interval.n, 1))
    return slack / error if error > 0 else math.inf, slack / max(abs(edge), abs(interval.mean), TINY)


def agreed(
    groups: Sequence[Sequence[Decision]], kinds: Sequence[str], verdicts: Sequence[Verdict] = ()
) -> tuple[Verdict, str]:
    """The verdict of a claim decided under several kinds of ablation, and where they do not agree, how.

    Args:
        groups: the decisions under each kind, the same statements in each.
        kinds: their names; variants of documents are told as such.
        verdicts: the claim's under each kind; none: what each group's decisions make.
    """
    verdicts = verdicts or [combine(group) for group in groups]
    if len(verdicts) < 2:
        return verdicts[0], ""
    disagree = DISAGREE if all(kind in tuple(Kind) for kind in kinds) else VARIANTS_DISAGREE
    each = ", ".join(f"{kind} {verdict}" for kind, verdict in zip(kinds, verdicts, strict=True))
    if {Verdict.SUPPORTED, Verdict.REFUTED} <= set(verdicts):
        return Verdict.INCONCLUSIVE, f"{disagree}: {each}"
    if set(verdicts) == {Verdict.SUPPORTED}:
        for same in zip(*groups, strict=True):
            above = any(decision.interval.low > 0 for decision in same)
            if above and any(decision.interval.high < 0 for decision in same):
                return Verdict.INCONCLUSIVE, f"{disagree}: the effects of {', '.join(kinds)} have opposite signs"
        return Verdict.SUPPORTED, ""
    if Verdict.REFUTED in verdicts:
        return Verdict.REFUTED, "" if set(verdicts) == {Verdict.REFUTED} else each
    return Verdict.INCONCLUSIVE, "" if set(verdicts) == {Verdict.INCONCLUSIVE} else each


def planned_units(decision: Decision, column: Column) -> int | None:
    """Documents that would decide a statement with 80 % power if this exploration column is the truth.

    Limits are forecast with Hall's (1992) cubic transformation, which knows the column's skewness. None: no number
    of documents would, or a gate forbids a verdict on the column at all.
    """
    if decision.interval.exact:
        return intervals.MIN_UNITS
    if decision.interval.gate or not np.ptp(column):
        return None
    needed = []
    for sign, threshold in _sides(decision.statement):
        turned = sign * (column - threshold)
        needed.append(power.hall_units(turned if turned.mean() > 0 else -turned, decision.interval.alpha))
    if decision.statement.operator is Operator.WITHIN and abs(column.mean()) >= decision.statement.threshold:
        return min((n for n in needed if n is not None), default=None)  # one side refutes it
    return None if None in needed else max(n for n in needed if n is not None)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A claim's p-value over its statements, and adjusted over the whole registered set."""

    p: float
    holm: float
    by: float
    """By Benjamini and Yekutieli."""
    max_t: float


@dataclass(frozen=True)
class Together:
    """Claims over one set of documents."""

    claims: Mapping[str, Sequence[Decision]]
    """Every claim's decisions, by name."""
    columns: Mapping[Any, Column]
    """What they speak of, one value a document."""
    labels: Sequence[str] = ()
    """Each document's stratum; none: all in one."""

    @property
    def strata(self) -> Strata | None:
        """See `judge`."""
        return intervals.strata_of(self.labels) if self.labels else None


def adjust(sets: Sequence[Together]) -> dict[str, Adjusted]:
    """p-values adjusted over all claims: by Holm, Benjamini-Yekutieli and the joint bootstrap's max-T.

    A claim holds when all its statements do, so its p-value is their largest (intersection-union). Exact claims test
    nothing: they count in no adjustment, and keep their 0 or 1. A claim with a gate has p = 1. Claims about different
    sets of documents have no joint bootstrap: max-T is taken in each set, times the number of sets (Bonferroni).

    Args:
        sets: the claims of each set of documents.
    """
    every = {name: found for group in sets for name, found in group.claims.items()}
    p_values = {name: max(1.0 if d.p_value is None else d.p_value for d in found) for name, found in every.items()}
    joint = [_joint(group) for group in sets]
    times = max(1, sum(map(bool, joint)))
    largest = {name: min(1.0, p * times) for group in joint for name, p in group.items()}
    tested = {name: p_values[name] for name, found in every.items() if not all(d.interval.exact for d in found)}
    holm = dict(zip(tested, multiplicity.holm(list(tested.values())), strict=True))
    by = dict(zip(tested, multiplicity.benjamini_yekutieli(list(tested.values())), strict=True))
    return {
        name: Adjusted(p, holm.get(name, p), by.get(name, p), max(p, largest.get(name, p)))
        for name, p in p_values.items()
    }


def _joint(group: Together) -> dict[str, float]:
    """Single-step max-T p-values of the claims that are not exact, over one set of documents."""
    strata = group.strata
    turned, scores, own = list[Column](), list[float](), dict[str, list[int]]()
    for name, found in group.claims.items():
        for decision in found:
            if decision.interval.exact or decision.p_value is None:
                continue
            for sign, threshold in _sides(decision.statement):
                column = sign * decision.statement.form.of(group.columns)
                error = intervals.standard_error(column, strata)
                own.setdefault(name, []).append(len(scores))
                turned.append(column)
                scores.append((float(column.mean()) - sign * threshold) / error)
    reached = [min(scores[i] for i in places) for places in own.values()]
    return dict(zip(own, multiplicity.max_t(turned, reached, strata), strict=True)) if turned else {}


def _sides(statement: Statement) -> list[tuple[int, float]]:
    """(sign, threshold) of each one-sided test: sign * (x - threshold) > 0."""
    if statement.operator is Operator.WITHIN:
        return [(1, -statement.threshold), (-1, statement.threshold)]
    return [(1 if statement.operator is Operator.ABOVE else -1, statement.threshold)]


@dataclass(slots=True)
class Sample:
    """Columns at hand: every question is answered on the spot."""

    columns: dict[Any, Column]
    alpha: float

    def joined(self, other: Sample) -> Sample:
        """Both samples' columns, for a contrast of two estimates over the same documents."""
        sizes = {len(column) for column in (*self.columns.values(), *other.columns.values())}
        if len(sizes) > 1 or self.alpha != other.alpha:
            raise ValueError(
                f"the estimates differ in documents ({sorted(sizes)}) or confidence; measure them together"
            )
        return Sample({**self.columns, **other.columns}, self.alpha)

    def summary(self, form: Linear) -> Interval:
        """The interval of a form."""
        return intervals.intervals([form.of(self.columns)], [[self.alpha]])[0][0]

    def compare(self, statement: Statement) -> Decision:
        """The decision on a statement."""
        question = Question(statement, self.alpha)
        return judge([question], self.columns)[question]


def estimate(column: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The mean of a column with its interval; comparing it gives a `Decision` with a `.verdict`.

    Whatever the column, it is taken as a sample: a suite decides constant routing columns by value, this does not.

    Args:
        column: one number per document, `[document]`.
        confidence: of the two-sided interval; each limit is one-sided at (1 - confidence) / 2.

    Raises:
        ValueError: the column is not one-dimensional or empty, or the confidence is not above 0 and at most 0.9999.
    """
    values = np.asarray(column, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"`column` has shape {values.shape}; give one number per document, at least one document")
    if not isinstance(confidence, int | float) or not 0 < confidence <= MOST_CONFIDENT:
        raise ValueError(f"`confidence` is {confidence!r}; give a number from 0 to {MOST_CONFIDENT}, such as 0.95")
    key = _ColumnKey(values)
    return Estimate(Linear(((key, 1.0),)), Sample({key: values}, (1 - confidence) / 2))


@dataclass(frozen=True, eq=False)
class _ColumnKey:
    """Names a column given by value."""

    values: Column = field(repr=False)

    def __str__(self) -> str:
        return f"column of {len(self.values)}"
