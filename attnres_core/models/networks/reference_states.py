"""The reference prompts of a model: their clean states and depth weights, which take the place of what is ablated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from attnres_core.models.networks.network import Network
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.routing import Read, Source
from attnres_core.prompts import Pairs
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.vocabulary import Control, SiteKey
from attnres_core.shapes import Float, Int

Constants = Callable[[Intervention], Tensor]
"""What stands in for each source that an intervention fills, in the order of `Intervention.filled`: `[filled, d]`."""
SEED = 20261122
"""Of every random draw of an intervention."""


def generator(tokens: Sequence[int], *words: object) -> torch.Generator:
    """Random numbers that depend on a prompt and what they are for, on no batch, order or worker."""
    text = "|".join(map(str, (SEED, *tokens, *words)))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
    return torch.Generator().manual_seed(seed)


class Reference:
    """What the clean runs of the reference prompts held at every site.

    Args:
        network: the model that is ablated.
        token_ids: the reference prompts.
        fitted: the constants that were fitted, or are when they are asked for; None: none.
    """

    def __init__(self, network: Network, token_ids: Sequence[Sequence[int]], fitted: Constants | None = None) -> None:
        self.token_ids = [list(tokens) for tokens in token_ids]
        self.fitted = fitted
        self.lengths = torch.tensor([len(tokens) for tokens in self.token_ids])
        self.states: dict[SiteKey, list[Tensor]] = {}
        """By site and source, `[prompt, pos, d]`, where the site is; sources that many sites read are one tensor."""
        self.weights: dict[SiteKey, Tensor] = {}
        """By site, `[source, prompt, pos]`."""
        self.mixing: dict[SiteKey, Tensor] = {}
        """By site where parallel streams mix, `[prompt, pos, from, to]`."""
        width = int(self.lengths.max())
        ids = torch.zeros(len(self.token_ids), width, dtype=torch.long)
        for row, tokens in enumerate(self.token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)

        def keep(key: SiteKey, sources: list[Source], read: Read) -> None:
            self.states[key] = [source.state for source in sources]
            self.weights[key] = read.weights
            if read.mixing is not None:
                self.mixing[key] = read.mixing

        with torch.inference_mode(), exact_arithmetic():
            given = ids.to(network.device)
            self.final = network.run(network.begin(given), network.prepare(given), observe=keep)
            """The normalised final states, `[prompt, pos, d]`."""

    def constants(self, intervention: Intervention) -> Float[Tensor, "filled d"]:
        """What was fitted for an intervention, in the order of its `filled`.

        Raises:
            ValueError: nothing was.
        """
        if self.fitted is None:
            raise ValueError(f"`{intervention.kind}` needs fitted constants, and there are none; use ac.measure(...)")
        return self.fitted(intervention)

    def states_at(self, key: SiteKey, source: int, positions: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d"]:
        """A source's states at some positions of every prompt, row by row."""
        state = self.states[key][source]
        where = positions.to(state.device)
        return state[torch.arange(len(where), device=state.device)[:, None], where]

    def weights_at(self, key: SiteKey, positions: Int[Tensor, "row pos"]) -> Float[Tensor, "source row pos"]:
        """A site's depth weights at some positions of every prompt, row by row."""
        weights = self.weights[key]
        where = positions.to(weights.device)
        return weights[:, torch.arange(len(where), device=weights.device)[:, None], where]

    @cached_property
    def _real(self) -> Tensor:
        """Return which positions hold a token, `[prompt, pos]`."""
        return torch.arange(int(self.lengths.max())) < self.lengths[:, None]

    def mean_state(self, key: SiteKey, source: int, positions: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d"]:
        """A source's mean over the prompts at each position; beyond the longest prompt, over all positions."""
        state = self.states[key][source].float()
        real = self._real.to(state.device)[..., None]
        total, count = (state * real).sum(0), real.sum(0)  # (pos, d), (pos, 1)
        means = torch.cat([total / count, total.sum(0, keepdim=True) / count.sum()])
        return means[positions.to(means.device).clamp(max=len(means) - 1)]

    def average_weights(self, key: SiteKey) -> Float[Tensor, "source 1 1"]:
        """A site's depth weights, averaged over every token of the prompts."""
        weights = self.weights[key]
        real = self._real.to(weights.device)
        return ((weights * real).sum((1, 2)) / real.sum())[:, None, None]

    def average_mixing(self, key: SiteKey) -> Float[Tensor, "from to"]:
        """How parallel streams mix at a site, averaged over every token of the prompts."""
        mixing = self.mixing[key]
        return mixing[self._real.to(mixing.device)].mean(0)

    def others(self, tokens: Sequence[int]) -> Tensor:
        """The reference prompts that are not this one.

        Raises:
            ValueError: there is none.
        """
        found = [index for index, own in enumerate(self.token_ids) if own != list(tokens)]
        if not found:
            raise ValueError("no other prompt to take a state or weights from; give more reference prompts")
        return torch.tensor(found)

    def partner(self, tokens: Sequence[int], draw: int) -> int:
        """Another prompt of at least this one's length (else of the longest): a different one for every draw."""
        others = self.others(tokens)
        lengths = self.lengths[others]
        long = others[lengths >= min(len(tokens), int(lengths.max()))]
        order = torch.randperm(len(long), generator=generator(tokens, "partner"))
        return int(long[order[draw % len(long)]])

    def other_states(
        self, key: SiteKey, source: int, partners: Sequence[int], positions: Int[Tensor, "row pos"]
    ) -> Float[Tensor, "row pos d"]:
        """The source's states on each row's partner, at the same positions (begun anew beyond its end), on the CPU."""
        rows = torch.tensor(partners)
        index = positions % self.lengths[rows][:, None]
        state = self.states[key][source]
        return state[rows[:, None].to(state.device), index.to(state.device)]

    def other_weights(self, key: SiteKey, tokens: Sequence[int], draw: int) -> Float[Tensor, "source pos"]:
        """For each of a prompt's tokens, the weights of a random token of another prompt (one choice for all sites)."""
        others = self.others(tokens)
        real = torch.nonzero(self._real[others])  # (token, 2)
        chosen = torch.randint(len(real), (len(tokens),), generator=generator(tokens, "tokens", draw))
        weights = self.weights[key]
        prompt, position = others[real[chosen, 0]], real[chosen, 1]
        return weights[:, prompt.to(weights.device), position.to(weights.device)]


class Donors:
    """The clean runs of what stands in for each prompt of a chunk, made when they are first asked for.

    Args:
        network: the model that is ablated.
        token_ids: the prompts.
        pairs: their donors and placebos; None: there are none.
    """

    def __init__(self, network: Network, token_ids: Sequence[Sequence[int]], pairs: Pairs | None) -> None:
        self.network = network
        self._rows: dict[Control | None, Sequence[Sequence[int]] | None] = {
            None: None if pairs is None else pairs.donors,
            Control.PLACEBO: None if pairs is None else pairs.placebos,
            Control.SELF_SWAP: token_ids,
        }
        self._runs: dict[Control | None, Reference] = {}

    def of(self, control: Control | None) -> Reference:
        """The runs of the donors, of the placebos, or of the prompts themselves.

        Raises:
            ValueError: the prompts have none.
        """
        if control not in self._runs:
            rows = self._rows[control]
            if rows is None:
                lacking = "placebo" if control is Control.PLACEBO else "donor"
                raise ValueError(f"something is taken from each {lacking}; give prompts that have a `{lacking}`")
            self._runs[control] = Reference(self.network, rows)
        return self._runs[control]
