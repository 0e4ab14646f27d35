"""Families that the data choose: picks resolved on the trained model's exploration split."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Linear, Statement
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.quantities.ablations import drop
from attnres_core.quantities.intervention import NotApplicable, family_sites
from attnres_core.quantities.quantity import MIN_PICK_MASS, Pick, PickRule, Quantity, Relation
from attnres_core.quantities.summaries import mass
from attnres_core.quantities.vocabulary import Family, Role


def needed_for(claims: Iterable[Claim]) -> list[Quantity]:
    """What must be measured, on the exploration split, before these claims' families can be chosen."""
    picks = {pick for claim in claims for quantity in claim.quantities for pick in quantity.picks}
    return [make(family, pick) for pick in picks for family in Family for make in (_mass, _effect)]


def choose(pick: Pick, trained: Checkpoint, mean_of: Callable[[Quantity], float]) -> Family:
    """The family that a pick comes out as.

    Args:
        pick: the choice to make.
        trained: the checkpoint that the choice is about.
        mean_of: a quantity's mean on the exploration split.

    Raises:
        NotApplicable: too few families, or not as many as the pick asks for, are present there.
        ValueError: the numbers to choose by are NaN or infinite.
    """
    masses, effects = {}, {}
    for family in Family:
        try:
            family_sites(family, pick.sublayer, pick.layers, trained.sites, trained.num_layers)
        except NotApplicable:
            continue
        masses[family], effects[family] = mean_of(_mass(family, pick)), mean_of(_effect(family, pick))
    if pick.of is not None and pick.of != len(masses):
        raise NotApplicable(f"`{pick}`: {len(masses)} families are present there, not {pick.of}")
    if not all(map(math.isfinite, (*masses.values(), *effects.values()))):
        raise ValueError(f"`{pick}`: masses or effects on the exploration split are NaN or infinite")
    ranked = sorted(masses, key=lambda family: -masses[family])
    if pick.rule is PickRule.MASSIVE:
        if pick.rank >= len(ranked):
            raise NotApplicable(f"`{pick}`: only {len(ranked)} families are present there")
        return ranked[pick.rank]
    if len(ranked) < 2:
        raise NotApplicable(f"`{pick}`: fewer than two families are present there")
    if pick.rule is PickRule.CAUSAL:
        return max(ranked[1:], key=lambda family: effects[family])
    eligible = [family for family in ranked if masses[family] >= MIN_PICK_MASS]
    return min(eligible, key=lambda family: abs(effects[family]))


def filled(quantity: Quantity, chosen: Mapping[Pick, Family], dtype: str | None = None) -> Quantity:
    """A quantity with its pick filled in, and what it must be measured in."""
    quantity = dataclasses.replace(quantity, dtype=dtype)
    if not quantity.picks:
        return quantity
    assert not isinstance(quantity.what, Relation), "its families are named"
    return dataclasses.replace(quantity, what=dataclasses.replace(quantity.what, family=chosen[quantity.picks[0]]))


def filled_statement(statement: Statement, chosen: Mapping[Pick, Family], dtype: str | None = None) -> Statement:
    """A statement with its picks filled in, and what it must be measured in."""
    terms = tuple((filled(quantity, chosen, dtype), coefficient) for quantity, coefficient in statement.form.terms)
    return dataclasses.replace(statement, form=Linear(terms, statement.form.constant))


def _mass(family: Family, pick: Pick) -> Quantity:
    return mass(family, pick.sublayer, pick.layers).on(Role.TRAINED)


def _effect(family: Family, pick: Pick) -> Quantity:
    return drop(family, pick.sublayer, pick.layers).on(Role.TRAINED)
