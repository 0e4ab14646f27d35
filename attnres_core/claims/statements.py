"""Statements and decisions, as plain values: linear forms of quantities, an operator, a threshold, a verdict."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attnres_core.quantities.quantity import Quantity, RoutingSummary
from attnres_core.quantities.units import unit_of

if TYPE_CHECKING:
    from attnres_core.shapes import Column


class Verdict(StrEnum):
    """The outcome of a claim on the data."""

    SUPPORTED = "SUPPORTED"
    """The claim's limit clears its threshold."""
    REFUTED = "REFUTED"
    """The opposite limit clears it: the claim's effect is on the wrong side, not necessarily zero."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Neither; the reason says what would decide it."""
    NOT_APPLICABLE = "NOT APPLICABLE"
    """The claim speaks of sites that this checkpoint does not have, or where nothing can be changed."""


class Operator(StrEnum):
    """The three statements a claim can make about a mean."""

    ABOVE = ">"
    """The mean exceeds the threshold."""
    BELOW = "<"
    """The mean lies under the threshold."""
    WITHIN = "abs<"
    """Equivalence: the mean lies in (-threshold, threshold), by two one-sided tests."""

    @property
    def limits(self) -> int:
        """Return how many limits may refute it: of an equivalence two, since either may lie beyond the margin."""
        return 2 if self is Operator.WITHIN else 1


@dataclass(frozen=True, slots=True)
class Interval:
    """One-sided limits at `alpha` each, so that the interval's confidence is 1 - 2 alpha."""

    mean: float
    low: float
    high: float
    n: int
    alpha: float
    sd: float = math.nan
    """Standard error x sqrt(n): of one document, within strata."""
    exact: bool = False
    """Decided by value over all measured prompts: no sampling inference."""
    gate: str = ""
    """Why no verdict may rest on this column; empty when one may."""
    note: str = ""
    """What the reader must know about the limits."""
    noise: float = 0.0
    """The noise floor by which both limits were moved out."""
    methods: tuple[tuple[str, float, float], ...] = ()
    """The limits by each method, before a long tail or a noise floor moved any: name, low, high."""

    def widened(self, noise: float) -> Interval:
        """Both limits moved out by the arithmetic's own error, which no resampling of documents can see."""
        return dataclasses.replace(self, low=self.low - noise, high=self.high + noise, noise=noise)


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
        first, *rest = (coefficient * columns[quantity] for quantity, coefficient in self.terms)
        return sum(rest, 0.0 + first)  # (as numpy sums: a minus zero becomes zero)

    def __str__(self) -> str:
        """`a - 0.5 * b`."""
        text = ""
        for quantity, coefficient in self.terms:
            sign = ("- " if coefficient < 0 else "+ ") if text else ("-" if coefficient < 0 else "")
            factor = "" if abs(coefficient) == 1 else f"{exact_text(abs(coefficient))} * "
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
        """True if the statement is about the worst prompt rather than the mean."""
        return any(_takes_worst(quantity) for quantity, _ in self.form.terms)

    @property
    def bounds_above(self) -> bool:
        """True if it says that something is small: `x < m`, `|x| < m`, or `m - x > 0`."""
        turned = len(self.form.terms) == 1 and self.form.terms[0][1] < 0
        return self.operator is Operator.WITHIN or (self.operator is Operator.BELOW) is not turned

    @property
    def is_routing(self) -> bool:
        """True if every term is read off the depth weights, and nothing but them."""
        terms = [quantity.what for quantity, _ in self.form.terms if isinstance(quantity, Quantity)]
        alone = [what for what in terms if isinstance(what, RoutingSummary) and what.kind.spec.of_weights]
        return len(alone) == len(self.form.terms)

    def __str__(self) -> str:
        """`drop(embedding, mlp, early) on trained [delta_nll] > 0.02`."""
        if self.operator is Operator.WITHIN:
            return f"|{self.form}| < {exact_text(self.threshold)}"
        return f"{self.form} {self.operator} {exact_text(self.threshold)}"


def exact_text(number: float) -> str:
    """The shortest text that reads back as this very number: two statements are equal when their texts are."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def signed_text(number: float) -> str:
    """A measured number with its sign, a true minus: `+0.0042`."""
    return f"{number:+.4g}".replace("-", "\N{MINUS SIGN}")


def html_of(interval: Interval, form: Linear) -> str:
    """An estimate in its unit with its interval, and what it is of, as HTML; every text in it is escaped."""
    mean, low, high = (signed_text(number + form.constant) for number in (interval.mean, interval.low, interval.high))
    units = {unit_of(quantity) for quantity, _ in form.terms if isinstance(quantity, Quantity)}
    how = "exact" if interval.exact else f"{100 * (1 - 2 * interval.alpha):.4g} % interval [{low}, {high}]"
    told = " ".join(filter(None, [mean, " and ".join(sorted(units))]))
    what = html.escape(f"{form}{f' {signed_text(form.constant)}' if form.constant else ''}")
    return f"<p><strong>{html.escape(told)}</strong>, {how}, n = {interval.n}, of <code>{what}</code></p>"


def _takes_worst(quantity: object) -> bool:
    """Return whether a quantity, if it is one, speaks of the worst prompt: it is decided by its maximum."""
    what = getattr(quantity, "what", None)
    return isinstance(what, RoutingSummary) and what.kind.spec.worst


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
        """True if the statement is supported."""
        return self.verdict is Verdict.SUPPORTED

    def __str__(self) -> str:
        """`INCONCLUSIVE: +0.0042 [+0.001, +0.021] for |x| < 0.01`."""
        i = self.interval
        mean, low, high = map(signed_text, (i.mean, i.low, i.high))
        return f"{self.verdict}: {mean} [{low}, {high}] for {self.statement}"

    def _repr_html_(self) -> str:
        """The verdict, the statement, the numbers and the reason, in a notebook."""
        reason = f"<p>{html.escape(self.reason)}</p>" if self.reason else ""
        head = f"<p><strong>{self.verdict}</strong>: <code>{html.escape(str(self.statement))}</code></p>"
        return head + html_of(self.interval, self.statement.form) + reason
