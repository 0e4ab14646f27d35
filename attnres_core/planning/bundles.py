"""The plan: what a set of quantities needs, deduplicated into bundles that workers measure one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from attnres_core.planning.material import CHUNK, NOISE_CHUNKS, Material, Taken
from attnres_core.planning.requests import FIT_FIELDS, RECORD_FIELDS, ROUTING, ROUTING_FIELDS, field_of, metric_of
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.ablations import FIT_STARTS, FIT_STEPS
from attnres_core.quantities.intervention import SHAM, Intervention, self_swap
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole, Control

GROUP = 48
"""Interventions of a bundle: what a killed worker loses stays small."""
_SHAM_FIELDS = frozenset({field_of(Metric.DELTA_NLL)})
_Asked = tuple[Intervention, frozenset[str]]
"""An intervention, and the fields that columns read of its unit."""


@dataclass(frozen=True)
class Bundle:
    """One model, one chunk of prompts, some interventions: measured whole, by one worker.

    Or, where it has a `start`, a fit of one intervention's constants, from that start, to prompts that are its chunk.
    """

    role: AnyRole
    split: Split
    model: str
    chunk: str
    prompts: tuple[Prompt, ...]
    interventions: tuple[Intervention, ...]
    fields: tuple[frozenset[str], ...]
    """What must stand in each intervention's unit, in their order; whatever else is measured with it is stored, too."""
    plain: bool = False
    """Whether to measure the plain way, in float32, what the fast path is held against."""
    dtype: str = "float32"
    """What the model is loaded in."""
    reference: tuple[Prompt, ...] = ()
    """What some kinds of ablation take from."""
    about: str = ""
    """The model and its arithmetic, in words."""
    clean: frozenset[str] = ROUTING_FIELDS
    """What must stand in the clean run's unit."""
    self_swap: Intervention | None = None
    """Where there are interchanges, that of every prompt with itself."""
    distances: bool = False
    """Whether it is also measured how far reads lie from clean ones; a unit that lacks it is whole."""
    start: str = ""
    """One of FIT_STARTS: nothing is measured, and the intervention's constants are fitted."""
    fits: tuple[Bundle, ...] = field(default=(), hash=False)
    """The fits that the interventions need, from every start; it is measured after them."""

    @cached_property
    def id(self) -> str:
        """Identifies the bundle across workers and runs."""
        each = zip(self.interventions, self.fields, strict=True)
        parts = [self.model, self.chunk, *(f"{i.key}|{','.join(sorted(fields))}" for i, fields in each)]
        parts += sorted(self.clean - ROUTING_FIELDS)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    @property
    def cost(self) -> int:
        """Return how long it takes, in ablated forward passes of a prompt; the clean one counts as another.

        A step of a fit runs a chunk from its first site to the end and back, which takes about five times as long.
        """
        if self.start:
            return 5 * CHUNK * FIT_STEPS
        return len(self.prompts) * (len(self.interventions) + 1)

    @property
    def loading(self) -> tuple[str, str, bool]:
        """Bundles sorted by this change the model that a slot holds as seldom as can be."""
        return str(self.role), self.dtype, self.plain

    @property
    def shams(self) -> tuple[Intervention, ...]:
        """Return what measures the engine's own noise beside the interventions."""
        if self.plain:
            return ()
        return (SHAM, self.self_swap) if self.self_swap else (SHAM,)

    @cached_property
    def needs(self) -> dict[str, frozenset[str]]:
        """The units it yields, by key, with the fields that must stand in each."""
        if self.start:
            return {self.interventions[0].key: FIT_FIELDS}
        units = {ROUTING: self.clean} | {sham.key: _SHAM_FIELDS for sham in self.shams}
        each = zip(self.interventions, self.fields, strict=True)
        return units | {intervention.key: fields for intervention, fields in each}

    def __str__(self) -> str:
        """Named in errors."""
        if self.start:
            return f"the fit of {self.interventions[0].kind} at {', '.join(self.interventions[0].sites)} of {self.role}"
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
        for (role, dtype), asked, clean in _wanted(quantities, material)
        for bundle in _bundles(role, dtype, asked, split, chunks, material, clean)
    ]


