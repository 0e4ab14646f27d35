"""The statements of a claim's body, found by calling it with symbolic estimates at collection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from attnres_core.claims.estimates import Estimate
from attnres_core.claims.statements import ClaimError, Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Ablation, Quantity
from attnres_core.quantities.units import unit_of


@dataclass(slots=True)
class Tracer:
    """Records a body's statements; every decision comes out as SUPPORTED but the one numbered `deny`."""

    deny: int | None = None
    statements: list[Statement] = field(default_factory=list)

    def compare(self, statement: Statement) -> Decision:
        """Record the statement."""
        plain = [factor for _, factor in statement.form.terms] == [1.0] and statement.operator is not Operator.WITHIN
        if statement.takes_worst and not plain:
            raise ClaimError(f"`{statement}`: a largest deviation stands alone, as `x < tolerance` or `x > tolerance`")
        if not all(factor for _, factor in statement.form.terms):
            raise ClaimError(f"`{statement}` has a term that counts zero times; leave it out")
        units = dict.fromkeys(unit_of(quantity) for quantity, _ in statement.form.terms)
        if len(units) > 1:
            raise ClaimError(
                f"`{statement}` adds {' and '.join(units)}; a sum of different units has none: state one for each"
            )
        if _is_share_of_a_path(statement):
            raise ClaimError(
                f"`{statement}` states a share of an effect that acts along a path; the parts of an effect add up in "
                "logits alone: use metric=LOGIT_DIFFERENCE, or compare the effects themselves, each as it is"
            )
        verdict = Verdict.INCONCLUSIVE if len(self.statements) == self.deny else Verdict.SUPPORTED
        self.statements.append(statement)
        unknown = Interval(math.nan, -math.inf, math.inf, 0, math.nan)
        return Decision(statement, verdict, unknown)

    def joined(self, other: Tracer) -> Tracer:
        """One tracer serves a whole body."""
        return self

    def summary(self, form: Linear) -> NoReturn:
        """A body may not look at the numbers."""
        raise number_read(form)


def _is_share_of_a_path(statement: Statement) -> bool:
    """Whether effects that are no logits, one of them along a path, are related by anything but sum and difference."""
    terms = [(quantity, abs(factor)) for quantity, factor in statement.form.terms if factor]
    along = any(isinstance(quantity.what, Ablation) and quantity.what.via for quantity, _ in terms)
    in_logits = all(quantity.metric is Metric.LOGIT_DIFFERENCE for quantity, _ in terms)
    return along and not in_logits and len({factor for _, factor in terms}) > 1


def number_read(form: Linear) -> ClaimError:
    """The error of a body that looks at an estimate's numbers."""
    return ClaimError(f"the body reads a number of `{form}`; a claim compares estimates: `effect > MIN_EFFECT`")


def trace(
    body: Callable[..., object], quantities: Mapping[str, Quantity], others: Mapping[str, Any]
) -> tuple[Statement, ...]:
    """The statements of a claim's body, from calling it with symbolic estimates.

    Called once with every decision true, then once per statement with that decision false: an assertion must
    then stop the body at once. So a body that negates, branches on or ignores a decision is found without
    reading its source.

    Raises:
        ClaimError: what is wrong, and how to write it instead.
    """

    def run(tracer: Tracer) -> bool:
        estimates = {name: Estimate(Linear(((q, 1.0),)), tracer) for name, q in quantities.items()}
        try:
            body(**others, **estimates)
        except AssertionError:
            return False
        except ClaimError:
            raise
        except Exception as error:  # the body is the user's: it may raise anything
            raise ClaimError(
                f"the body raised {type(error).__name__}: {error}; it is called with symbolic estimates first, "
                "which know `+`, `-`, `*`, `/`, `abs`, `<` and `>`"
            ) from error
        return True

    tracer = Tracer()
    completed = run(tracer)
    statements = tuple(tracer.statements)
    if not statements:
        raise ClaimError("the body decides nothing; assert a comparison of its estimates: `assert effect > MIN_EFFECT`")
    if not completed:
        raise ClaimError(
            "the body negates a decision or asserts something else; `not effect > m` would pass on inconclusive data: "
            "state the positive claim, `effect < m` or `abs(effect) < m`"
        )
    for index in range(len(statements)):
        denied = Tracer(deny=index)
        if run(denied) or len(denied.statements) != index + 1:
            raise ClaimError(
                f"the body goes on when `{statements[index]}` is not supported; every decision must be asserted: "
                "no `if`, no `or`, no decision kept in a variable"
            )
    return statements
