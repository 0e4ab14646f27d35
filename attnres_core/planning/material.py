"""The material of a run: checkpoints, prompts, arithmetic; and what of it the keys of stored units depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.requests import ResolvedQuantity, request_of, resolved
from attnres_core.prompts import Prompt, PromptSet, Split, chunk_digest
from attnres_core.quantities.intervention import NotApplicable
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole, Role

CHUNK = 16
"""Prompts of a bundle."""
NOISE_CHUNKS = 2
"""Chunks of exploration prompts that the noise floor is taken from: 32 prompts."""
REFERENCE_PROMPTS = 64
"""Exploration prompts whose clean states and weights take the place of what some kinds of ablation take away."""
FITTING_PROMPTS = 256
"""Exploration prompts that constants are fitted to and chosen on."""
CUDA_NUMERICS = "cuda 2"
"""To be raised where a change moves the numbers of GPUs alone."""
NUMERICS_VERSION = 7
"""Raise when a change to the arithmetic changes measured numbers."""
FIT_VERSION = 1
"""Raise when a change to how constants are fitted changes them."""


class Taken(StrEnum):
    """What, beside its own prompts, a unit's numbers depend on."""

    FITTED = "fitted"
    """Constants that are fitted to exploration prompts."""
    REFERENCE = "reference"
    """States or weights of the reference prompts."""
    NOTHING = "nothing"


def reference_of(prompts: PromptSet) -> tuple[Prompt, ...]:
    """The prompts that stand in for others: the first of the exploration split, whatever part of it a run reads."""
    return prompts.part(Split.EXPLORATION).prompts[:REFERENCE_PROMPTS]


def fitting_of(prompts: PromptSet) -> tuple[Prompt, ...]:
    """The prompts that constants are fitted to and chosen on: the first of the exploration split, as `reference_of`."""
    return prompts.part(Split.EXPLORATION).prompts[:FITTING_PROMPTS]


@dataclass(frozen=True)
class Material:
    """The checkpoints, prompts and numerics of a run, on which every unit's key depends."""

    checkpoints: Mapping[AnyRole, Checkpoint]
    kept: tuple[str, ...]
    """Earlier steps that the trained checkpoint's folder holds, by name, read or not."""
    prompts: Mapping[Split, PromptSet]
    device_class: str
    """"cpu" or "cuda"."""
    dtype: str
    reference: tuple[Prompt, ...] = ()
    """What some kinds of ablation take from."""
    fitting: tuple[Prompt, ...] = ()
    """What constants are fitted to, and chosen on."""
    _resolved: dict[Quantity, ResolvedQuantity] = field(default_factory=dict, init=False, repr=False, compare=False)
    _models: dict[object, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pieces: dict[object, list[tuple[Prompt, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def resolved(self, quantity: Quantity) -> ResolvedQuantity:
        """A quantity on the checkpoint in its role; resolved when it is first asked for, and the same ever after."""
        if quantity not in self._resolved:
            try:
                found = resolved(quantity, self.checkpoint(quantity.role))
            except NotApplicable as error:
                found = ResolvedQuantity(*request_of(quantity), not_applicable=str(error))
            self._resolved[quantity] = found
        return self._resolved[quantity]

    def checkpoint(self, role: AnyRole) -> Checkpoint:
        """The model in a role.

        Raises:
            NotApplicable: the trained checkpoint kept no such step, its adapter makes no untrained model, it is no
                retrofit of routing, or the vanilla one is not its control.
        """
        try:
            return self.checkpoints[role]
        except KeyError:
            if role in (Role.BASE, Role.GAINS):
                given, needed, option = Role.TRAINED, "retrofit of routing", "--attnres-trained"
                if Role.BASE in self.checkpoints:
                    given, needed, option = Role.WRAPPED, "control of this retrofit", "--attnres-vanilla"
                    option += " (`python -m attnres_core train --retrofit ... --control gains`)"
                told = f"{self.checkpoints[given].name} is no {needed}; give one with {option}"
                raise NotApplicable(f"{told}: docs/checkpoints.md, Routing after the fact") from None
            if role is Role.UNTRAINED:
                adapter = self.checkpoints[Role.TRAINED].adapter
                told = "give its function a parameter `untrained`: docs/adapters.md"
                raise NotApplicable(f"the adapter {adapter} makes no untrained model; {told}") from None
            kept = ", ".join(self.kept) or "none"
            raise NotApplicable(f"the trained checkpoint's folder holds no `{role}`; it holds: {kept}") from None

    def model_key(
        self,
        role: AnyRole,
        *,
        plain: bool = False,
        dtype: str | None = None,
        taken: Taken = Taken.NOTHING,
    ) -> str:
        """Identifies a model and the arithmetic it is run in: the run's dtype, another, or the plain path in float32.

        So are the prompts that something is taken from, for units that take something.
        """
        asked = (role, plain, dtype, taken)
        if asked not in self._models:
            self._models[asked] = self._model_key(*asked)
        return self._models[asked]

    def _model_key(self, role: AnyRole, plain: bool, dtype: str | None, taken: Taken) -> str:
        arithmetic = ["plain", "float32"] if plain else [dtype or self.dtype]
        if self.device_class == "cuda":
            arithmetic.append(CUDA_NUMERICS)
        given: list[object] = []
        if taken is Taken.REFERENCE:
            given = [self.chunk_key(role, self.reference)]
        elif taken is Taken.FITTED:
            given = ["fitted", FIT_VERSION, self.chunk_key(role, self.fitting)]
        parts = [self.checkpoint(role).digest, self.device_class, *arithmetic, *given, NUMERICS_VERSION]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def model_keys(self, role: AnyRole, *, plain: bool = False, dtype: str | None = None) -> tuple[str, ...]:
        """Return where a model's units are: those that something is taken for, and the others."""
        return tuple(self.model_key(role, plain=plain, dtype=dtype, taken=taken) for taken in Taken)

    def about(
        self,
        role: AnyRole,
        *,
        plain: bool = False,
        dtype: str | None = None,
        taken: Taken = Taken.NOTHING,
    ) -> str:
        """A model and its arithmetic in words."""
        checkpoint = self.checkpoint(role)
        how = "float32 the plain way" if plain else dtype or self.dtype
        name = f"{checkpoint.name} {checkpoint.digest[:12]} ({role})"
        given = {
            Taken.REFERENCE: f", taken from {len(self.reference)} reference prompts",
            Taken.FITTED: f", constants fitted to {len(self.fitting)} prompts",
        }.get(taken, "")
        return f"{name}, {self.device_class} {how}{given}, numerics {NUMERICS_VERSION}"

    def chunks(self, split: Split, documents: int | None = None) -> list[tuple[Prompt, ...]]:
        """A split's prompts in the pieces they are measured in, up to those of its first `documents`."""
        if (split, documents) not in self._pieces:
            prompts, count = self.prompts[split].prompts, len(self.prompts[split].head(documents))
            pieces = [prompts[start : start + CHUNK] for start in range(0, count, CHUNK)]
            self._pieces[split, documents] = pieces
        return self._pieces[split, documents]

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
