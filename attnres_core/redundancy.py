"""Self-repair: a null effect beside the effect of an ablation that takes more is redundancy, not absence."""

from __future__ import annotations

from collections.abc import Iterable

from attnres_core.intervention import NotApplicable, resolve
from attnres_core.measurements import Measurements
from attnres_core.outcomes import Outcome
from attnres_core.quantities import Ablation, Quantity
from attnres_core.statistics import Operator, Verdict, t_interval
from attnres_core.vocabulary import REMOVALS

Taken = frozenset[tuple[str, int]]
"""(site, source) pairs that an ablation takes away."""


def redundant(outcome: Outcome, outcomes: Iterable[Outcome], measurements: Measurements) -> tuple[str, ...]:
    """For each effect that a claim shows to be small, this run's larger ablations that are not; in words.

    An ablation is larger if it takes the same sources and more: a joint family, more layers. It is told of when the
    lower limit of its mean (a descriptive 95 % t interval) lies above the margin within which the smaller one stays.
    """
    found = []
    for decision in outcome.decisions:
        statement = decision.statement
        if decision.verdict is not Verdict.SUPPORTED or statement.operator is not Operator.WITHIN:
            continue
        if len(statement.form.terms) != 1:
            continue
        (small, _) = statement.form.terms[0]
        for large in dict.fromkeys(quantity for other in outcomes for quantity in other.quantities if other.decisions):
            if not _contains(large, small, measurements):
                continue
            try:
                column = measurements.column(large, outcome.standing.split, outcome.documents)
            except KeyError:  # measured on the other split, or on fewer documents
                continue
            low, mean, high = t_interval(column)
            if low > statement.threshold:
                found.append(
                    f"redundant, not absent: `{large}` takes more than `{small}` and costs {mean:+.4g} "
                    f"[{low:+.4g}, {high:+.4g}]"
                )
    return tuple(found)


def _contains(large: Quantity, small: Quantity, measurements: Measurements) -> bool:
    """Whether one quantity's ablation takes the same sources of the same model and more, at once."""
    same = (large.role, large.metric, large.at) == (small.role, small.metric, small.at)
    if large == small or not same or not (isinstance(large.what, Ablation) and isinstance(small.what, Ablation)):
        return False
    if large.what.kind is not small.what.kind or large.what.per_site or large.what.control or small.what.control:
        return False
    outer, inner = _taken(large, measurements), _taken(small, measurements)
    return bool(inner) and inner <= outer and (inner < outer or small.what.per_site)


def _taken(quantity: Quantity, measurements: Measurements) -> Taken:
    assert isinstance(quantity.what, Ablation)
    if quantity.what.kind not in REMOVALS:
        return frozenset()
    checkpoint = measurements.material.checkpoint(quantity.role)
    try:
        touched = resolve(quantity.what, checkpoint.sites, checkpoint.num_layers).touched
    except (NotApplicable, ValueError):  # (its own claim says so)
        return frozenset()
    return frozenset((str(site), index) for site, indices in touched for index in indices)
