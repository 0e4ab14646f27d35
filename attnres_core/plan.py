"""The plan: what a set of quantities needs, deduplicated into bundles that workers measure one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from attnres_core.columns import ROUTING, interventions_for
from attnres_core.intervention import SHAM, Intervention, NotApplicable
from attnres_core.models.checkpoint import Checkpoint
from attnres_core.prompts import Prompt, PromptSet, Split, chunk_digest
from attnres_core.vocabulary import AnyRole, Quantity

CHUNK = 16
"""Prompts of a bundle."""
GROUP = 48
"""Interventions of a bundle: what a killed worker loses stays small."""
BATCH_TOKENS = 4096
"""Rows x positions of one ablated batch: small enough for the cache, large enough for the matrix products."""
LOGIT_BYTES = 64 * 2**20
"""Size of one float32 block of logits while scoring."""
NUMERICS_VERSION = 2
"""Raise when a change to the arithmetic changes measured numbers."""


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

    def model_key(self, role: AnyRole) -> str:
        """Identifies a model and the arithmetic it is run in."""
        parts = [self.checkpoint(role).digest, self.device_class, self.dtype, NUMERICS_VERSION]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def chunks(self, split: Split) -> list[tuple[Prompt, ...]]:
        """A split's prompts, in the pieces they are measured in."""
        prompts = self.prompts[split].prompts
        return [prompts[start : start + CHUNK] for start in range(0, len(prompts), CHUNK)]

    def chunk_key(self, role: AnyRole, prompts: Sequence[Prompt]) -> str:
        """Identifies a chunk as this role's tokenizer reads it."""
        return chunk_digest(prompts, tokenizer_digest(self.checkpoint(role)))


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

    @cached_property
    def id(self) -> str:
        """Identifies the bundle across workers and runs."""
        parts = [self.model, self.chunk, *(intervention.key for intervention in self.interventions)]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    @cached_property
    def keys(self) -> frozenset[str]:
        """The units it yields."""
        return frozenset({ROUTING, SHAM.key, *(intervention.key for intervention in self.interventions)})

    def __str__(self) -> str:
        """Named in errors."""
        return f"{len(self.interventions)} ablations of the {self.role} model on prompts {self.prompts[0].id} ..."


def make_bundles(quantities: Iterable[Quantity], split: Split, material: Material) -> list[Bundle]:
    """The bundles that yield every applicable quantity's column; the same list whatever the order of asking."""
    wanted: dict[AnyRole, dict[str, Intervention]] = {}
    for quantity in quantities:
        try:
            found = interventions_for(quantity.what, material.checkpoint(quantity.role))
        except (NotApplicable, ValueError):  # its claims say so
            continue
        wanted.setdefault(quantity.role, {}).update({intervention.key: intervention for intervention in found})
    bundles = []
    for role in sorted(wanted, key=str):
        interventions = [wanted[role][key] for key in sorted(wanted[role])]
        interventions.sort(key=lambda intervention: intervention.first_layer)  # those that resume together
        groups = [interventions[i : i + GROUP] for i in range(0, max(1, len(interventions)), GROUP)]
        model = material.model_key(role)
        for chunk in material.chunks(split):
            key = material.chunk_key(role, chunk)
            bundles += [Bundle(role, split, model, key, chunk, tuple(group)) for group in groups]
    return bundles
