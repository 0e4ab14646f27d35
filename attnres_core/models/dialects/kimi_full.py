"""`kimi_full`: like `kimi_block`, with blocks of one sublayer (FLA with `attnres_block_size: 1`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.quantities.vocabulary import Sublayer


@dataclass(frozen=True)
class KimiFull(KimiBlock):
    """The sources are the embedding and every sublayer's output; the newest output is the current state."""

    name: ClassVar[str] = "kimi_full"

    def starts_block(self, layer: int, sublayer: Sublayer) -> bool:
        """Every sublayer is a block."""
        return True
