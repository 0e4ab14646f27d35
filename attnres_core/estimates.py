"""Estimates and what is stated about them: linear forms of columns, statements, decisions.

What a claim's body compares becomes a `Statement`: a linear form of quantities, an operator, a threshold. Behind every
`Estimate` stands a `Scope` that answers its questions: a tracer at collection, looked-up decisions while a claim
runs, or columns at hand (`estimate(column)`) in a notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import ArrayLike

from attnres_core import statistics
from attnres_core.shapes import Column
from attnres_core.statistics import Bootstrap, Interval, Operator, Strata, Verdict
from attnres_core.vocabulary import Quantity, Summary

MAX_KINDS = frozenset({Summary.SPREAD, Summary.CLOSED_FORM_ERROR})
"""Summaries that speak of the worst prompt, decided exactly by their maximum."""


class ClaimError(Exception):
    """A claim is written in a way that the suite cannot decide; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Linear:
    """sum of coefficient x quantity: the left side of every statement."""

    terms: tuple[tuple[Any, float], ...]
    """(quantity, coefficient), each quantity once, in order of first appearance."""
    constant: float = 0.0

    def plus(self, other: Linear, sign: float) -> Linear:
        """Self + sign * other."""
        total = dict(self.terms)
        for quantity, coefficient in other.terms:
            total[quantity] = total.get(quantity, 0.0) + sign * coefficient
        return Linear(tuple(total.items()), self.constant + sign * other.constant)

    def scaled(self, factor: float) -> Linear:
        """Factor * self."""
        return Linear(tuple((q, c * factor) for q, c in self.terms), self.constant * factor)

    def of(self, columns: Mapping[Any, Column]) -> Column:
        """The form's own column (its constant left out: that belongs to the threshold)."""
        return np.sum([coefficient * columns[quantity] for quantity, coefficient in self.terms], axis=0)

    def __str__(self) -> str:
        """`a - 0.5 * b`."""
        text = ""
        for quantity, coefficient in self.terms:
            sign = ("- " if coefficient < 0 else "+ ") if text else ("-" if coefficient < 0 else "")
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} * "
            text += f"{' ' if text else ''}{sign}{factor}{quantity}"
        return text


@dataclass(frozen=True, slots=True)
class Statement:
    """One comparison of a claim's body."""

    form: Linear
    operator: Operator
    threshold: float

    @property
    def takes_worst(self) -> bool:
        """Whether the statement is about the worst prompt rather than the mean."""
        return any(_kind(quantity) in MAX_KINDS for quantity, _ in self.form.terms)

    @property
    def is_routing(self) -> bool:
        """Whether every term is read off the depth weights."""
        return all(isinstance(q, Quantity) and q.metric is None for q, _ in self.form.terms)

    def __str__(self) -> str:
        """`drop(embedding, mlp, early) on trained [delta_nll] > 0.02`."""
        if self.operator is Operator.WITHIN:
            return f"|{self.form}| < {self.threshold:g}"
        return f"{self.form} {self.operator} {self.threshold:g}"


def _kind(quantity: object) -> object:
    return getattr(getattr(quantity, "what", None), "kind", None)


@dataclass(frozen=True, slots=True)
class Decision:
    """A statement's verdict. True only when SUPPORTED."""

    statement: Statement
    verdict: Verdict
    interval: Interval
    reason: str = ""
    p_value: float | None = None
    """One-sided; None where a gate forbids a verdict. Exact decisions have 0 or 1."""

    def __bool__(self) -> bool:
        """Whether the statement is supported."""
        return self.verdict is Verdict.SUPPORTED

    def __str__(self) -> str:
        """`INCONCLUSIVE: +0.0042 [-0.013, +0.021] for |x| < 0.01`."""
        i = self.interval
        return f"{self.verdict}: {i.mean:+.4g} [{i.low:+.4g}, {i.high:+.4g}] for {self.statement}"


class Scope(Protocol):
    """Who answers an estimate's questions."""

    def compare(self, statement: Statement) -> Decision:
        """The decision on a statement."""

    def summary(self, form: Linear) -> Interval:
        """The estimate and its limits."""


