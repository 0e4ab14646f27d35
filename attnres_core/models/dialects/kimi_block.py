"""`kimi_block`: blocks are sums, the state restarts at every block (arXiv:2603.15031, also Kimi K3, FLA, nanoGPT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, Dialect, State, layers_of
from attnres_core.quantities.vocabulary import Sublayer


@dataclass(frozen=True)
class KimiBlock(Dialect):
    """The embedding is "block 0": layer 0 reads it alone, then commits it.

    A block's first attention reads its sources before the finished block is committed.
    """

    block_layers: int | None = None
    """The layers of a block, where a config gives them; else they follow from the number of blocks."""
    first_is_site: bool = True
    """Whether layer 0's attention, which has the embedding alone to read, makes a routing call."""

    name: ClassVar[str] = "kimi_block"
    has_bias: ClassVar[bool] = False
    has_readout: ClassVar[bool] = True

    @property
    def layers_per_block(self) -> int:
        """As the config has it; the last block may be shorter."""
        # (no property of `super()`: torch.compile cannot trace one)
        return self.block_layers or layers_of(self.num_layers, self.num_blocks)

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """None before anything but the embedding is there, in models that make no routing call then."""
        first = (layer, sublayer) == (0, Sublayer.ATTN)
        return () if first and not self.first_is_site else (None,)

    def begin(self, embedding: State, arithmetic: Arithmetic[State]) -> DepthStream[State]:
        """The embedding is the running state of a block that ends at once."""
        return DepthStream([], embedding, arithmetic)

    def after_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Commit the finished block and start the next from nothing."""
        if self.starts_block(layer, sublayer) and stream.current is not None:
            stream.completed.append(stream.current)
            stream.current = None
