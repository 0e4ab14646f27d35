"""`mean`: a source's mean over the reference prompts takes its place."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Put the mean at the same position in place."""
    return at.replaced(lambda source: at.reference.mean_state(at.site.key, source, at.positions))
