"""`zero`: nothing takes the place of the family's sources, and the weights stay."""

from __future__ import annotations

import torch

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Take the weight away; where weights are computed anew, from sources that are zero."""
    if at.intervention.recomputed:
        return at.replaced(lambda _: torch.zeros((), device=at.positions.device))
    return at.taken_away()
