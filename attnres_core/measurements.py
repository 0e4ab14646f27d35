"""A run's columns, read from the store: values, records, noise floors, and why something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from attnres_core import columns, statistics
from attnres_core.columns import InterventionRecord, as_parts, unit_keys
from attnres_core.estimates import Linear
from attnres_core.intervention import SHAM
from attnres_core.plan import Bundle, Material
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities import Quantity
from attnres_core.shapes import Column, Unit
from attnres_core.store import Store
from attnres_core.vocabulary import AnyRole


class Measurements:
    """What the store holds for one run's material. `documents` means the first so many of a split; None: all."""

    def __init__(self, store: Store, material: Material) -> None:
        self.store, self.material = store, material
        self._columns: dict[tuple[Quantity, Split, int | None], Column] = {}
        self._errors: dict[Quantity, Column] = {}

    def column(self, quantity: Quantity, split: Split, documents: int | None = None) -> Column:
        """A measured column, `[document]`: the mean over each document's prompts."""
        key = (quantity, split, documents)
        if key not in self._columns:
            prompts = self.material.prompts[split].head(documents)
            chunks = self._chunks(quantity.role, self.material.chunks(split, documents), dtype=quantity.dtype)
            checkpoint = self.material.checkpoint(quantity.role)

            def by_document(column: Column) -> Column:
                return prompts.by_document(column[: len(prompts)])

            self._columns[key] = columns.values(*as_parts(quantity), chunks, checkpoint, by_document)
        return self._columns[key]

    def record(self, quantity: Quantity, split: Split, documents: int | None = None) -> InterventionRecord:
        """What a measured column's intervention touched."""
        chunks = self._chunks(quantity.role, self.material.chunks(split, documents), dtype=quantity.dtype)
        return columns.record_of(quantity.what, chunks, self.material.checkpoint(quantity.role))

    def chunks(self, role: AnyRole, split: Split) -> list[dict[str, Unit]]:
        """Everything measured for this role and split, chunk by chunk."""
        return self._chunks(role, self.material.chunks(split))

    def _chunks(
        self, role: AnyRole, chunks: Iterable[tuple[Prompt, ...]], *, plain: bool = False, dtype: str | None = None
    ) -> list[dict[str, Unit]]:
        model = self.material.model_key(role, plain=plain, dtype=dtype)
        return [self.store.units(model, self.material.chunk_key(role, chunk)) for chunk in chunks]

    def noise_floor(self, form: Linear, alpha: float) -> float:
        """How far the arithmetic may move a form's mean: its error against the float32 plain path."""
        errors = [coefficient * self._error(quantity) for quantity, coefficient in form.terms]
        return statistics.noise_floor(np.sum(errors, axis=0), alpha)

    def _error(self, quantity: Quantity) -> Column:
        """A quantity's measured values less those of the float32 plain path, `[prompt]`."""
        if quantity not in self._errors:
            checkpoint, chunks = self.material.checkpoint(quantity.role), self.material.noise_chunks
            fast, plain = (
                columns.values(
                    *as_parts(quantity),
                    self._chunks(quantity.role, chunks, plain=plain, dtype=quantity.dtype),
                    checkpoint,
                )
                for plain in (False, True)
            )
            self._errors[quantity] = fast - plain
        return self._errors[quantity]

    def sham(self) -> float:
        """The largest |effect| of a sham that travelled with the ablated rows, over everything stored."""
        worst = 0.0
        for role in self.material.checkpoints:
            for split in self.material.prompts:
                for units in self.chunks(role, split):
                    if SHAM.key in units:
                        worst = float(np.maximum(worst, np.abs(units[SHAM.key]["delta_nll"]).max()))  # keeps NaN
        return worst

    def has(self, quantity: Quantity, split: Split) -> bool:
        """Whether a quantity's whole column is in the store."""
        keys = unit_keys(quantity.what, self.material.checkpoint(quantity.role))
        return all(keys <= chunk.keys() for chunk in self.chunks(quantity.role, split))

    def touched(self, role: AnyRole, keys: Iterable[str], split: Split) -> bool:
        """Whether any of these units is in the store."""
        wanted = set(keys)
        return any(wanted & chunk.keys() for chunk in self.chunks(role, split))

    def loss(
        self, quantities: Iterable[Quantity], split: Split, lost: Mapping[Bundle, str], documents: int | None = None
    ) -> str:
        """Why a quantity's column, or what its noise floor is taken from, is missing; empty when all is there."""
        material = self.material
        for quantity in quantities:
            role = quantity.role
            keys = unit_keys(quantity.what, material.checkpoint(role))
            own = material.model_key(role, dtype=quantity.dtype)
            needed = {(own, material.chunk_key(role, c)) for c in material.chunks(split, documents)}
            for plain in (False, True):
                model = material.model_key(role, plain=plain, dtype=quantity.dtype)
                needed |= {(model, material.chunk_key(role, c)) for c in material.noise_chunks}
            for bundle, why in lost.items():
                if (bundle.model, bundle.chunk) in needed and keys & self.store.missing(bundle):
                    return why
        return ""
