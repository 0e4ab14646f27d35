"""A checkpoint that an adapter reads: what is known of it, as the adapter shows it. Torch is loaded to look at one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attnres_core.models.checkpoints.stored import Checkpoint, Weights
from attnres_core.models.geometry import Outline
from attnres_core.quantities.vocabulary import Site


@dataclass(frozen=True)
class AdaptedCheckpoint(Checkpoint):
    """A checkpoint that an adapter reads; plain data, which travels to every process that measures."""

    outline: Outline = field(kw_only=True)
    code: str = field(kw_only=True)
    """SHA-256 of the adapter's code and of the model's, or of the releases of the packages that they come from."""
    makes_untrained: bool = field(kw_only=True)
    """Whether the adapter also makes the model at a seeded initialisation."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""
        return self.outline.sites

    @property
    def dialect_name(self) -> str:
        """What the adapter calls its routing."""
        return self.outline.dialect_name

    @property
    def architecture(self) -> str:
        """`kimi_block routing, read by the adapter fla`."""
        return f"{self.outline.dialect_name} routing, read by the adapter {self.adapter}"

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self.outline.num_layers

    @property
    def num_blocks(self) -> int:
        """The most sources of a site, less the current state."""
        return self.outline.num_blocks

    @property
    def sizes(self) -> Mapping[str, int]:
        """What is known of its sizes."""
        own = self.outline
        return {
            "hidden_size": own.width,
            "vocab_size": own.vocabulary,
            "max_position_embeddings": own.context,
        }

    @cached_property
    def tokenizer_file(self) -> Path:
        """The folder's tokenizer.json, else the one that the adapter names."""
        own = super().tokenizer_file
        return own if own.exists() or self.outline.tokenizer is None else self.outline.tokenizer

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed: weights, adapter, code."""
        parts: list[object] = [self.weights_digest, self.adapter, self.code]
        if self.weights is not Weights.STORED:
            parts += [self.weights, importlib.metadata.version("torch")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def looked_at(adapter: str, folder: Path) -> tuple[Outline, str, bool]:
    """What an adapter's model is, the digest of its code, and whether it can be made untrained.

    The model is loaded on the CPU in float32, run once, and forgotten.

    Raises:
        AdapterError: the adapter is not there, fails, or describes another model.
    """
    from attnres_core.models.adapters.named import look

    return look(adapter, folder)
