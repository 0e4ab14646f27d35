"""`permute`: each token's weights change places at random, those of a spared family excepted."""

from __future__ import annotations

import torch
from torch import Tensor

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.reference_states import generator
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Give each token an order of its own for the sources that change places."""
    meant, what = list(at.indices), at.intervention
    rank = torch.zeros(*at.positions.shape, len(meant))
    for row, tokens in enumerate(at.token_ids):
        random = torch.rand(len(tokens), len(meant), generator=generator(tokens, "permute", at.site, what.draw))
        rank[row] = random[at.host_positions[row]]
    order = rank.argsort(-1).movedim(-1, 0)  # (meant, row, pos)

    def moved(weights: Tensor) -> Tensor:
        found = weights.clone()
        found[meant] = weights[meant].gather(0, order.to(weights.device))
        return found

    return at.rewritten(moved)
