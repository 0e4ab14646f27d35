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
    """`kimi_block`'s schedule; layer 0's attention is no site: it reads the embedding."""

    first_is_site: bool = False
    full_attention: tuple[int, ...] = ()
    """The layers whose attention is not limited to a window."""

    name: ClassVar[str] = "inkling2"

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """q, k and v in full attention; none before anything but the embedding is there."""
        several = sublayer is Sublayer.ATTN and layer in self.full_attention
        return STREAMS if several and layer > 0 else super().streams(layer, sublayer)
