"""`optimal`: constants that were fitted to do the least harm take a source's place."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Put the same constant in place at every position."""
    return at.replaced(at.constant)
