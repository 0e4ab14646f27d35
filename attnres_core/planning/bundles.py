"""The plan: what a set of quantities needs, deduplicated into bundles that workers measure one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from attnres_core.engine.columns import ROUTING, interventions_for
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.prompts import Prompt, PromptSet, Split, chunk_digest
from attnres_core.quantities.intervention import SHAM, Intervention, NotApplicable
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole

CHUNK = 16
"""Prompts of a bundle."""
NOISE_CHUNKS = 2
"""Chunks of exploration prompts that the noise floor is taken from: 32 prompts."""
GROUP = 48
"""Interventions of a bundle: what a killed worker loses stays small."""
REFERENCE_PROMPTS = 64
"""Exploration prompts whose clean states and weights take the place of what some kinds of ablation take away."""
BATCH_TOKENS = 4096
"""Rows x positions of one ablated batch: small enough for the cache, large enough for the matrix products."""
LOGIT_BYTES = 4 * 2**20
"""Size of one float32 block of logits while scoring: what the cache holds between the passes over it ..."""
SCORE_ROWS = 128
"""... and its rows at least: with fewer, large vocabularies would read the unembedding over and over."""
NUMERICS_VERSION = 7
"""Raise when a change to the arithmetic changes measured numbers, or what a unit holds."""


def reference_of(prompts: PromptSet) -> tuple[Prompt, ...]:
    """The prompts that stand in for others: the first of the exploration split, whatever part of it a run reads."""
    return prompts.part(Split.EXPLORATION).prompts[:REFERENCE_PROMPTS]


@dataclass(frozen=True)
class Material:
    """What every unit's key depends on: checkpoints, prompts and numerics of a run."""

    checkpoints: Mapping[AnyRole, Checkpoint]
    kept: tuple[str, ...]
    """Earlier steps that the trained checkpoint's folder holds, by name, read or not."""
    prompts: Mapping[Split, PromptSet]
    device_class: str
    """"cpu" or "cuda"."""
    dtype: str
    reference: tuple[Prompt, ...] = ()
    """What some kinds of ablation take from."""

    def checkpoint(self, role: AnyRole) -> Checkpoint:
        """The model in a role.

        Raises:
            NotApplicable: the trained checkpoint kept no such step.
        """
        try:
            return self.checkpoints[role]
        except KeyError:
            kept = ", ".join(self.kept) or "none"
            raise NotApplicable(f"the trained checkpoint's folder holds no `{role}`; it holds: {kept}") from None

    def model_key(
        self,
        role: AnyRole,
        *,
        plain: bool = False,
        dtype: str | None = None,
        from_reference: bool = False,
    ) -> str:
        """Identifies a model and the arithmetic it is run in: the run's dtype, another, or the plain path in float32.

        With `from_reference`, also the reference prompts: for units that take something from them.
        """
        arithmetic = ["plain", "float32"] if plain else [dtype or self.dtype]
        given = [self.chunk_key(role, self.reference)] if from_reference else []
        parts = [self.checkpoint(role).digest, self.device_class, *arithmetic, *given, NUMERICS_VERSION]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def model_keys(self, role: AnyRole, *, plain: bool = False, dtype: str | None = None) -> tuple[str, str]:
        """Where a model's units are: those that take something from the reference prompts, and the others."""
        return (
            self.model_key(role, plain=plain, dtype=dtype, from_reference=True),
            self.model_key(role, plain=plain, dtype=dtype),
        )

    def about(
        self,
        role: AnyRole,
        *,
        plain: bool = False,
        dtype: str | None = None,
        from_reference: bool = False,
    ) -> str:
        """A model and its arithmetic in words."""
        checkpoint = self.checkpoint(role)
        how = "float32 the plain way" if plain else dtype or self.dtype
        name = f"{checkpoint.name} {checkpoint.digest[:12]} ({role})"
        taken = f", taken from {len(self.reference)} reference prompts" if from_reference else ""
        return f"{name}, {self.device_class} {how}{taken}, numerics {NUMERICS_VERSION}"

    def chunks(self, split: Split, documents: int | None = None) -> list[tuple[Prompt, ...]]:
        """A split's prompts in the pieces they are measured in, up to those of its first `documents`."""
        prompts, count = self.prompts[split].prompts, len(self.prompts[split].head(documents))
        return [prompts[start : start + CHUNK] for start in range(0, count, CHUNK)]

    @property
    def noise_chunks(self) -> list[tuple[Prompt, ...]]:
        """The exploration prompts on which every effect is held against the plain path."""
        return self.chunks(Split.EXPLORATION)[:NOISE_CHUNKS]

    def chunk_key(self, role: AnyRole, prompts: Sequence[Prompt]) -> str:
        """Identifies a chunk as this role's tokenizer reads it."""
        return chunk_digest(tuple(prompts), tokenizer_digest(self.checkpoint(role)))


@cache
def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest()


def tokenizer_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of a checkpoint's tokenizer file."""
    return _file_digest(checkpoint.tokenizer_file)


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


def _wanted(quantities: Iterable[Quantity], material: Material) -> list[tuple[tuple[AnyRole, str], list[Intervention]]]:
    """The interventions asked for, by role and dtype, in order of where they resume."""
    wanted: dict[tuple[AnyRole, str], dict[str, Intervention]] = {}
    for quantity in quantities:
        try:
            found = interventions_for(quantity.what, material.checkpoint(quantity.role))
        except (NotApplicable, ValueError):  # its claims say so
            continue
        own = (quantity.role, quantity.dtype or material.dtype)
        wanted.setdefault(own, {}).update({intervention.key: intervention for intervention in found})
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
