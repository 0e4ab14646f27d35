"""`kimi_block`: blocks are sums, the state restarts at every block (arXiv:2603.15031, also Kimi K3 and FLA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from attnres_core.models.dialects.schedule import DepthStream, Dialect, State
from attnres_core.quantities.vocabulary import Sublayer


class KimiBlock(Dialect):
    """The embedding is "block 0": layer 0 reads it alone, then commits it.

    A block's first attention reads its sources before the finished block is committed.
    """

    name: ClassVar[str] = "kimi_block"
    has_bias: ClassVar[bool] = False
    has_readout: ClassVar[bool] = True

    def begin(self, embedding: State, accumulate: Callable[[State, State], State]) -> DepthStream[State]:
        """The embedding is the running state of a block that ends at once."""
        return DepthStream([], embedding, accumulate)

    def after_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Commit the finished block and start the next from nothing."""
        if self.starts_block(layer, sublayer) and stream.current is not None:
            stream.completed.append(stream.current)
            stream.current = None
