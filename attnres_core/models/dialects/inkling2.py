"""`inkling2`: block sums, sources RMS-normalised, three pseudo-queries in full-attention layers (`transformers`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.quantities.vocabulary import Sublayer

STREAMS = ("q", "k", "v")
"""What a full-attention layer reads apart: the inputs of its queries (and gates), keys and values."""


@dataclass(frozen=True)
class Inkling2(KimiBlock):
    """`kimi_block`'s schedule with a block size of its own; layer 0's attention is no site: it reads the embedding."""

    block_layers: int
    """Decoder layers summed into a block."""
    full_attention: tuple[int, ...]
    """The layers whose attention is not limited to a window."""

    name: ClassVar[str] = "inkling2"

    @property
    def layers_per_block(self) -> int:
        """As the config has it; the last block may be shorter."""
        return self.block_layers

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """q, k and v in full attention; none before anything but the embedding is there."""
        if sublayer is not Sublayer.ATTN:
            return (None,)
        if layer == 0:
            return ()
        return STREAMS if layer in self.full_attention else (None,)
