"""KL(clean || ablated) of the next token, nats per token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnres_core.engine.metrics import AblatedBlock, CleanBlock, PlainRun
from attnres_core.shapes import Float


def fast(clean: CleanBlock) -> Callable[[AblatedBlock], Float[Tensor, "position"]]:
    """Compute sum_v p_v log p_v - sum_v p_v l_v + logsumexp(l), with l the ablated logits.

    Where l = W h, the second sum is (sum_v p_v W_v) . h: as wide as a state, not as the vocabulary.
    """
    p = clean.log_p.exp()
    negentropy: Tensor = torch.linalg.vecdot(p, clean.log_p)
    expected = None if clean.unembedding is None else p @ clean.unembedding  # (position, d)

    def divergence(ablated: AblatedBlock) -> Tensor:
        pair = (p, ablated.logits) if expected is None else (expected, ablated.state)
        mean: Tensor = torch.linalg.vecdot(*pair)
        return negentropy - mean + ablated.norm

    return divergence


def plain(clean: PlainRun, ablated: PlainRun) -> Float[Tensor, "pos"]:
    """Compute the mean of the difference of log-probabilities under the clean run."""
    return (clean.probability * (clean.log_p - ablated.log_p)).sum(-1)
