"""`sharpen`: the logits of the weights are multiplied by a number."""

from __future__ import annotations

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride


def act(at: Acting) -> SiteOverride:
    """Raise the weights to a power, and scale them to sum to one: logits are their logarithms up to a constant."""
    return at.rewritten(lambda natural: (natural.log() * at.amount).softmax(0))
