"""A run's columns, read from the store: values, records, noise floors, and why something is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnres_core.claims.statements import Linear, Statement
from attnres_core.engine import columns
from attnres_core.engine.columns import InterventionRecord
from attnres_core.engine.store import Store, StoreError
from attnres_core.planning.bundles import Bundle
from attnres_core.planning.material import CHUNK, Material, tokenizer_digest
from attnres_core.planning.requests import (
    NLL,
    RECORD_FIELDS,
    ROUTING,
    ROUTING_FIELDS,
    TRACE,
    ResolvedQuantity,
)
from attnres_core.prompts import Prompt, Sentences, Split
from attnres_core.quantities.intervention import SHAM, self_swap
from attnres_core.quantities.quantity import Ablation, Association, Quantity, RoutingSummary
from attnres_core.quantities.vocabulary import AnyRole, Control, Statistic, Summary
from attnres_core.shapes import Column, Unit
from attnres_core.statistics import associations, intervals


class Measurements:
    """The store's content for one run's material. `documents` means the first so many of a split; None: all."""

    def __init__(self, store: Store, material: Material) -> None:
        self.store, self.material = store, material
        self._columns: dict[tuple[Quantity, Split, int | None], Column] = {}
        self._errors: dict[Quantity, Column] = {}
        self._lengths: dict[Split, list[int]] = {}
        self._sentences: dict[tuple[Path, Split], Sentences | None] = {}

    def column(self, quantity: Quantity, split: Split, documents: int | None = None) -> Column:
        """A measured column, `[document]`: the mean over each document's prompts."""
        key = (quantity, split, documents)
        if key not in self._columns:
            self._columns[key] = self.read(self._values(quantity, split), quantity, split, documents)
        return self._columns[key]

    def by_prompt(self, quantity: Quantity, split: Split, documents: int | None = None) -> Column:
        """The same before the mean over each document's prompts, `[prompt]`."""
        prompts = self.material.prompts[split].head(documents)
        if len(prompts) == len(prompts.documents):
            return self.column(quantity, split, documents)
        column: Column = self.read(self._values(quantity, split), quantity, split, documents, by_document=False)
        return column

    def _values(self, quantity: Quantity, split: Split) -> Callable[..., Column]:
        """Return what reads a column of a quantity's units: `columns.values`, told of pairs of sentences."""

        def values(
            asked: ResolvedQuantity, chunks: list[dict[str, Unit]], by_document: Callable[..., Column]
        ) -> Column:
            return columns.values(asked, chunks, by_document, self._sentences_of(quantity, split, chunks), self._kept)

        return values

    def _kept(self, statistic: Callable[..., Any], kind: Statistic, *tables: np.ndarray) -> Column:
        """What a statistic makes of two tables, `[document]` or one number: computed once, then read from the store."""
        given = [statistic.__name__, associations.VERSION, associations.SEED, associations.RESAMPLES, kind.value]
        digest = hashlib.sha256(json.dumps([*given, *(table.shape for table in tables)]).encode())
        for table in tables:
            digest.update(np.ascontiguousarray(table).tobytes())
        key = digest.hexdigest()
        entry = self.store.statistic(key)
        if entry is None:
            entry = {"values": np.asarray(statistic(kind, *tables)).tolist()}
            with contextlib.suppress(StoreError):  # (it can be computed again)
                self.store.add_statistic(key, entry)
        return np.array(entry["values"])

    def smoothing_bias(self, quantity: Quantity, split: Split, documents: int | None = None) -> float:
        """How far smoothing moves an association from the statistic of the means (see `associations`)."""
        assert isinstance(quantity.what, Association), "asked of associations alone"
        tables = self.read(columns.cell_tables, quantity, split, documents)
        smoothed = self.column(quantity, split, documents)
        return float(self._kept(associations.smoothing_bias, quantity.what.kind, *tables, smoothed))

    def read(
        self,
        read: Callable[..., Any],
        quantity: Quantity,
        split: Split,
        documents: int | None,
        *,
        by_document: bool = True,
    ) -> Any:
        """Return what `read` makes of a quantity's units, with a number for every document, or every prompt."""
        prompts = self.material.prompts[split].head(documents)
        chunks = self._chunks(quantity.role, self.material.chunks(split, documents), dtype=quantity.dtype)

        variant = quantity.variant
        varied = prompts.of_variant(variant) if variant else prompts
        rows = [row for row, prompt in enumerate(prompts.prompts) if variant in ("", prompt.variant)]

        worst = isinstance(quantity.what, RoutingSummary) and quantity.what.kind.spec.worst

        def of_documents(column: Column) -> Column:
            return varied.by_document(column[rows], worst=worst) if by_document else column[: len(prompts)]

        return read(self.material.resolved(quantity), chunks, of_documents)

    def _sentences_of(self, quantity: Quantity, split: Split, chunks: Sequence[Mapping[str, Unit]]) -> Sentences | None:
        """What the pairs of sentences among the prompts of some chunks are; None where the split has none.

        Raises:
            ValueError: the role's tokenizer makes two of them incomparable.
        """
        file = self.material.checkpoint(quantity.role).tokenizer_file
        if (file, split) not in self._sentences:
            self._sentences[file, split] = self.material.prompts[split].sentences(file)
        found = self._sentences[file, split]
        return found and found.head(sum(len(chunk[ROUTING][NLL]) for chunk in chunks))

    def trace(self, form: Linear, split: Split, index: int) -> Column:
        """The rise in loss of a prompt, by its index in the split, token by token: `[pos]`, one less than it has.

        Of models that share a tokenizer.
        """
        chunk, row = divmod(index, CHUNK)
        chunks, total = [self.material.chunks(split)[chunk]], np.zeros(1)
        for quantity, coefficient in form.terms:
            keys = self.material.resolved(quantity).keys
            (units,) = self._chunks(quantity.role, chunks, dtype=quantity.dtype)
            rises = [units[key][TRACE][row] for key in sorted(keys)]
            total = total + coefficient * np.mean(rises, axis=0, dtype=np.float64)
        if split not in self._lengths:  # (the tokenizer is slow to read)
            tokenizer = self.material.checkpoint(form.terms[0][0].role).tokenizer_file
            self._lengths[split] = list(map(len, self.material.prompts[split].token_ids(tokenizer)))
        return total[: self._lengths[split][index] - 1]

    def record(self, quantity: Quantity, split: Split, documents: int | None = None) -> InterventionRecord:
        """Return what a measured column's intervention touched."""
        chunks = self._chunks(quantity.role, self.material.chunks(split, documents), dtype=quantity.dtype)
        found = columns.record_of(self.material.resolved(quantity), chunks)
        return dataclasses.replace(found, beyond=self.beyond(quantity))

    def beyond(self, quantity: Quantity) -> float:
        """The share of an ablation's reads that lie beyond clean ones; NaN: the store does not know it."""
        asked, explored = self.material.resolved(quantity), Split.EXPLORATION in self.material.prompts
        chunks = self.material.noise_chunks if explored and asked.interventions else []
        return columns.beyond(asked, self._chunks(quantity.role, chunks, dtype=quantity.dtype))

    def chunks(self, role: AnyRole, split: Split) -> list[dict[str, Unit]]:
        """Everything measured for this role and split, chunk by chunk."""
        return self._chunks(role, self.material.chunks(split))

    def _chunks(
        self,
        role: AnyRole,
        chunks: Iterable[tuple[Prompt, ...]],
        *,
        plain: bool = False,
        dtype: str | None = None,
    ) -> list[dict[str, Unit]]:
        models = self.material.model_keys(role, plain=plain, dtype=dtype)
        keys = [self.material.chunk_key(role, chunk) for chunk in chunks]
        return [self.store.units_of(models, key) for key in keys]

    def noise_floor(self, form: Linear, alpha: float) -> float:
        """Return how far the arithmetic may move a form's mean: its error against the float32 plain path."""
        errors = [coefficient * self._error(quantity) for quantity, coefficient in form.terms]
        return intervals.noise_floor(np.sum(errors, axis=0), alpha)

    def _error(self, quantity: Quantity) -> Column:
        """A quantity's measured values less those of the float32 plain path, `[prompt]`."""
        if quantity not in self._errors:
            asked, prompts = self.material.resolved(quantity), self.material.noise_chunks
            values = []
            for plain in (False, True):
                chunks = self._chunks(quantity.role, prompts, plain=plain, dtype=quantity.dtype)
                sentences = self._sentences_of(quantity, Split.EXPLORATION, chunks)
                values.append(columns.values(asked, chunks, sentences=sentences, apply=self._kept))
            self._errors[quantity] = values[0] - values[1]
        return self._errors[quantity]

    def check_answers(self, quantity: Quantity, split: Split) -> None:
        """Refuse a metric of answers, an interchange or a variant on prompts that have no answers, donors or variants.

        Raises:
            ValueError: which quantity, and what the prompts lack.
        """
        prompts = self.material.prompts[split]
        needs = [quantity.metric.spec.needs] if quantity.metric and quantity.metric.spec.needs else []
        if isinstance(quantity.what, RoutingSummary) and quantity.what.kind is Summary.SENTENCE_ACCURACY:
            needs.append("sentence")
        if isinstance(quantity.what, Ablation) and quantity.what.kind.spec.needs_donor:
            needs.append("placebo" if quantity.what.control is Control.PLACEBO else "donor")
        if quantity.variant:
            prompts.of_variant(quantity.variant)
        for field in needs:
            if not all(getattr(prompt, field) for prompt in prompts.prompts):
                raise ValueError(f"`{quantity}` needs prompts with a field `{field}`; {prompts.name} has none")

    def check_tokens(self, statement: Statement) -> None:
        """Refuse losses of models that read other tokens: nats per token are then no common unit.

        Raises:
            ValueError: which statement, and which models.
        """
        losses = [quantity for quantity, _ in statement.form.terms if _is_loss(quantity)]
        if len({tokenizer_digest(self.material.checkpoint(quantity.role)) for quantity in losses}) > 1:
            models = ", ".join(f"{q.role} ({self.material.checkpoint(q.role).name})" for q in losses)
            raise ValueError(
                f"`{statement}` compares losses per token of models with different tokenizers: {models}; choose models "
                "of one tokenizer (for a retrofit, --attnres-vanilla takes its control or its base)"
            )

    def sham(self) -> float:
        """The largest |effect| stored of a sham that travelled with the ablated rows, or of a swap with itself."""
        worst = 0.0
        for role, checkpoint in self.material.checkpoints.items():
            swap = self_swap(checkpoint.sites, checkpoint.num_layers)
            for split in self.material.prompts:
                for units in self.chunks(role, split):
                    for key in {SHAM.key, swap.key} & units.keys():
                        worst = float(np.maximum(worst, np.abs(units[key]["delta_nll"]).max()))  # keeps NaN
        return worst

    def whole(self, role: AnyRole, split: Split) -> frozenset[str]:
        """The keys of units that were measured for this role over the whole split."""
        return frozenset.intersection(*(frozenset(chunk) for chunk in self.chunks(role, split)))

    def touched(self, role: AnyRole, keys: Iterable[str], split: Split) -> set[str]:
        """The checkpoints that any of these units was measured for in a role, whatever the arithmetic.

        A lock names no checkpoint: what was seen of one was seen. So was what was seen of this role's in any other.
        """
        wanted, models = set(keys), self.store.models_about(f" ({role}), ")
        models |= self.store.models_about(f" {self.material.checkpoint(role).digest[:12]} (")
        chunks = [self.material.chunk_key(role, chunk) for chunk in self.material.chunks(split)]
        seen = (
            about
            for model, about in models.items()
            if any(wanted & self.store.units(model, chunk).keys() for chunk in chunks)
        )
        return {"{} ({})".format(*found.groups()) if (found := _ABOUT.match(about)) else about for about in seen}

    def loss(
        self, quantities: Iterable[Quantity], split: Split, lost: Mapping[Bundle, str], documents: int | None = None
    ) -> str:
        """Return why a quantity's column, or what its noise floor needs, is missing; empty when all is there."""
        material = self.material
        for quantity in quantities:
            role = quantity.role
            asked = material.resolved(quantity)
            needed = set()
            for plain in (False, True):
                chunks = [*material.noise_chunks, *([] if plain else material.chunks(split, documents))]
                models = material.model_keys(role, plain=plain, dtype=quantity.dtype)
                needed |= {(model, material.chunk_key(role, chunk)) for model in models for chunk in chunks}
            for bundle, why in lost.items():
                if (bundle.model, bundle.chunk) not in needed:
                    continue
                missing = self.store.missing(bundle)
                reads = {asked.unit_field, *RECORD_FIELDS} if asked.interventions else ROUTING_FIELDS
                if any(missing.get(key, frozenset()) & reads for key in asked.keys):
                    return why
                if missing.get(ROUTING, frozenset()) & asked.clean_fields:
                    return why
        return ""


_ABOUT = re.compile(r"(.+?) ([0-9a-f]{12}) \([\w-]+\), ")
"""A model's name and digest in what its folder of units says of it."""


def _is_loss(quantity: Quantity) -> bool:
    return isinstance(quantity.what, RoutingSummary) and quantity.what.kind is Summary.LOSS
