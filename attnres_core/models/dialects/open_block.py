"""`open_block`: blocks are snapshots of a stream that is never reset (wdlctc/open-attnres-0.6b-block)."""

from __future__ import annotations

from typing import ClassVar

from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, Dialect, State
from attnres_core.quantities.vocabulary import Sublayer


class OpenBlock(Dialect):
    """The stream stays additive; routing changes only what a sublayer reads.

    At a block's first attention the newest snapshot and the current source are the same tensor.
    """

    name: ClassVar[str] = "open_block"
    has_bias: ClassVar[bool] = True
    has_readout: ClassVar[bool] = False

    def begin(self, embedding: State, arithmetic: Arithmetic[State]) -> DepthStream[State]:
        """The embedding is both source 0 and the start of the stream."""
        return DepthStream([embedding], embedding, arithmetic)

    def before_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Each block but the first opens with a snapshot of the stream."""
        if layer > 0 and self.starts_block(layer, sublayer) and stream.current is not None:
            stream.completed.append(stream.current)