def noise_bundles(quantities: Iterable[Quantity], material: Material) -> list[Bundle]:
    """The bundles that hold every quantity against the float32 plain path: the same units by both paths."""
    chunks = material.noise_chunks
    return [
        bundle
        for (role, dtype), asked, clean in _wanted(quantities, material)
        for plain in (False, True)
        for bundle in _bundles(role, dtype, asked, Split.EXPLORATION, chunks, material, clean, plain=plain)
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
    return sorted(dict.fromkeys(found), key=lambda bundle: bundle.loading)  # (the same fits serve both splits)


def _wanted(
    quantities: Iterable[Quantity], material: Material
) -> list[tuple[tuple[AnyRole, str], list[_Asked], frozenset[str]]]:
    """The interventions asked for, by role and dtype, in order of where they resume; and fields of the clean run."""
    wanted: dict[tuple[AnyRole, str], dict[str, tuple[Intervention, set[str]]]] = {}
    clean: dict[tuple[AnyRole, str], frozenset[str]] = {}
    for quantity in quantities:
        asked = material.resolved(quantity)
        if asked.resolved:  # (of what is not, its claims say why)
            measured = (quantity.role, quantity.dtype or material.dtype)
            own = wanted.setdefault(measured, {})
            clean[measured] = clean.get(measured, ROUTING_FIELDS) | asked.clean_fields
            for intervention in asked.interventions:
                own.setdefault(intervention.key, (intervention, set()))[1].add(asked.unit_field)
    return [
        (
            own,
            [(each, frozenset(fields)) for _, (each, fields) in sorted(wanted[own].items(), key=_resumes)],
            clean[own],
        )
        for own in sorted(wanted, key=lambda own: (str(own[0]), own[1]))
    ]


def _resumes(asked: tuple[str, tuple[Intervention, set[str]]]) -> tuple[int, str]:
    """Return where an intervention's runs resume; then by its key."""
    key, (intervention, _) = asked
    return intervention.first_layer, key


def _bundles(
    role: AnyRole,
    dtype: str,
    asked: Sequence[_Asked],
    split: Split,
    chunks: Sequence[tuple[Prompt, ...]],
    material: Material,
    clean: frozenset[str],
    *,
    plain: bool = False,
) -> list[Bundle]:
    found = []
    needing = {field: metric_of(field).spec.needs for _, fields in asked for field in fields}
    unanswered = [  # (where prompts have no answer nothing can be read of it; such claims are refused)
        frozenset(f for f, needs in needing.items() if needs and not all(getattr(p, needs) for p in chunk))
        for chunk in chunks
    ]
    for taken in reversed(Taken):  # apart: a drop depends on no other prompts, nor on whether they will do
        own = [(each, fields) for each, fields in asked if taken_for(each) is taken]
        groups = [own[i : i + GROUP] for i in range(0, len(own), GROUP)]
        swapped = any(each.needs_donor for each, _ in own)
        swap = self_swap(material.checkpoint(role).sites, material.checkpoint(role).num_layers) if swapped else None
        if taken is Taken.NOTHING and not groups and (not asked or clean > ROUTING_FIELDS):
            groups = [[]]  # the clean run alone
        model, about = (
            name(role, plain=plain, dtype=dtype, taken=taken) for name in (material.model_key, material.about)
        )
        fits = {each: fits_of(role, each, material) for each, _ in own if each.spec.fitted}
        found += [fit for each in fits.values() for fit in each]
        found += [
            Bundle(
                *(role, split, model, material.chunk_key(role, chunk), chunk),
                interventions=tuple(each for each, _ in served),
                fields=_needed(served, without, plain=plain),
                plain=plain,
                dtype="float32" if plain else dtype,
                reference=() if taken is Taken.NOTHING else material.reference,
                about=about,
                clean=clean if taken is Taken.NOTHING and not place else ROUTING_FIELDS,  # (once is enough)
                self_swap=swap if any(each.needs_donor for each, _ in served) else None,
                distances=not plain and split is Split.EXPLORATION and number < NOISE_CHUNKS,
                fits=tuple(fit for each, _ in served for fit in fits.get(each, ())),
            )
            for number, (chunk, without) in enumerate(zip(chunks, unanswered, strict=True))
            for place, group in enumerate(groups)
            for served in [[one for one in group if _has_donors(one[0], chunk)]]
        ]
    return found


def taken_for(intervention: Intervention) -> Taken:
    """What an intervention's units depend on beside their prompts."""
    if intervention.spec.fitted:
        return Taken.FITTED
    return Taken.REFERENCE if intervention.needs_reference else Taken.NOTHING


def fits_of(role: AnyRole, intervention: Intervention, material: Material) -> tuple[Bundle, ...]:
    """The fits of an intervention's constants, one from each start, in float32 whatever the run's dtype."""
    taken, fitted_to = Taken.FITTED, material.chunk_key(role, material.fitting)
    model, about = (name(role, dtype="float32", taken=taken) for name in (material.model_key, material.about))
    return tuple(
        Bundle(
            *(role, Split.EXPLORATION, model),
            chunk=hashlib.sha256("|".join((fitted_to, intervention.key, start)).encode()).hexdigest(),
            prompts=material.fitting,
            interventions=(intervention,),
            fields=(FIT_FIELDS,),
            about=about,
            clean=frozenset(),
            start=start,
        )
        for start in FIT_STARTS
    )


def _has_donors(intervention: Intervention, chunk: Sequence[Prompt]) -> bool:
    """Return whether a chunk has what an intervention takes from its donors; where not, its claims are refused."""
    field = "placebo" if intervention.control is Control.PLACEBO else "donor"
    return not intervention.needs_donor or all(getattr(prompt, field) for prompt in chunk)


def _needed(group: Sequence[_Asked], without: frozenset[str], *, plain: bool) -> tuple[frozenset[str], ...]:
    """Return what must stand in each unit of a group: what is asked for but cannot be had is left out."""
    beside = frozenset[str]() if plain else RECORD_FIELDS
    return tuple((fields - without) | beside for _, fields in group)
