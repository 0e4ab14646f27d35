"""The refutation of a claim: for one with picks the negation of its title, which is more than one failing statement.

`most_massive` names a family: that it has its rank must be SUPPORTED. `most_causal` and `least_causal` say that there
is a family, for `most_causal` another than the most massive: the statements must fail for every family that could
stand there. A claim without picks has nothing to rank and one filling, its own statements.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attnres_core.claims.statements import Decision, Linear, Operator, Statement, Verdict
from attnres_core.judging.family_selection import filled_statement, mass_of
from attnres_core.quantities.quantity import Pick, PickRule, Quantity
from attnres_core.quantities.vocabulary import Family


@dataclass(frozen=True, slots=True)
class Negation:
    """The conditions that must be found before a claim is REFUTED."""

    rankings: tuple[Statement, ...]
    """All of these SUPPORTED: the families that the title names by their mass have that rank."""
    fillings: tuple[tuple[Statement, ...], ...]
    """In each of these one statement or more REFUTED; none: the claim states rankings alone, and is never refuted."""

    @property
    def refuters(self) -> int:
        """Limits that may refute the one filling that is true, if the claim is: each has alpha / refuters."""
        return max(1, sum(statement.operator.limits for statement in (self.fillings or [()])[0]))

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All that must be decided for it, each once."""
        return tuple(dict.fromkeys([*self.rankings, *itertools.chain(*self.fillings)]))

    def ranked(self, found: Mapping[Statement, Decision]) -> bool:
        """Return whether the families that the title names by their mass have that rank."""
        return all(found[statement].verdict is Verdict.SUPPORTED for statement in self.rankings)

    def holds(self, found: Mapping[Statement, Decision]) -> bool:
        """Return whether the claim is refuted."""
        failed = [any(found[s].verdict is Verdict.REFUTED for s in filling) for filling in self.fillings]
        return self.ranked(found) and bool(failed) and all(failed)


def negation(
    statements: Sequence[Statement],
    chosen: Mapping[Pick, Family],
    ranked: Mapping[Pick, Sequence[Family]],
    dtype: str | None = None,
) -> Negation:
    """The negation of a claim under one kind of ablation.

    Args:
        statements: the claim's, with their picks.
        chosen: the families that the picks came out as.
        ranked: the families present where each pick chooses, the most massive on the exploration split first.
        dtype: what the columns must be measured in.
    """
    about_rank = {s for pick in _picks(statements) for s in _rankings(pick, ranked[pick], dtype)}
    content = [s for s in statements if filled_statement(s, chosen, dtype) not in about_rank]
    picks = _picks(content)
    free = [pick for pick in picks if pick.rule is not PickRule.MASSIVE]
    choices = [ranked[pick][1:] if pick.rule is PickRule.CAUSAL else ranked[pick] for pick in free]
    fillings = [
        tuple(filled_statement(s, {**chosen, **dict(zip(free, families, strict=True))}, dtype) for s in content)
        for families in itertools.product(*choices)
        if content
    ]
    rankings = dict.fromkeys(s for pick in picks for s in _rankings(pick, ranked[pick], dtype))
    return Negation(tuple(rankings), tuple(fillings))


def _picks(statements: Iterable[Statement]) -> list[Pick]:
    return list(dict.fromkeys(p for s in statements for quantity, _ in s.form.terms for p in _picks_of(quantity)))


def _picks_of(quantity: object) -> tuple[Pick, ...]:
    return quantity.picks if isinstance(quantity, Quantity) else ()


def _rankings(pick: Pick, ranked: Sequence[Family], dtype: str | None) -> list[Statement]:
    """That the family has the mass of its rank; of `most_causal`, that the family it leaves out is the most massive."""
    if pick.rule is PickRule.IDLE:
        return []
    rank = pick.rank if pick.rule is PickRule.MASSIVE else 0
    pairs = [(higher, ranked[rank]) for higher in ranked[:rank]] + [(ranked[rank], low) for low in ranked[rank + 1 :]]
    return [_more_mass(pick, higher, lower, dtype) for higher, lower in pairs]


def _more_mass(pick: Pick, higher: Family, lower: Family, dtype: str | None) -> Statement:
    terms = ((mass_of(higher, pick), 1.0), (mass_of(lower, pick), -1.0))
    return filled_statement(Statement(Linear(terms), Operator.ABOVE, 0.0), {}, dtype)
