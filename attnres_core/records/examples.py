"""Examples of an effect: the prompts where it is largest and smallest, and how the loss of their tokens changes.

Chosen after the fact from the columns that decided a claim: something to look at, and evidence of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnres_core.claims.statements import Linear
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.outcomes import Outcome
from attnres_core.planning.material import Material, tokenizer_digest
from attnres_core.prompts import Prompt
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Ablation, Relation
from attnres_core.quantities.vocabulary import Positions, Role
from attnres_core.shapes import Column

SHOWN = 5
"""Examples at either end."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt on which a claim's effect was largest or smallest."""

    prompt: Prompt
    effect: float
    """Of the deciding statement's form, on this prompt."""
    trace: Column | None = None
    """By how much the loss of each next-token prediction rises, `[pos]`; None where the effect is no rise in loss."""


def examples(outcome: Outcome, measurements: Measurements) -> tuple[Example, ...]:
    """The claim's extremes, with what each of their tokens has to do with it."""
    if outcome.deciding is None:
        return ()
    form, split = outcome.deciding.statement.form, outcome.standing.split
    prompts, traced = measurements.material.prompts[split].prompts, is_traced(form, measurements.material)
    return tuple(
        Example(prompts[index], value, measurements.trace(form, split, index) if traced else None)
        for index, value in extremes(outcome, measurements).items()
    )


def extremes(outcome: Outcome, measurements: Measurements) -> dict[int, float]:
    """The prompts with the largest and the smallest value of the deciding statement's form, largest first.

    By their index in the claim's split. None of a claim that is not decided, or speaks of what has no value on one
    prompt.
    """
    if outcome.deciding is None:
        return {}
    form, split = outcome.deciding.statement.form, outcome.standing.split
    if any(isinstance(quantity.what, Relation) for quantity, _ in form.terms):
        return {}
    values = form.of({q: measurements.by_prompt(q, split, outcome.documents) for q, _ in form.terms})
    order = [int(index) for index in np.argsort(-values, kind="stable")]
    return {index: float(values[index]) for index in [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]}


def is_traced(form: Linear, material: Material) -> bool:
    """Return whether a form's value on a prompt is a mean over its tokens, as the trained model's tokenizer cuts it.

    So it is for rises in loss alone, over all positions, of models that share that tokenizer.
    """
    own = tokenizer_digest(material.checkpoint(Role.TRAINED))
    return all(
        isinstance(q.what, Ablation)
        and (q.metric, q.at) == (Metric.DELTA_NLL, Positions.ALL)
        and tokenizer_digest(material.checkpoint(q.role)) == own
        for q, _ in form.terms
    )
