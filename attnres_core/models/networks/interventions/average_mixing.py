"""`average_mixing`: the parallel streams mix as they do on average."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride, StreamChange


def act(at: Acting) -> SiteOverride:
    """Change it before the site is read."""
    return SiteOverride(streams=(StreamChange(at.rows, "comb", value=at.reference.average_mixing(at.site.key)),))
