"""Families that the data choose: picks resolved on the trained model's exploration split."""

from __future__ import annotations

import contextlib
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
    """Return what must be measured, on the exploration split, before these claims' families can be chosen."""
    picks = {pick for claim in claims for quantity in claim.quantities for pick in quantity.picks}
    return [make(family, pick) for pick in picks for family in Family for make in (mass_of, _effect)]


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
    families = _present(pick, trained)
    masses = {family: mean_of(mass_of(family, pick)) for family in families}
    effects = {family: mean_of(_effect(family, pick)) for family in families}
    if pick.of is not None and pick.of != len(masses):
        raise NotApplicable(f"`{pick}`: {len(masses)} families are present there, not {pick.of}")
    if not all(map(math.isfinite, (*masses.values(), *effects.values()))):
        raise ValueError(f"`{pick}`: masses or effects on the exploration split are NaN or infinite")
    ranked = by_mass(pick, trained, mean_of)
    if pick.rule is PickRule.MASSIVE:
        if pick.rank >= len(ranked):
            raise NotApplicable(f"`{pick}`: only {len(ranked)} families are present there")
        return ranked[pick.rank]
    if len(ranked) < 2:
        raise NotApplicable(f"`{pick}`: fewer than two families are present there")
    if pick.rule is PickRule.CAUSAL:
        return max(ranked[1:], key=lambda family: effects[family])
    eligible = [family for family in ranked if masses[family] >= MIN_PICK_MASS]
    if not eligible:
        raise NotApplicable(f"`{pick}`: no family there has a mass of {MIN_PICK_MASS:g} or more")
    return min(eligible, key=lambda family: abs(effects[family]))


def by_mass(pick: Pick, trained: Checkpoint, mean_of: Callable[[Quantity], float]) -> list[Family]:
    """The families present where a pick chooses, the most massive first (see `choose`)."""
    return sorted(_present(pick, trained), key=lambda family: -mean_of(mass_of(family, pick)))


def _present(pick: Pick, trained: Checkpoint) -> list[Family]:
    found = []
    for family in Family:
        with contextlib.suppress(NotApplicable):
            family_sites(family, pick.sublayer, pick.layers, trained.sites, trained.num_layers)
            found.append(family)
    return found


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


def mass_of(family: Family, pick: Pick) -> Quantity:
    """The mass that a family is ranked by."""
    return mass(family, pick.sublayer, pick.layers).on(Role.TRAINED)


def _effect(family: Family, pick: Pick) -> Quantity:
    return drop(family, pick.sublayer, pick.layers).on(Role.TRAINED)
