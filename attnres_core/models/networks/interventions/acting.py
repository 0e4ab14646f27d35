"""One intervention at one site: what a kind has to go by, and the ways in which it can act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnres_core.models.networks.reference_states import Reference, generator
from attnres_core.models.networks.routing import Removal, Rule, SiteOverride
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.vocabulary import Control, Site


@dataclass(frozen=True, slots=True)
class Acting:
    """An intervention at one of the sites that it touches, for the rows of a batch that it acts on."""

    intervention: Intervention
    site: Site
    indices: tuple[int, ...]
    """The sources that are meant."""
    rows: slice
    """The batch's rows that are ablated."""
    token_ids: Sequence[Sequence[int]]
    """The prompts of these rows."""
    positions: Tensor
    """`[row, pos]`: the place of each position among its prompt's tokens."""
    host_positions: Tensor
    """The same on the CPU."""
    given: Reference | None
    donor: Reference | None = None
    """The clean runs of these rows' donors, row by row, for kinds that need them."""

    @property
    def count(self) -> int:
        """The number of the site's sources."""
        return len(self.site.sources)

    @property
    def amount(self) -> float:
        """The number that the ablation was given."""
        assert self.intervention.amount is not None, "asked by kinds that have one"
        return self.intervention.amount

    @property
    def reference(self) -> Reference:
        """The reference prompts."""
        assert self.given is not None, "asked by kinds that need them, and checked before"
        return self.given

    def constant(self, source: int) -> Tensor:
        """What was fitted to stand in for one of the site's sources, `[d]`."""
        place = self.intervention.filled.index((self.site, source))
        return self.reference.constants(self.intervention)[place]

    def shifted(self, by: float) -> SiteOverride:
        """Add a number to the logits of what is taken; minus infinity takes it whole, and the softmax renormalises."""
        return SiteOverride(logit_bias=torch.where(self._mask(), by, 0.0))

    def taken_away(self, *, renormalised: bool = False) -> SiteOverride:
        """Take the weight and put nothing in its place; `renormalised`: scale up what is left to sum to one."""
        return SiteOverride(removals=(Removal(self.rows, self._taken(), renormalised=renormalised),))

    def replaced(self, state: Callable[[int], Tensor]) -> SiteOverride:
        """Put a state, made from a source's index, in the place of each source that is taken: `[row, pos, d]`."""
        what = self.intervention
        own = [index for index in range(self.count) if (index in self.indices) == (what.control is None)]
        states = {index: state(index) for index in own}
        return SiteOverride(removals=(Removal(self.rows, self._taken(), states, keys=what.recomputed),))

    def weighted(self, weights: Tensor) -> SiteOverride:
        """Replace the depth weights by others, which broadcast to `[source, row, pos]`."""
        return self.rewritten(lambda natural: weights.to(natural.device).expand_as(natural))

    def rewritten(self, rule: Rule) -> SiteOverride:
        """Replace the depth weights by what a rule makes of them."""
        return SiteOverride(rewrites=((self.rows, rule),))

    def _mask(self) -> Tensor:
        """Return which sources are taken from which rows, `[source, row, 1]`."""
        mask = torch.zeros(self.count, len(self.token_ids), 1, dtype=torch.bool)
        if self.intervention.control is Control.MATCHED_COUNT:
            others, draw = torch.tensor(self._others), self.intervention.draw
            for row, tokens in enumerate(self.token_ids):
                order = torch.randperm(len(others), generator=generator(tokens, "count", self.site, draw))
                mask[others[order[: len(self.indices)]], row] = True
        else:
            mask[list(self.indices)] = True
        return mask

    @property
    def _others(self) -> list[int]:
        return [index for index in range(self.count) if index not in self.indices]

    def _taken(self) -> Rule:
        """Return how much of each source's weight is taken away."""
        if self.intervention.control is not Control.MATCHED_MASS:
            mask = self._mask()
            return lambda weights: weights * mask.to(weights.device)
        others, meant, draw = self._others, list(self.indices), self.intervention.draw
        rank = torch.zeros(*self.positions.shape, len(others))
        for row, tokens in enumerate(self.token_ids):
            random = torch.rand(len(tokens), len(others), generator=generator(tokens, "mass", self.site, draw))
            rank[row] = random[self.host_positions[row]]
        ranked = rank.argsort(-1).movedim(-1, 0)  # (other, row, pos)

        def matched(weights: Tensor) -> Tensor:
            order = ranked.to(weights.device)
            wanted = weights[meant].sum(0)
            queue = weights[others].gather(0, order)
            before = queue.cumsum(0) - queue
            found = torch.minimum(queue, (wanted - before).clamp(min=0))
            taken = torch.zeros_like(weights)
            taken[others] = torch.zeros_like(queue).scatter(0, order, found)
            return taken

        return matched
