"""`resample`: the same source of another prompt takes its place."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Put the state of each row's partner at the same position in place."""
    partners = [at.reference.partner(tokens, at.intervention.draw) for tokens in at.token_ids]
    return at.replaced(lambda source: at.reference.other_states(at.site.key, source, partners, at.host_positions))
