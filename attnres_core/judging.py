"""Statements judged: limits and gates turned into decisions, together for a suite or on the spot in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attnres_core import statistics
from attnres_core.estimates import Decision, Estimate, Linear, Statement
from attnres_core.shapes import Column
from attnres_core.statistics import Bootstrap, Interval, Operator, Strata, Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """A statement with the error share it may use."""

    statement: Statement
    alpha: float
    """The claim's one-sided share: each limit that supports."""
    refuters: int = 1
    """Statements in the claim: each may refute at alpha / refuters."""


def judge(
    questions: Iterable[Question], columns: Mapping[Any, Column], strata: Strata | None = None
) -> dict[Question, Decision]:
    """Decide statements together: one bootstrap over the documents serves them all.

    Args:
        questions: what to decide; equal questions are decided once.
        columns: the measured columns, one value a document.
        strata: the documents of each stratum, resampled within; None: all in one.
    """
    data = {question: question.statement.form.of(columns) for question in dict.fromkeys(questions)}
    sampled = [q for q, column in data.items() if not _is_exact(q.statement, column)]
    made = statistics.bootstraps([data[q] for q in sampled], [q.alpha for q in sampled], strata)
    found = dict(zip(sampled, made, strict=True))
    return {question: _decide(question, column, found.get(question)) for question, column in data.items()}


def _decide(question: Question, column: Column, bootstrap: Bootstrap | str | None) -> Decision:
    """One statement's decision; without a bootstrap it is exact, a string is the gate that forbids one."""
    statement = question.statement
    p_value: float | None = None
    if bootstrap is None:
        wide = strict = statistics.exact_interval(column, question.alpha, worst=statement.takes_worst)
    elif isinstance(bootstrap, str):
        wide = strict = statistics.gated(column, question.alpha, bootstrap)
    else:
        wide, strict = bootstrap.interval(question.alpha), bootstrap.interval(question.alpha / question.refuters)
        p_value = bootstrap.p_value(statement.operator, statement.threshold)
    verdict = statistics.decide(statement.operator, statement.threshold, wide, strict)
    if bootstrap is None and not wide.gate:
        p_value = 0.0 if verdict is Verdict.SUPPORTED else 1.0
    shown = wide if verdict is Verdict.SUPPORTED else strict  # the limits that decided
    return Decision(statement, verdict, shown, _reason(statement, verdict, shown), p_value)


def _is_exact(statement: Statement, column: Column) -> bool:
    constant = bool(len(column)) and float(np.ptp(column)) <= statistics.EXACT_TOLERANCE
    return statement.takes_worst or (statement.is_routing and constant)


def _reason(statement: Statement, verdict: Verdict, interval: Interval) -> str:
    """What the reader must know beside the numbers: gates, discarded limits, what would decide it."""
    if interval.gate:
        return interval.gate
    notes = [interval.note]
    null = verdict is Verdict.REFUTED or statement.operator is Operator.WITHIN
    if null and not interval.exact and interval.n < statistics.NULL_UNITS:
        notes.append(f"null claims and REFUTED verdicts want {statistics.NULL_UNITS} documents; here are {interval.n}")
    if verdict is Verdict.INCONCLUSIVE:
        detectable = statistics.detectable(interval)
        if detectable is not None:
            notes.append(f"{interval.n} prompts detect a distance of {detectable:.3g} with 80 % power")
        needed = statistics.needed_units(statement.operator, statement.threshold, interval)
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
        return statistics.intervals([form.of(self.columns)], [[self.alpha]])[0][0]

    def compare(self, statement: Statement) -> Decision:
        """The decision on a statement."""
        question = Question(statement, self.alpha)
        return judge([question], self.columns)[question]


def estimate(column: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The mean of a column with its interval; comparing it gives a `Decision` with a `.verdict`.

    Args:
        column: one number per document, `[document]`.
        confidence: of the two-sided interval; each limit is one-sided at (1 - confidence) / 2.

    Raises:
        ValueError: the column is not one-dimensional or empty, or the confidence is not in (0, 1).
    """
    values = np.asarray(column, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"`column` has shape {values.shape}; give one number per document, at least one document")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` is {confidence!r}; give a number between 0 and 1, such as 0.95")
    key = _ColumnKey(values)
    return Estimate(Linear(((key, 1.0),)), Sample({key: values}, (1 - confidence) / 2))


@dataclass(frozen=True, eq=False)
class _ColumnKey:
    """Names a column given by value."""

    values: Column = field(repr=False)

    def __str__(self) -> str:
        return f"column of {len(self.values)}"
