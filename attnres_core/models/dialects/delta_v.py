"""`delta_v`: like `delta`, without the embedding as a source, and with a read of its own for attention's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.block_v import STREAMS
from attnres_core.models.dialects.delta import Delta
from attnres_core.quantities.vocabulary import Sublayer


@dataclass(frozen=True)
class DeltaV(Delta):
    """Attention's queries and keys are made of one read, its values of another."""

    name: ClassVar[str] = "delta_v"
    has_embedding: ClassVar[bool] = False

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """Two before attention."""
        return STREAMS if sublayer is Sublayer.ATTN else (None,)
