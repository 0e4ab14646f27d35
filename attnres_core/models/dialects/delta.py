"""`delta`: a read is the running state plus a mixture of what sublayers added to it (arXiv:2605.18855)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, Dialect, State
from attnres_core.quantities.vocabulary import Family, Sublayer


@dataclass(frozen=True)
class Delta(Dialect):
    """The sources are the embedding and every sublayer's output; the running state is read beside them.

    The running state is the plain residual stream: it is never reset, and the last norm reads it.
    """

    null_source: bool = False
    """Whether a learned vector, the same for every token, is source 0 of every site."""

    name: ClassVar[str] = "delta"
    has_bias: ClassVar[bool] = False
    has_readout: ClassVar[bool] = False
    adds_to_state: ClassVar[bool] = True
    has_blocks: ClassVar[bool] = False
    has_embedding: ClassVar[bool] = True
    """Whether the embedding is among the sources, from the first MLP on."""

    @property
    def has_null_source(self) -> bool:
        """As the config has it."""
        return self.null_source

    def begin(self, embedding: State, arithmetic: Arithmetic[State]) -> DepthStream[State]:
        """No source yet: what layer 0's attention reads is the embedding, as the running state."""
        return DepthStream([], embedding, arithmetic)

    def sources(self, stream: DepthStream[State]) -> list[State]:
        """Return what was added; not the running state."""
        return stream.completed

    def families(self, num_sources: int) -> tuple[Family | None, ...]:
        """The null source, the embedding, the older deltas, the newest: as far as they are there. Never `current`."""
        null = (Family.NULL,) * self.null_source
        embedding = (Family.EMBEDDING,) * (self.has_embedding and num_sources > len(null))
        deltas = num_sources - len(null) - len(embedding)
        return (*null, *embedding, *(Family.OLDER,) * (deltas - 1), *(Family.RECENT,) * min(deltas, 1))

    def after_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """The embedding becomes a source once layer 0's attention has read it as the state."""
        if self.has_embedding and (layer, sublayer) == (0, Sublayer.ATTN):
            stream.completed.append(stream.state())

    def add(self, stream: DepthStream[State], output: State) -> None:
        """Every output is a source and joins the running state."""
        stream.completed.append(output)
        stream.add(output)
