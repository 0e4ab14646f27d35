"""`open_block`: blocks are snapshots of a stream that is never reset (wdlctc/open-attnres-0.6b-block)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from attnres_core.models.dialects.schedule import DepthStream, Dialect, State
from attnres_core.quantities.vocabulary import Sublayer
from attnres_core.shapes import Column


class OpenBlock(Dialect):
    """The stream stays additive; routing changes only what a sublayer reads.

    At a block's first attention the newest snapshot and the current source are the same tensor.
    """

    name: ClassVar[str] = "open_block"
    has_bias: ClassVar[bool] = True
    has_readout: ClassVar[bool] = False

    def begin(self, embedding: State, accumulate: Callable[[State, State], State]) -> DepthStream[State]:
        """The embedding is both source 0 and the start of the stream."""
        return DepthStream([embedding], embedding, accumulate)

    def before_read(self, stream: DepthStream[State], layer: int, sublayer: Sublayer) -> None:
        """Each block but the first opens with a snapshot of the stream."""
        if layer > 0 and self.starts_block(layer, sublayer) and stream.current is not None:
            stream.completed.append(stream.current)


class Wrapped(OpenBlock):
    """A vanilla model read as `open_block`: pseudo-queries zero, key norms one, one constant recency bias."""

    name: ClassVar[str] = "wrapped"


def closed_form(num_sources: int, recency_bias: float) -> Column:
    """The wrapped baseline's weights: e^b / (e^b + n - 1) on the last source, 1 / (e^b + n - 1) elsewhere."""
    raised = math.exp(recency_bias)
    weights = np.full(num_sources, 1 / (raised + num_sources - 1))
    weights[-1] = raised / (raised + num_sources - 1)
    return weights
