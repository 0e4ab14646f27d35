"""`keep_top`: each token's largest weights stay, scaled up to one."""

from __future__ import annotations

import torch
from torch import Tensor

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Keep as many of the largest weights as asked for; of equal ones the first sources'."""

    def kept(weights: Tensor) -> Tensor:
        order = weights.sort(dim=0, descending=True, stable=True).indices[: int(at.amount)]
        largest = torch.zeros_like(weights).scatter(0, order, weights.gather(0, order))
        return largest / largest.sum(0)

    return at.rewritten(kept)
