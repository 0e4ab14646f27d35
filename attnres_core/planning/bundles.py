"""The plan: what a set of quantities needs, deduplicated into bundles that workers measure one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from attnres_core.planning.material import Material
from attnres_core.planning.requests import ROUTING
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.intervention import SHAM, Intervention
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole

GROUP = 48
"""Interventions of a bundle: what a killed worker loses stays small."""


@dataclass(frozen=True)
class Bundle:
    """One model, one chunk of prompts, some interventions: measured whole, by one worker."""

    role: AnyRole
    split: Split
    model: str
    chunk: str
    prompts: tuple[Prompt, ...]
    interventions: tuple[Intervention, ...]
    plain: bool = False
    """Whether to measure the plain way, in float32, what the fast path is held against."""
    dtype: str = "float32"
    """What the model is loaded in."""
    reference: tuple[Prompt, ...] = ()
    """What some kinds of ablation take from."""
    about: str = ""
    """The model and its arithmetic, in words."""

    @cached_property
    def id(self) -> str:
        """Identifies the bundle across workers and runs."""
        parts = [self.model, self.chunk, *(intervention.key for intervention in self.interventions)]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    @property
    def loading(self) -> tuple[str, str, bool]:
        """Bundles sorted by this change the model that a slot holds as seldom as can be."""
        return str(self.role), self.dtype, self.plain

    @cached_property
    def keys(self) -> frozenset[str]:
        """The units it yields."""
        always = {ROUTING} if self.plain else {ROUTING, SHAM.key}
        return frozenset(always | {intervention.key for intervention in self.interventions})

    def __str__(self) -> str:
        """Named in errors."""
        how = " the plain way" if self.plain else ""
        return f"{len(self.interventions)} ablations{how} of the {self.role} model on prompts {self.prompts[0].id} ..."


def make_bundles(
    quantities: Iterable[Quantity], split: Split, material: Material, documents: int | None = None
) -> list[Bundle]:
    """The bundles that yield every applicable quantity's column; the same list whatever the order of asking.

    Args:
        quantities: what is asked for.
        split: over which prompts.
        material: what the run works on.
        documents: over the first so many documents; None: all.
    """
    chunks = material.chunks(split, documents)
    return [
        bundle
        for (role, dtype), interventions in _wanted(quantities, material)
        for bundle in _bundles(role, dtype, interventions, split, chunks, material)
    ]


def noise_bundles(quantities: Iterable[Quantity], material: Material) -> list[Bundle]:
    """The bundles that hold every quantity against the float32 plain path: the same units by both paths."""
    chunks = material.noise_chunks
    return [
        bundle
        for (role, dtype), interventions in _wanted(quantities, material)
        for plain in (False, True)
        for bundle in _bundles(role, dtype, interventions, Split.EXPLORATION, chunks, material, plain=plain)
    ]


def bundles_for(
    asked: Iterable[tuple[Split, Quantity]], material: Material, documents: int | None = None
) -> list[Bundle]:
    """Everything that quantities on splits need, model by model: columns, and what their noise floors are taken from.

    Args:
        asked: quantities, each with the split it is needed on.
        material: what the run works on.
        documents: over the first so many documents of confirmation, and all of exploration; None: all.
    """
    wanted: dict[Split, list[Quantity]] = {split: [] for split in Split}
    for split, quantity in asked:
        wanted[split].append(quantity)
    found = [
        *make_bundles(wanted[Split.EXPLORATION], Split.EXPLORATION, material),
        *make_bundles(wanted[Split.CONFIRMATION], Split.CONFIRMATION, material, documents),
        *noise_bundles([quantity for quantities in wanted.values() for quantity in quantities], material),
    ]
    return sorted(found, key=lambda bundle: bundle.loading)


def _wanted(quantities: Iterable[Quantity], material: Material) -> list[tuple[tuple[AnyRole, str], list[Intervention]]]:
    """The interventions asked for, by role and dtype, in order of where they resume."""
    wanted: dict[tuple[AnyRole, str], dict[str, Intervention]] = {}
    for quantity in quantities:
        asked = material.resolved(quantity)
        if asked.resolved:  # (of what is not, its claims say why)
            own = (quantity.role, quantity.dtype or material.dtype)
            wanted.setdefault(own, {}).update({intervention.key: intervention for intervention in asked.interventions})
    return [
        (own, sorted(wanted[own].values(), key=lambda intervention: (intervention.first_layer, intervention.key)))
        for own in sorted(wanted, key=lambda own: (str(own[0]), own[1]))
    ]


def _bundles(
    role: AnyRole,
    dtype: str,
    interventions: Sequence[Intervention],
    split: Split,
    chunks: Sequence[tuple[Prompt, ...]],
    material: Material,
    *,
    plain: bool = False,
) -> list[Bundle]:
    found = []
    for taken in (False, True):  # apart: a drop does not depend on the reference prompts, nor on whether they will do
        own = [intervention for intervention in interventions if intervention.needs_reference is taken]
        groups = [tuple(own[i : i + GROUP]) for i in range(0, len(own), GROUP)]
        if not interventions and not taken:
            groups = [()]  # the clean run alone
        model, about = (
            name(role, plain=plain, dtype=dtype, from_reference=taken) for name in (material.model_key, material.about)
        )
        loaded = "float32" if plain else dtype
        reference = material.reference if taken else ()
        found += [
            Bundle(
                *(role, split, model, material.chunk_key(role, chunk), chunk, group, plain, loaded),
                *(reference, about),
            )
            for chunk in chunks
            for group in groups
        ]
    return found
