"""`shuffle`: each token gets the weights of a random token of another prompt."""

from __future__ import annotations

import torch

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Give each token the weights that were drawn for it."""
    drawn = [at.reference.other_weights(at.site.key, tokens, at.intervention.draw) for tokens in at.token_ids]
    rows = zip(drawn, at.positions.to(drawn[0].device), strict=True)
    return at.weighted(torch.stack([weights[:, places] for weights, places in rows], 1))
