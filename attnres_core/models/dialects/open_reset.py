"""`open_reset`: block sums with a reset from block 2 on; block 1 also contains the embedding."""

from __future__ import annotations

from typing import ClassVar

from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, State
from attnres_core.quantities.vocabulary import Sublayer


class OpenReset(KimiBlock):
    """`kimi_block` with a recency bias, whose first block starts from the embedding instead of nothing."""

    name: ClassVar[str] = "open_reset"
    has_bias: ClassVar[bool] = True

    def begin(self, embedding: State, arithmetic: Arithmetic[State]) -> DepthStream[State]:
        """The embedding is source 0 and the start of block 1."""
        return DepthStream([embedding], embedding, arithmetic)

    def after_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """As `kimi_block`, except at layer 0."""
        if layer > 0:
            super().after_read(stream, layer, sublayer)
