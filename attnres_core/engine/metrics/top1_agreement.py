"""Changes of the most likely next token: 1 where it is another than in the clean run, else 0."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attnres_core.engine.metrics import AblatedBlock, CleanBlock, PlainRun
from attnres_core.shapes import Float


def fast(clean: CleanBlock) -> Callable[[AblatedBlock], Float[Tensor, "position"]]:
    """By the largest logit; of equal ones the first."""
    before = clean.log_p.argmax(-1)
    return lambda ablated: (ablated.logits.argmax(-1) != before).float()


def plain(clean: PlainRun, ablated: PlainRun) -> Float[Tensor, "pos"]:
    """By the largest probability."""
    return (ablated.probability.argmax(-1) != clean.probability.argmax(-1)).float()
