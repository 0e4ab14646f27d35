"""Examples of an effect: the prompts where it is largest and smallest, and how the loss of their tokens changes.

Chosen after the fact from the columns that decided a claim: something to look at, and evidence of nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from attnres_core.estimates import Linear
from attnres_core.measurements import Measurements
from attnres_core.outcomes import Example, Outcome
from attnres_core.plan import Bundle, Material, tokenizer_digest, trace_bundles
from attnres_core.prompts import Prompt
from attnres_core.quantities import Ablation, Relation
from attnres_core.run import Crew
from attnres_core.vocabulary import Metric, Positions, Role

SHOWN = 5
"""Examples at either end."""


def add_examples(outcomes: Iterable[Outcome], measurements: Measurements, crew: Crew) -> None:
    """Give every decided outcome its examples; their tokens are measured where the effect is a rise in loss."""
    chosen: list[tuple[Outcome, Linear, dict[Prompt, float], list[Bundle]]] = []
    for outcome in outcomes:
        if outcome.deciding is None or not (found := extremes(outcome, measurements)):
            continue
        form = outcome.deciding.statement.form
        traced = [quantity for quantity, _ in form.terms] if is_traced(form, measurements.material) else []
        bundles = trace_bundles(traced, tuple(found), measurements.material)
        chosen.append((outcome, form, found, bundles))
    every = [bundle for *_, bundles in chosen for bundle in bundles]
    lost = crew.carry_out(sorted(every, key=lambda bundle: bundle.loading))
    for outcome, form, found, bundles in chosen:
        measured = bundles and not any(bundle in lost for bundle in bundles)
        traces = measurements.traces(form, tuple(found)) if measured else [None] * len(found)
        examples = zip(found.items(), traces, strict=True)
        outcome.examples = tuple(Example(prompt, effect, trace) for (prompt, effect), trace in examples)


def extremes(outcome: Outcome, measurements: Measurements) -> dict[Prompt, float]:
    """The prompts with the largest and the smallest value of the deciding statement's form, largest first."""
    assert outcome.deciding is not None, "asked of decided outcomes"
    form, split = outcome.deciding.statement.form, outcome.standing.split
    if any(isinstance(quantity.what, Relation) for quantity, _ in form.terms):
        return {}  # it has no value on one prompt
    values = form.of({q: measurements.by_prompt(q, split, outcome.documents) for q, _ in form.terms})
    prompts = measurements.material.prompts[split].head(outcome.documents).prompts
    order = np.argsort(-values, kind="stable")
    ends = [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]
    return {prompts[place]: float(values[place]) for place in ends}


def is_traced(form: Linear, material: Material) -> bool:
    """Whether a form's value on a prompt is a mean over its tokens, as the trained model's tokenizer cuts it.

    So it is for rises in loss alone, over all positions, of models that share that tokenizer.
    """
    own = tokenizer_digest(material.checkpoint(Role.TRAINED))
    return all(
        isinstance(q.what, Ablation)
        and (q.metric, q.at) == (Metric.DELTA_NLL, Positions.ALL)
        and tokenizer_digest(material.checkpoint(q.role)) == own
        for q, _ in form.terms
    )
