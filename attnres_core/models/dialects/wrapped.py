"""`wrapped`: a vanilla model read through routing that is the same everywhere, and its weights in closed form."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.shapes import Column


class Wrapped(OpenBlock):
    """A vanilla model read as `open_block`: pseudo-queries zero, key norms one, one constant recency bias."""

    name: ClassVar[str] = "wrapped"


def closed_form(num_sources: int, recency_bias: float) -> Column:
    """The wrapped baseline's weights: e^b / (e^b + n - 1) on the last source, 1 / (e^b + n - 1) elsewhere."""
    logits = np.zeros(num_sources)
    logits[-1] = recency_bias
    weights = np.exp(logits - logits.max())  # (a bias of a thousand overflows nothing)
    return np.asarray(weights / weights.sum())
