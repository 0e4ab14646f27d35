"""`average`: the weights are their mean over the tokens of the reference prompts."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Give every token the mean weights."""
    return at.weighted(at.reference.average_weights(at.site.key))
