"""The distance of single prompts from a claim's statements, on the wrong side. In batches, each prompt once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from attnres_core.claims.claim import ClaimInfo
from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.claims.tracing import trace
from attnres_core.engine.columns import values
from attnres_core.engine.executors.in_memory import InMemory
from attnres_core.engine.sweep import validated
from attnres_core.models.model import AttnResModel
from attnres_core.planning.requests import metric_of, request_of, resolved
from attnres_core.prompts import PromptSet
from attnres_core.quantities.quantity import Ablation, Pick, Quantity, Request, RoutingSummary
from attnres_core.quantities.vocabulary import Summary
from attnres_core.shapes import Column, Unit

Claimed = Callable[..., object] | Sequence[Statement] | Quantity | Request
"""A test made by `@claim`, what one states, or a quantity or ablation, which is then claimed to be positive."""


def parametrised(claim: Callable[..., object]) -> bool:
    """Return whether a test takes its quantities from pytest's `parametrize`."""
    return any(mark.name == "parametrize" for mark in getattr(claim, "pytestmark", ()))


def stated(claim: Claimed, threshold: float | None = None) -> tuple[Statement, ...]:
    """Return what a claim says of every prompt; with a threshold, that one in place of its own.

    Raises:
        ClaimError: the claim's body is none.
        ValueError: it is nothing that a single prompt can violate.
    """
    info: ClaimInfo | None = getattr(claim, "__attnres_claim__", None)
    if info is not None and callable(claim):
        if parametrised(claim):
            name = getattr(claim, "__name__", "the claim")
            raise ValueError(
                f"`{name}` is parametrised; search one of its cases, `python -m attnres_core counterexample CHECKPOINT "
                f"FILE.py::{name}[case]`, or write that as a claim of its own"
            )
        statements = trace(claim, info.quantities, {})
    elif isinstance(claim, Quantity | Request):
        statements = (Statement(Linear(((claim, 1.0),)), Operator.ABOVE, 0.0),)
    elif isinstance(claim, Sequence) and claim and all(isinstance(each, Statement) for each in claim):
        statements = tuple(claim)
    else:
        raise ValueError(f"`claim` is {claim!r}; give a test made by @claim, a quantity or an ablation")
    if threshold is not None:
        if not math.isfinite(threshold):
            raise ValueError(f"`threshold` is {threshold:g}; give a finite number")
        if threshold <= 0 and any(each.operator is Operator.WITHIN for each in statements):
            raise ValueError(f"`threshold` is {threshold:g}, and no size is under it; give a positive one")
        statements = tuple(dataclasses.replace(each, threshold=float(threshold)) for each in statements)
    quantities = [quantity for statement in statements for quantity, _ in statement.form.terms]
    if len(roles := {str(q.role) for q in quantities if isinstance(q, Quantity)}) > 1:
        raise ValueError(f"the claim compares models ({', '.join(sorted(roles))}); a search measures one")
    for quantity in quantities:
        what, field = request_of(quantity)
        if isinstance(what.family, Pick):
            raise ValueError(f"`{quantity}` is about a family that prompts choose; state it of one by its name")
        summary = isinstance(what, RoutingSummary) and what.kind is not Summary.SPREAD and what.kind.spec.of_sites
        if not (isinstance(what, Ablation) or summary) or metric_of(field).spec.needs:
            raise ValueError(f"`{quantity}` is no number of a single prompt without an answer; state another claim")
    return statements


class Bench:
    """Measures prompts against statements.

    Args:
        model: what is ablated.
        statements: what prompts are held against.
        reference: what some kinds of ablation take from.

    Raises:
        NotApplicable: the model has no site that a statement speaks of.
        ValueError: something is taken from reference prompts, and there are none.
    """

    def __init__(
        self,
        model: AttnResModel,
        statements: Sequence[Statement],
        reference: PromptSet | Sequence[Sequence[int]] | None,
    ) -> None:
        self.model, self.statements = model, statements
        quantities = dict.fromkeys(quantity for statement in statements for quantity, _ in statement.form.terms)
        self._asked = {quantity: resolved(quantity, model.checkpoint).check() for quantity in quantities}
        self._measured_by = InMemory(model, self._asked.values(), reference)
        self.violations: dict[tuple[int, ...], float] = {}
        """By prompt: the largest by which it violates a statement, in its unit; negative where it satisfies all."""

    @property
    def forwards(self) -> int:
        """Runs of one prompt so far: clean and ablated."""
        return len(self.violations) * (1 + len(self._measured_by.interventions))

    def measure(self, batch: Sequence[Sequence[int]]) -> float:
        """The largest violation of a batch, measuring together what is new of it.

        Raises:
            ValueError: a prompt that the model cannot read, or on which it overflows.
        """
        rows = [list(row) for row in dict.fromkeys(map(tuple, batch)) if row not in self.violations]
        if rows:
            units = self._measured_by.units(validated(self.model, rows))
            found = np.max([_violation(statement, value) for statement, value in self._values(units)], axis=0)
            if not np.isfinite(found).all():
                row = rows[int(np.argmin(np.isfinite(found)))]
                name = self.model.checkpoint.name
                raise ValueError(f"{row} has no finite effect on {name}; no sign can be read off it")
            self.violations |= {tuple(row): float(each) for row, each in zip(rows, found, strict=True)}
        return max(self.violations[tuple(row)] for row in batch)

    def plainly(self, row: Sequence[int]) -> tuple[float, Statement, float]:
        """The plain way, one full forward per ablation: the largest violation, of which statement, and its value."""
        units = self._measured_by.plain_units([list(row)])
        found = [(float(_violation(s, value)[0]), s, float(value[0])) for s, value in self._values(units)]
        return max(found, key=lambda each: each[0])

    def _values(self, units: Mapping[str, Unit]) -> list[tuple[Statement, Column]]:
        """Return each statement's value, `[prompt]`."""
        columns = {quantity: values(asked, [units]) for quantity, asked in self._asked.items()}
        return [(statement, statement.form.of(columns)) for statement in self.statements]


def _violation(statement: Statement, value: Column) -> Column:
    """Return how far values lie on the wrong side of a statement's threshold."""
    if statement.operator is Operator.ABOVE:
        return np.asarray(statement.threshold - value)
    size = np.abs(value) if statement.operator is Operator.WITHIN else value
    return np.asarray(size - statement.threshold)
