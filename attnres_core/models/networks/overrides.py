"""Interventions stacked along a batch, as what the routing operation is to do at each site."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attnres_core.models.dialects.wrapped import closed_form
from attnres_core.models.networks.reference_states import Reference, generator
from attnres_core.models.networks.routing import Removal, Rule, SiteOverride
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.vocabulary import REMOVALS, Control, Kind, Site, SiteKey


class Overrides:
    """What each site of a batch is to do; made when the site asks, so that one site's replacements exist at a time.

    What it gives goes to the site's device where it is applied, whatever device a layer lies on.

    Args:
        interventions: one for each group of consecutive rows; several of one group act together.
        token_ids: the prompts, the rows of every group.
        positions: `[row, pos]`: the place of each position among its prompt's tokens.
        reference: for interventions that put something in the place of what they take.

    Raises:
        ValueError: an intervention needs reference prompts, and there are none.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention | Sequence[Intervention]],
        token_ids: Sequence[Sequence[int]],
        positions: Tensor,
        reference: Reference | None = None,
    ) -> None:
        self.token_ids, self.reference = token_ids, reference
        last = torch.tensor([max(0, len(tokens) - 1) for tokens in token_ids], device=positions.device)[:, None]
        self.positions = torch.minimum(positions, last)  # (what padding reads means nothing)
        self.groups = len(interventions)
        self._at: dict[SiteKey, list[tuple[int, Intervention, Site, tuple[int, ...]]]] = {}
        for group, given in enumerate(interventions):
            for intervention in (given,) if isinstance(given, Intervention) else given:
                if intervention.needs_reference and reference is None:
                    raise ValueError(f"`{intervention.kind}` needs reference prompts; pass reference=[...]")
                for site, indices in intervention.touched:
                    self._at.setdefault(site.key, []).append((group, intervention, site, indices))

    def get(self, key: SiteKey) -> SiteOverride | None:
        """What the site is to do; None: nothing."""
        if key not in self._at:
            return None
        bias: Tensor | None = None
        rewrites: list[tuple[slice, Rule]] = []
        removals: list[Removal] = []
        each = len(self.token_ids)
        for group, intervention, site, indices in self._at[key]:
            rows = slice(group * each, (group + 1) * each)
            if intervention.kind == Kind.AMPLIFY or _masks(intervention):
                if bias is None:
                    bias = torch.zeros(len(site.sources), self.groups * each, 1)
                shift = -torch.inf if intervention.amount is None else intervention.amount
                bias[:, rows] += torch.where(self._mask(intervention, site, indices), shift, 0.0)
            elif intervention.kind in REMOVALS:
                removals.append(self._removal(rows, intervention, key, site, indices))
            else:
                rewrites.append((rows, self._rewrite(intervention, key, len(site.sources))))
        return SiteOverride(bias, tuple(rewrites), tuple(removals))

    def _removal(
        self, rows: slice, intervention: Intervention, key: SiteKey, site: Site, indices: Sequence[int]
    ) -> Removal:
        taken = self._taken(intervention, site, indices)
        if intervention.kind == Kind.DROP:
            return Removal(rows, taken, renormalised=True)
        if intervention.kind == Kind.ZERO and not intervention.recomputed:
            return Removal(rows, taken)
        own = [i for i in range(len(site.sources)) if (i in indices) == (intervention.control is None)]
        states = {index: self._instead(intervention, key, index) for index in own}
        return Removal(rows, taken, states, keys=intervention.recomputed)

    def _mask(self, intervention: Intervention, site: Site, indices: Sequence[int]) -> Tensor:
        """Which sources are taken from which rows, `[source, row, 1]`."""
        mask = torch.zeros(len(site.sources), len(self.token_ids), 1, dtype=torch.bool)
        if intervention.control is Control.MATCHED_COUNT:
            others = torch.tensor([index for index in range(len(site.sources)) if index not in indices])
            for row, tokens in enumerate(self.token_ids):
                order = torch.randperm(len(others), generator=generator(tokens, "count", site, intervention.draw))
                mask[others[order[: len(indices)]], row] = True
        else:
            mask[list(indices)] = True
        return mask

    def _taken(self, intervention: Intervention, site: Site, indices: Sequence[int]) -> Rule:
        """How much of each source's weight an intervention takes away."""
        if intervention.control is not Control.MATCHED_MASS:
            mask = self._mask(intervention, site, indices)
            return lambda weights: weights * mask.to(weights.device)
        sources, width = len(site.sources), self.positions.shape[1]
        others = [index for index in range(sources) if index not in indices]
        rank = torch.zeros(len(self.token_ids), width, len(others))
        for row, tokens in enumerate(self.token_ids):
            random = torch.rand(len(tokens), len(others), generator=generator(tokens, "mass", site, intervention.draw))
            rank[row] = random[self.positions[row].cpu()]
        ranked = rank.argsort(-1).movedim(-1, 0)  # (other, row, pos)

        def matched(weights: Tensor) -> Tensor:
            order = ranked.to(weights.device)
            wanted = weights[list(indices)].sum(0)
            queue = weights[others].gather(0, order)
            before = queue.cumsum(0) - queue
            found = torch.minimum(queue, (wanted - before).clamp(min=0))
            taken = torch.zeros_like(weights)
            taken[others] = torch.zeros_like(queue).scatter(0, order, found)
            return taken

        return matched

    def _rewrite(self, intervention: Intervention, key: SiteKey, sources: int) -> Rule:
        """The depth weights that an intervention puts in the place of a site's."""
        kind = Kind(intervention.kind)
        if kind is Kind.KEEP_TOP:
            assert intervention.amount is not None
            return _largest(int(intervention.amount))
        if kind is Kind.UNIFORM:
            fixed = torch.full((sources, 1, 1), 1 / sources)
        elif kind is Kind.SCHEDULE:
            assert intervention.amount is not None
            fixed = torch.tensor(closed_form(sources, intervention.amount), dtype=torch.float32)[:, None, None]
        elif kind is Kind.AVERAGE:
            fixed = self._given.average_weights(key)
        else:
            drawn = [self._given.other_weights(key, tokens, intervention.draw) for tokens in self.token_ids]
            rows = zip(drawn, self.positions.to(drawn[0].device), strict=True)
            fixed = torch.stack([weights[:, places] for weights, places in rows], 1)
        return lambda weights: fixed.to(weights.device).expand_as(weights)

    def _instead(self, intervention: Intervention, key: SiteKey, index: int) -> Tensor:
        """What takes a source's place, `[row, pos, d]`."""
        if intervention.kind == Kind.ZERO:
            return torch.zeros((), device=self.positions.device)
        if intervention.kind == Kind.MEAN:
            return self._given.mean_state(key, index, self.positions)
        partners = [self._given.partner(tokens, intervention.draw) for tokens in self.token_ids]
        return self._given.other_states(key, index, partners, self.positions)

    @property
    def _given(self) -> Reference:
        assert self.reference is not None, "checked when this was made"
        return self.reference


def _largest(count: int) -> Rule:
    """The largest weights of each token, scaled up to one; of equal ones the first sources'."""

    def kept(weights: Tensor) -> Tensor:
        order = weights.sort(dim=0, descending=True, stable=True).indices[:count]
        largest = torch.zeros_like(weights).scatter(0, order, weights.gather(0, order))
        return largest / largest.sum(0)

    return kept


def _masks(intervention: Intervention) -> bool:
    """Whether sources are taken whole before the softmax: what is left is normalised by it, exactly."""
    return intervention.kind == Kind.DROP and intervention.control is not Control.MATCHED_MASS
