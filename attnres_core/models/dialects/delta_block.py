"""`delta_block`: like `delta`, with one source a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.schedule import DepthStream, State
from attnres_core.quantities.vocabulary import Sublayer


@dataclass(frozen=True)
class DeltaBlock(Delta):
    """A block's source is the running state at its start less the source before it, as the public code has it.

    With s_k the state at the start of block k + 1 and x the embedding: s_1 - x, then s_2 - s_1 + x, ... Only the
    first is what a block added. It is there once the block's first attention has read.
    """

    name: ClassVar[str] = "delta_block"
    has_blocks: ClassVar[bool] = True

    def after_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Commit the finished block; before the first one, the embedding."""
        super().after_read(stream, layer, sublayer)
        if layer > 0 and self.starts_block(layer, sublayer):
            stream.completed.append(stream.arithmetic.subtract(stream.state(), stream.completed[-1]))

    def add(self, stream: DepthStream[State], output: State) -> None:
        """Outputs join the running state alone."""
        stream.add(output)
