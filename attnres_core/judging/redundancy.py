"""Self-repair: a null effect is no absence where the same ablation costs once something else is gone, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.outcomes import Outcome
from attnres_core.quantities.quantity import Ablation, Quantity
from attnres_core.quantities.vocabulary import REMOVALS, Joint
from attnres_core.statistics.intervals import t_interval

Taken = frozenset[tuple[str, int]]
"""(site, source) pairs that an ablation takes away."""


def redundant(outcome: Outcome, outcomes: Iterable[Outcome], measurements: Measurements) -> tuple[str, ...]:
    """Where an effect that a claim shows to be small is made up for by what this run also ablated; in words.

    Of one ablation, the effect together with others less that of the others alone; of one site at a time, the effect
    of all sites together less the sum of theirs. It is told of when the lower limit of the mean (a descriptive 95 % t
    interval) lies above the margin within which the effect stays.
    """
    found = []
    every = dict.fromkeys(quantity for other in outcomes for quantity in other.quantities if other.decisions)
    for decision in outcome.decisions:
        statement = decision.statement
        if decision.verdict is not Verdict.SUPPORTED or statement.operator is Operator.ABOVE:
            continue
        (small, _), *more = statement.form.terms
        if more or not isinstance(small.what, Ablation):
            continue
        alike = {quantity: _taken(quantity, measurements) for quantity in every if _alike(quantity, small)}
        for large in alike:
            if large == small or (case := _case(large, small, alike, measurements)) is None:
                continue
            words, less = case
            try:
                columns = [
                    weight * measurements.column(quantity, outcome.standing.split, outcome.documents)
                    for quantity, weight in ((large, 1.0), less)
                ]
            except KeyError:  # measured on the other split, or on fewer documents
                continue
            low, mean, high = t_interval(np.sum(columns, axis=0))
            if low > statement.threshold:
                found.append(words.format(f"{mean:+.4g} [{low:+.4g}, {high:+.4g}]"))
    return tuple(found)


def _case(
    large: Quantity, small: Quantity, alike: Mapping[Quantity, Taken], measurements: Measurements
) -> tuple[str, tuple[Quantity, float]] | None:
    """What a larger ablation says of a smaller one, and what is to be added to its effect for that."""
    own, taken = _taken(small, measurements), alike[large]
    if not own or not own <= taken:
        return None
    if own == taken:  # all at once, against the sum of one site at a time
        words = f"redundant, not absent: all sites of `{small}` at once cost {{}} more than each alone together"
        return words, (small, -float(_runs(small, measurements)))
    if rests := [rest for rest, others in alike.items() if others and others == taken - own]:
        return f"redundant, not absent: with `{rests[0]}` gone too, `{small}` costs {{}}", (rests[0], -1.0)
    assert isinstance(large.what, Ablation)
    if not isinstance(large.what.family, Joint):
        return None
    words = f"perhaps redundant: `{large}` costs {{}} more than `{small}`; a claim about the others alone would tell"
    return words, (small, -1.0)


def _alike(large: Quantity, small: Quantity) -> bool:
    """Whether two quantities are the same kind of effect on the same model, the first of all its sites at once."""
    if not (isinstance(large.what, Ablation) and isinstance(small.what, Ablation)):
        return False
    one, other = ((each.role, each.metric, each.at) for each in (large, small))
    alike = one == other and (large.what.kind, large.what.recomputed) == (small.what.kind, small.what.recomputed)
    plain = not (large.what.per_site or large.what.control or small.what.control)
    return alike and plain and small.what.kind in REMOVALS


def _taken(quantity: Quantity, measurements: Measurements) -> Taken:
    """What a quantity's ablation takes, over all its runs."""
    runs = measurements.material.resolved(quantity).interventions  # (none where it does not apply)
    return frozenset((str(site), index) for run in runs for site, indices in run.touched for index in indices)


def _runs(quantity: Quantity, measurements: Measurements) -> int:
    """How many runs, one a layer, a quantity averages (over its draws, too)."""
    assert isinstance(quantity.what, Ablation)
    return len(measurements.material.resolved(quantity).interventions) // quantity.what.draws
