"""Rise in the entropy of the next-token distribution, nats per token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnres_core.engine.metrics import AblatedBlock, CleanBlock, PlainRun
from attnres_core.shapes import Float


def fast(clean: CleanBlock) -> Callable[[AblatedBlock], Float[Tensor, "position"]]:
    """From logits and their norm."""
    before = -torch.linalg.vecdot(clean.log_p.exp(), clean.log_p)

    def rise(ablated: AblatedBlock) -> Tensor:
        log_p = ablated.logits - ablated.norm[:, None]
        found: Tensor = -torch.linalg.vecdot(log_p.exp(), log_p) - before
        return found

    return rise


def plain(clean: PlainRun, ablated: PlainRun) -> Float[Tensor, "pos"]:
    """By torch's own function of probabilities."""
    rise: Tensor = (torch.special.entr(ablated.probability) - torch.special.entr(clean.probability)).sum(-1)
    return rise
