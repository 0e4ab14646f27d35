"""Estimates and what is stated about them: linear forms of columns, statements, decisions.

What a claim's body compares becomes a `Statement`: a linear form of quantities, an operator, a threshold. Behind every
`Estimate` stands a `Scope` that answers its questions: a tracer at collection, looked-up decisions while a claim
runs, or columns at hand (`estimate(column)`) in a notebook.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NoReturn, Protocol

from attnres_core.claims.statements import (
    ClaimError,
    Decision,
    Interval,
    Linear,
    Operator,
    Statement,
    html_of,
    signed_text,
)


def _finite(number: object) -> float:
    """A number of a claim's body, or a ClaimError."""
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(float(number)):
        raise ClaimError(f"an estimate meets {number!r}; give a finite number")
    return float(number)


class Scope(Protocol):
    """The answers to an estimate's questions."""

    def compare(self, statement: Statement) -> Decision:
        """The decision on a statement."""

    def summary(self, form: Linear) -> Interval:
        """The estimate and its limits."""

    def joined(self, other: Any) -> Scope:
        """The scope of a contrast with an estimate of `other`, a scope of the same kind."""


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
            return Estimate(self._form.plus(other._form, sign), self._scope.joined(other._scope))
        if isinstance(other, Real) and not isinstance(other, bool):
            return Estimate(self._form.plus(Linear((), _finite(other)), sign), self._scope)
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
        return Estimate(self._form.scaled(_finite(factor)), self._scope)

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> Estimate:
        if isinstance(divisor, Estimate):
            raise ClaimError("write a ratio `a / b > k` as two statements: `a > k * b` and `b > 0`")
        if not _finite(divisor):
            raise ClaimError("an estimate is divided by zero")
        return self * (1.0 / _finite(divisor))

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

    def __str__(self) -> str:
        """`+0.5 [+0.25, +0.75], n = 64`; while a claim is traced, when there are no numbers, as `repr` has it."""
        try:
            numbers = [signed_text(number) for number in (self.mean, self.low, self.high)]
        except ClaimError:
            return repr(self)
        return f"{numbers[0]} [{numbers[1]}, {numbers[2]}], n = {self.n}"

    def _repr_html_(self) -> str:
        """The estimate with its interval, in a notebook."""
        return html_of(self._scope.summary(self._form), self._form)


class Magnitude:
    """`abs(estimate)`: only `abs(estimate) < margin`, the equivalence statement, can be decided."""

    __slots__ = ("_estimate",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate

    def __lt__(self, margin: object) -> Decision:
        if not isinstance(margin, Real) or isinstance(margin, bool) or not 0 < float(margin) < math.inf:
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
