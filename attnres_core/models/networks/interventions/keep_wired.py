"""`keep_wired`: the sources with the largest mean weights stay, the same for all tokens."""

from __future__ import annotations

import torch

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Mask all but the sources with the largest mean weights; of equal ones the first stay."""
    means = at.reference.average_weights(at.site.key)  # (source, 1, 1)
    gone = means[:, 0, 0].sort(descending=True, stable=True).indices[int(at.amount) :]
    bias = torch.zeros(at.count, 1, 1, device=means.device)
    bias[gone] = -torch.inf
    if at.site.free:  # (nothing scales up the rest of such weights, and this kind says that it does)
        return at.rewritten(lambda weights: (weights.log() + bias.to(weights.device)).softmax(0))
    return SiteOverride(logit_bias=bias)
