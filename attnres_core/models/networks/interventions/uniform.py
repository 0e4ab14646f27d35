"""`uniform`: every source gets the same weight."""

from __future__ import annotations

import torch

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Give every source 1 / number of sources."""
    return at.weighted(torch.full((at.count, 1, 1), 1 / at.count))
