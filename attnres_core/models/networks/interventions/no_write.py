"""`no_write`: a sublayer's output is written to no parallel stream."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride, StreamChange


def act(at: Acting) -> SiteOverride:
    """Change it before the site is read."""
    return SiteOverride(streams=(StreamChange(at.rows, "post"),))
