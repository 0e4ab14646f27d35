"""Reasons that forbid a verdict on columns, or widen its limits, beside their own numbers."""

from __future__ import annotations

import dataclasses

from attnres_core.claims.statements import Linear
from attnres_core.engine import columns
from attnres_core.engine.measurements import Measurements
from attnres_core.judging import stored_decisions
from attnres_core.prompts import Split
from attnres_core.quantities.quantity import Ablation, Association, Prediction, Quantity
from attnres_core.quantities.vocabulary import Control
from attnres_core.statistics.associations import reliable

MATCHED = 0.9
"""A matched control must take so much of the mass that it is to match."""


def gate(measured: Measurements, form: Linear, split: Split, documents: int | None = None) -> str:
    """Return why a form's columns cannot bear a verdict, whatever their numbers; empty where nothing is against it."""
    quantities = [quantity for quantity, _ in form.terms]
    for quantity in quantities:
        if isinstance(quantity.what, Association):
            tables = measured.read(columns.cell_tables, quantity, split, documents)
            if not all(map(reliable, tables)):
                return f"`{quantity}`: effects of single sites scatter too much over these documents to be compared"
        control = quantity.what
        if not isinstance(control, Ablation) or control.control is not Control.MATCHED_MASS:
            continue
        for other in quantities:
            if not isinstance(other.what, Ablation) or other.role != quantity.role:
                continue
            if dataclasses.replace(other.what, control=control.control, draws=control.draws) != control:
                continue
            wanted, found = (1 - measured.record(q, split, documents).kept_mass for q in (other, quantity))
            if found < MATCHED * wanted:
                return (
                    f"not matched: `{other.what}` takes {wanted:.0%} of the mass, and all that other sources have "
                    f"there is {found:.0%}; no control can be as large"
                )
    return ""


def bias(measured: Measurements, form: Linear, split: Split, documents: int | None = None) -> float:
    """Return how far smoothing moves a form's associations from the statistics of the means."""
    total = 0.0
    for quantity, coefficient in form.terms:
        if isinstance(quantity.what, Association):
            total += abs(coefficient) * measured.smoothing_bias(quantity, split, documents)
    return total


def unrelated_p(
    measured: Measurements, quantity: Quantity, split: Split, documents: int | None = None, *, within: bool = False
) -> float:
    """The permutation test's p-value of what a prediction relates being unrelated, or so `within` strata."""
    assert isinstance(quantity.what, Prediction), "asked of predictions alone"
    prompts = measured.material.prompts[split].head(documents)
    strata = prompts.strata if within else ("",) * len(prompts.documents)
    summary, loss = measured.read(columns.pairs, quantity, split, documents)
    return stored_decisions.unrelated_p(quantity.what.kind, summary, loss, strata, measured.store)
