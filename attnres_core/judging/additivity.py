"""Ablations that cost more together than apart: exploratory, and no part of a verdict.

A null effect is no absence where the same ablation costs something once another part is gone, too. But joint effects
exceed the sum of their parts for many reasons, so that an excess is held against those of matched pairs of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.outcomes import Excess, Outcome
from attnres_core.quantities.quantity import Ablation, Quantity
from attnres_core.shapes import Column
from attnres_core.statistics.intervals import t_interval

COMPARABLE = 2.0
"""Effects are comparable within this factor, or where both lie within the claim's margin."""
Taken = frozenset[tuple[str, int]]
"""(site, source) pairs that an ablation takes away."""


@dataclass(frozen=True, slots=True)
class Parting:
    """An ablation, and measured ablations that take the same in parts."""

    whole: Quantity
    parts: tuple[tuple[Quantity, int], ...]
    """Each with how often its effect counts: of one site at a time, once for every site."""

    @property
    def names(self) -> tuple[Quantity, ...]:
        """The parts alone."""
        return tuple(part for part, _ in self.parts)

    def excess(self, column: Callable[[Quantity], Column]) -> Column:
        """The cost of the whole beyond the sum of its parts, `[document]`."""
        return sum((-times * column(part) for part, times in self.parts), column(self.whole))

    def effects(self, column: Callable[[Quantity], Column]) -> list[float]:
        """The parts' mean effects, smallest first."""
        return sorted(times * float(column(part).mean()) for part, times in self.parts)


def partings(quantities: Iterable[Quantity], measurements: Measurements) -> list[Parting]:
    """The ablations among these quantities that others among them take apart: in two, or site by site."""
    alike: dict[object, dict[Quantity, Taken]] = {}
    for quantity in dict.fromkeys(quantities):
        what = quantity.what
        of_a_part = isinstance(what, Ablation) and (what.control or what.via or quantity.variant)
        removes = isinstance(what, Ablation) and what.kind.spec.removes and not of_a_part
        if removes and (taken := _taken(quantity, measurements)):
            alike.setdefault(_sort(quantity), {})[quantity] = taken
    return [parting for group in alike.values() for parting in _partings(group, measurements)]


def _partings(group: dict[Quantity, Taken], measurements: Measurements) -> Iterator[Parting]:
    def parting(whole: Quantity, *parts: Quantity) -> Parting:
        return Parting(whole, tuple((part, _times(part, measurements)) for part in parts))

    for whole, every in group.items():
        if _per_site(whole):
            continue
        smaller = [part for part, taken in group.items() if part != whole and taken <= every]
        yield from (parting(whole, part) for part in smaller if _per_site(part) and group[part] == every)
        for one, other in combinations(smaller, 2):
            if group[one] | group[other] == every and not group[one] & group[other]:
                yield parting(whole, one, other)


def excesses(outcome: Outcome, found: Sequence[Parting], measurements: Measurements) -> tuple[Excess, ...]:
    """Return where an effect that a claim shows to be small is part of one that costs more than the sum of its parts.

    An excess is told where the lower end of its 95 % t interval lies above the claim's margin, and every matched pair
    has less. A matched pair is another parting of the same run, of ablations of the same sort, whose parts have
    comparable effects.

    Args:
        outcome: the claim's.
        found: the run's partings.
        measurements: what the run measured.
    """

    def column(quantity: Quantity) -> Column:
        return measurements.column(quantity, outcome.standing.split, outcome.documents)

    null = [
        d for d in outcome.decisions if d.verdict is Verdict.SUPPORTED and d.statement.operator is not Operator.ABOVE
    ]
    alone = [d.statement for d in null if len(d.statement.form.terms) == 1]
    if not alone:
        return ()
    measured = [parting for parting in found if _is_measured(parting, column)]
    told = list[Excess]()
    for statement in alone:
        ((small, _),) = statement.form.terms
        others = [parting for parting in measured if small not in (parting.whole, *parting.names)]
        for parting in measured:
            if small not in parting.names:
                continue
            effects = parting.effects(column)
            matched = tuple(
                float(other.excess(column).mean())
                for other in others
                if other.whole != parting.whole
                and _sort(other.whole) == _sort(small)
                and _comparable(other.effects(column), effects, statement.threshold)
            )
            low, mean, high = t_interval(parting.excess(column))
            if low > statement.threshold and all(same < mean for same in matched):
                told.append(Excess(parting.whole, parting.names, low, mean, high, matched))
    return tuple(dict.fromkeys(told))


def _is_measured(parting: Parting, column: Callable[[Quantity], Column]) -> bool:
    """Return whether all its columns are there, on the split and the documents that are asked for."""
    try:
        return all(len(column(quantity)) for quantity in (parting.whole, *parting.names))
    except KeyError:
        return False


def _comparable(ones: Sequence[float], others: Sequence[float], margin: float) -> bool:
    """Return whether two partings have as many parts, with effects that are comparable one by one."""
    if len(ones) != len(others):
        return False
    return all(
        max(abs(one), abs(other)) <= margin or 1 / COMPARABLE <= one * other / max(one**2, other**2)
        for one, other in zip(ones, others, strict=True)
    )


def _sort(quantity: Quantity) -> tuple[object, ...]:
    """Return what two quantities share that are the same kind of effect on the same model."""
    assert isinstance(quantity.what, Ablation)
    return quantity.role, quantity.metric, quantity.at, quantity.what.kind, quantity.what.recomputed


def _per_site(quantity: Quantity) -> bool:
    return isinstance(quantity.what, Ablation) and quantity.what.per_site


def _taken(quantity: Quantity, measurements: Measurements) -> Taken:
    """Return what a quantity's ablation takes, over all its runs."""
    runs = measurements.material.resolved(quantity).interventions  # (none where it does not apply)
    return frozenset((str(site), index) for run in runs for site, indices in run.touched for index in indices)


def _times(quantity: Quantity, measurements: Measurements) -> int:
    """Return how often a quantity's effect counts in a sum: it is the mean over sites where each is ablated alone."""
    assert isinstance(quantity.what, Ablation)
    runs = len(measurements.material.resolved(quantity).interventions) // quantity.what.draws
    return runs if quantity.what.per_site else 1
