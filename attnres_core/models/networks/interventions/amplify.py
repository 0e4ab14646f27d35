"""`amplify`: a number is added to the logits of the family's sources."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Shift the logits."""
    return at.shifted(at.amount)
