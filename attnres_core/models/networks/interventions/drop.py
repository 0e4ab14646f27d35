"""`drop`: sources are masked before the softmax, so that what is left is normalised by it, exactly."""

from __future__ import annotations

import torch

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride
from attnres_core.quantities.vocabulary import Control


def act(at: Acting) -> SiteOverride:
    """Mask the sources; shares of them, as a control of matched mass takes, go after the softmax."""
    if at.intervention.control is Control.MATCHED_MASS:
        return at.taken_away(renormalised=True)
    return at.shifted(-torch.inf)
