"""`open_full`: like `open_block`, with a snapshot of the stream after every sublayer."""

from __future__ import annotations

from typing import ClassVar

from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import DepthStream, State
from attnres_core.quantities.vocabulary import Sublayer


class OpenFull(OpenBlock):
    """At every site the newest snapshot and the current source are the same tensor."""

    name: ClassVar[str] = "open_full"

    def before_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Every site but the first reads a fresh snapshot."""
        if (layer, sublayer) != (0, Sublayer.ATTN) and stream.current is not None:
            stream.completed.append(stream.current)
