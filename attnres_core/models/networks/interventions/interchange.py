"""`interchange`: a family's states, weights or both are those of the donor's clean run."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import Exchange, SiteOverride
from attnres_core.quantities.vocabulary import Part


def act(at: Acting) -> SiteOverride:
    """Exchange states whatever their weights, and give the family the donor's weights, the rest scaled to fit."""
    donor, part = at.donor, at.intervention.part
    assert donor is not None, "checked before"
    meant, others = list(at.indices), [index for index in range(at.count) if index not in at.indices]

    def taken(weights: Tensor) -> Tensor:
        theirs = donor.weights_at(at.site.key, at.positions).to(weights.device)
        found = theirs.clone()
        if others:  # (the same sums of the same weights, in the same order: a swap with itself changes no bit)
            left, wanted = (reduce(torch.add, [each[index] for index in others]) for each in (weights, theirs))
            found[others] = weights[others] * (wanted / left.clamp(min=torch.finfo(weights.dtype).tiny))
        return found

    states = {} if part is Part.WEIGHTS else {i: donor.states_at(at.site.key, i, at.positions) for i in meant}
    return SiteOverride(
        rewrites=() if part is Part.STATES else ((at.rows, taken),),
        exchanges=(Exchange(at.rows, states),) if states else (),
    )
