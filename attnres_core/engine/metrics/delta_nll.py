"""The rise in next-token loss, nats per token."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from attnres_core.engine.metrics import AblatedBlock, CleanBlock, PlainRun
from attnres_core.shapes import Float


def fast(clean: CleanBlock) -> Callable[[AblatedBlock], Float[Tensor, "position"]]:
    """Subtract the clean loss."""
    return lambda ablated: ablated.nll - clean.nll


def plain(clean: PlainRun, ablated: PlainRun) -> Float[Tensor, "pos"]:
    """Subtract the clean loss."""
    after, before = (functional.nll_loss(run.log_p, run.target, reduction="none") for run in (ablated, clean))
    return after - before