class Estimate:
    """A mean of a column, or of a linear combination of columns, with its interval.

    `+`, `-`, and `*`, `/` by a number build contrasts; `>`, `<` and `abs(x) <` make decisions.
    """

    __slots__ = ("_form", "_scope")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, form: Linear, scope: Scope) -> None:
        self._form = form
        self._scope = scope

    @property
    def mean(self) -> float:
        """The estimate, in the column's units."""
        return self._scope.summary(self._form).mean + self._form.constant

    @property
    def low(self) -> float:
        """The lower limit."""
        return self._scope.summary(self._form).low + self._form.constant

    @property
    def high(self) -> float:
        """The upper limit."""
        return self._scope.summary(self._form).high + self._form.constant

    @property
    def n(self) -> int:
        """The number of documents."""
        return self._scope.summary(self._form).n

    def _combined(self, other: object, sign: float) -> Estimate:
        if isinstance(other, Estimate):
            scope = self._scope
            if isinstance(scope, Sample) and isinstance(other._scope, Sample):
                scope = scope.joined(other._scope)
            return Estimate(self._form.plus(other._form, sign), scope)
        if isinstance(other, (int, float)) and not isinstance(other, bool):
            return Estimate(self._form.plus(Linear((), float(other)), sign), self._scope)
        return NotImplemented

    def __add__(self, other: object) -> Estimate:
        return self._combined(other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: object) -> Estimate:
        return self._combined(other, -1.0)

    def __rsub__(self, other: object) -> Estimate:
        return (-self)._combined(other, 1.0)

    def __neg__(self) -> Estimate:
        return Estimate(self._form.scaled(-1.0), self._scope)

    def __mul__(self, factor: object) -> Estimate:
        if isinstance(factor, Estimate):
            raise ClaimError("a product of two estimates is no mean of a column; claims are linear contrasts")
        return Estimate(self._form.scaled(float(factor)), self._scope)  # type: ignore[arg-type]

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> Estimate:
        if isinstance(divisor, Estimate):
            raise ClaimError("write a ratio `a / b > k` as two statements: `a > k * b` and `b > 0`")
        return self * (1.0 / float(divisor))  # type: ignore[arg-type]

    def __abs__(self) -> Magnitude:
        return Magnitude(self)

    def _compare(self, other: object, operator: Operator) -> Decision:
        difference = self._combined(other, -1.0)
        if difference is NotImplemented:
            raise ClaimError(f"an estimate is compared with {other!r}; compare it with a number or another estimate")
        form = difference._form
        if not form.terms or all(coefficient == 0 for _, coefficient in form.terms):
            raise ClaimError("both sides of the comparison are the same quantity; nothing is left to decide")
        return difference._scope.compare(Statement(Linear(form.terms), operator, 0.0 - form.constant))

    def __gt__(self, other: object) -> Decision:
        return self._compare(other, Operator.ABOVE)

    def __lt__(self, other: object) -> Decision:
        return self._compare(other, Operator.BELOW)

    def __eq__(self, other: object) -> NoReturn:
        raise ClaimError("no data can show that a mean equals a number; state `abs(x - value) < margin`")

    def __ne__(self, other: object) -> NoReturn:
        raise ClaimError("state which side the mean is on: `x > value` or `x < value`")

    def __ge__(self, other: object) -> NoReturn:
        raise ClaimError("`>=` and `>` are the same claim about a mean; write `>`")

    def __le__(self, other: object) -> NoReturn:
        raise ClaimError("`<=` and `<` are the same claim about a mean; write `<`")

    def __bool__(self) -> NoReturn:
        raise ClaimError("an estimate is neither true nor false; compare it: `effect > MIN_EFFECT`")

    def __float__(self) -> NoReturn:
        raise ClaimError("an estimate is not a number; compare it, or use `.mean` outside a claim")

    def __repr__(self) -> str:
        """`Estimate(drop(...))`."""
        return f"Estimate({self._form})"


class Magnitude:
    """`abs(estimate)`: only `abs(estimate) < margin`, the equivalence statement, can be decided."""

    __slots__ = ("_estimate",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate

    def __lt__(self, margin: object) -> Decision:
        if not isinstance(margin, (int, float)) or isinstance(margin, bool) or margin <= 0:
            raise ClaimError(f"the margin of `abs(x) < margin` is {margin!r}; give a positive number")
        form = self._estimate._form
        if form.constant:
            raise ClaimError("`abs(x - value) < margin` with a value needs two statements: `x > ...` and `x < ...`")
        return self._estimate._scope.compare(Statement(form, Operator.WITHIN, float(margin)))

    def _refuse(self, other: object) -> NoReturn:
        raise ClaimError(
            "only `abs(x) < margin` can be decided; for a large effect state its side: `x > m` or `x < -m`"
        )

    __gt__ = __ge__ = __le__ = __eq__ = __ne__ = _refuse

    def __bool__(self) -> NoReturn:
        raise ClaimError("`abs(x)` is neither true nor false; compare it: `abs(effect) < MARGIN`")


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


# Judging ------------------------------------------------------------------------------------------------------------


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
