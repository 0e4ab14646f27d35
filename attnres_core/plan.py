"""The plan: what a set of quantities needs, deduplicated into bundles that workers measure one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from attnres_core.columns import ROUTING, unit_key
from attnres_core.intervention import SHAM, Intervention, NotApplicable
from attnres_core.models.checkpoint import Checkpoint
from attnres_core.prompts import Prompt, PromptSet, Split, chunk_digest
from attnres_core.store import NUMERICS_VERSION, Store, Unit
from attnres_core.vocabulary import Quantity, Role

CHUNK = 16
"""Prompts of a bundle."""
GROUP = 48
"""Interventions of a bundle: what a killed worker loses stays small."""


@dataclass(frozen=True)
class Material:
    """What every unit's key depends on: checkpoints, prompts and numerics of a run."""

    checkpoints: Mapping[Role, Checkpoint]
    prompts: Mapping[Split, PromptSet]
    device_class: str
    """"cpu" or "cuda"."""
    dtype: str

    def model_key(self, role: Role) -> str:
        """Identifies a model and the arithmetic it is run in."""
        parts = [self.checkpoints[role].digest, self.device_class, self.dtype, NUMERICS_VERSION]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def chunks(self, split: Split) -> list[tuple[Prompt, ...]]:
        """A split's prompts, in the pieces they are measured in."""
        prompts = self.prompts[split].prompts
        return [prompts[start : start + CHUNK] for start in range(0, len(prompts), CHUNK)]

    def chunk_key(self, role: Role, prompts: Sequence[Prompt]) -> str:
        """Identifies a chunk as this role's tokenizer reads it."""
        return chunk_digest(prompts, tokenizer_digest(self.checkpoints[role]))

    def units(self, store: Store, role: Role, split: Split) -> list[dict[str, Unit]]:
        """Everything stored for this role and split, chunk by chunk."""
        model = self.model_key(role)
        return [store.units(model, self.chunk_key(role, chunk)) for chunk in self.chunks(split)]


@cache
def _file_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest()


def tokenizer_digest(checkpoint: Checkpoint) -> str:
    """SHA-256 of a checkpoint's tokenizer file."""
    return _file_digest(checkpoint.folder / "tokenizer.json")


@dataclass(frozen=True)
class Bundle:
    """One model, one chunk of prompts, some interventions: measured whole, by one worker."""

    role: Role
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

    def missing(self, store: Store) -> frozenset[str]:
        """The units that the store does not hold yet."""
        return self.keys - store.units(self.model, self.chunk).keys()

    def __str__(self) -> str:
        """Named in errors."""
        return f"{len(self.interventions)} ablations of the {self.role} model on prompts {self.prompts[0].id} ..."


def make_bundles(quantities: Iterable[Quantity], split: Split, material: Material) -> list[Bundle]:
    """The bundles that yield every applicable quantity's column; the same list whatever the order of asking."""
    wanted: dict[Role, dict[str, Intervention]] = {}
    for quantity in quantities:
        try:
            key, intervention = unit_key(quantity.what, material.checkpoints[quantity.role])
        except (NotApplicable, ValueError):  # its claims say so
            continue
        mine = wanted.setdefault(quantity.role, {})
        if intervention is not None:
            mine[key] = intervention
    bundles = []
    for role in sorted(wanted):
        interventions = [wanted[role][key] for key in sorted(wanted[role])]
        interventions.sort(key=lambda intervention: intervention.first_layer)  # those that resume together
        groups = [interventions[i : i + GROUP] for i in range(0, max(1, len(interventions)), GROUP)]
        model = material.model_key(role)
        for chunk in material.chunks(split):
            key = material.chunk_key(role, chunk)
            bundles += [Bundle(role, split, model, key, chunk, tuple(group)) for group in groups]
    return bundles
