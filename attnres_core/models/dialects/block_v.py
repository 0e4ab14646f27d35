"""`block_v`: `kimi_block` with a second read before attention, for values; nothing uses it (arXiv:2605.18855)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.quantities.vocabulary import Sublayer

STREAMS = ("qk", "v")
"""What attention reads apart: the input of its queries and keys, and that of its values."""


@dataclass(frozen=True)
class BlockV(KimiBlock):
    """The public code computes the read for values and gives it to an attention that ignores it."""

    name: ClassVar[str] = "block_v"
    unread_streams: ClassVar[frozenset[str]] = frozenset({"v"})

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """Two before attention, also where the embedding is all there is."""
        return STREAMS if sublayer is Sublayer.ATTN else (None,)
