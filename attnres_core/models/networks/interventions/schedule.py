"""`schedule`: the weights are the recency schedule's, in closed form."""

from __future__ import annotations

import torch

from attnres_core.models.dialects.wrapped import closed_form
from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Give every token the schedule's weights for the recency bias."""
    return at.weighted(torch.tensor(closed_form(at.count, at.amount), dtype=torch.float32)[:, None, None])
