"""Interventions stacked along a batch, as what the routing operation is to do at each site."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attnres_core.models.networks.interventions import act_of
from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.reference_states import Donors, Reference
from attnres_core.models.networks.routing import Exchange, Removal, Rule, SiteOverride, StreamChange
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.vocabulary import Site, SiteKey


class Overrides:
    """What each site of a batch is to do; made when the site asks, so that one site's replacements exist at a time.

    What it gives goes to the site's device where it is applied, whatever device a layer lies on.

    Args:
        interventions: one for each group of consecutive rows; several of one group act together.
        token_ids: the prompts, the rows of every group.
        positions: `[row, pos]`: the place of each position among its prompt's tokens.
        reference: for interventions that put something in the place of what they take.
        donors: for interventions that take something from each prompt's donor.

    Raises:
        ValueError: an intervention needs reference prompts or donors, and there are none.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention | Sequence[Intervention]],
        token_ids: Sequence[Sequence[int]],
        positions: Tensor,
        reference: Reference | None = None,
        donors: Donors | None = None,
    ) -> None:
        self.token_ids, self.reference, self.donors = token_ids, reference, donors
        last = torch.tensor([max(0, len(tokens) - 1) for tokens in token_ids], device=positions.device)[:, None]
        self.positions = torch.minimum(positions, last)  # (what padding reads means nothing)
        self.host_positions = self.positions.cpu()  # (now: at a site the device would be waited for)
        self.groups = len(interventions)
        self._at: dict[SiteKey, list[tuple[int, Intervention, Site, tuple[int, ...]]]] = {}
        self._views: dict[SiteKey, list[tuple[slice, tuple[int, ...]]]] = {}
        for group, given in enumerate(interventions):
            for intervention in (given,) if isinstance(given, Intervention) else given:
                if intervention.needs_reference and reference is None:
                    raise ValueError(f"`{intervention.kind}` needs reference prompts; pass reference=[...]")
                if intervention.spec.fitted and reference is not None:
                    reference.constants(intervention)  # (now: a fit of its own)
                if intervention.needs_donor:
                    if donors is None:
                        raise ValueError(f"`{intervention.kind}` needs donors; give prompts that have a `donor`")
                    donors.of(intervention.control)  # (now: a run of its own)
                for site, indices in intervention.touched:
                    self._at.setdefault(site.key, []).append((group, intervention, site, indices))
                for site, indices in intervention.via:
                    self._views.setdefault(site.key, []).append((self._rows(group), indices))

    def _rows(self, group: int) -> slice:
        each = len(self.token_ids)
        return slice(group * each, (group + 1) * each)

    def get(self, key: SiteKey) -> SiteOverride | None:
        """Return what the site is to do; None: nothing."""
        if key not in self._at and key not in self._views:
            return None
        bias: Tensor | None = None
        rewrites: list[tuple[slice, Rule]] = []
        removals: list[Removal] = []
        exchanges: list[Exchange] = []
        asides: list[slice] = []
        streams: list[StreamChange] = []
        each = len(self.token_ids)
        for group, intervention, site, indices in self._at.get(key, ()):
            rows = self._rows(group)
            donor = self.donors.of(intervention.control) if intervention.needs_donor and self.donors else None
            places = self.positions, self.host_positions
            at = Acting(intervention, site, indices, rows, self.token_ids, *places, self.reference, donor)
            own = act_of(intervention.kind)(at)
            if own.logit_bias is not None:
                if bias is None:
                    bias = torch.zeros(len(site.sources), self.groups * each, 1, device=self.positions.device)
                bias[:, rows] += own.logit_bias.to(bias.device)
            rewrites += own.rewrites
            removals += own.removals
            exchanges += own.exchanges
            asides += [rows] if intervention.via else []
            streams += own.streams
        views = tuple(self._views.get(key, ()))
        return SiteOverride(
            *(bias, tuple(rewrites), tuple(removals), tuple(exchanges)), tuple(asides), views, streams=tuple(streams)
        )
