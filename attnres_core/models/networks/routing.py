"""The routing operation: every dialect's depth mixing, with its three places to intervene.

logit_i = w . (g * s_i / rms(s_i)) (+ recency bias on the last source) (+ logit bias)    or a learned number
alpha   = softmax_i(logit)                                             (or a weight override)
h       = (running state +) sum_i alpha_i * s_i                        (or a value override)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attnres_core.models.dialects.schedule import Arithmetic
from attnres_core.shapes import Float


def inverse_rms(state: Float[Tensor, "... d"], eps: float) -> Float[Tensor, "..."]:
    """1 / sqrt(mean(s^2) + eps) over the last axis, in float32; one pass over the state."""
    return torch.rsqrt(torch.linalg.vector_norm(state, dim=-1, dtype=torch.float32).square() / state.shape[-1] + eps)


class Source:
    """A depth source with its inverse RMS, computed once however many sites read it.

    Args:
        state: `[batch, pos, d]`.
        eps: of the norm that makes it a key; None: it is its own key.
        aside: what interventions on paths change of it, for their readers alone: `[batch, pos, d]`; None: nothing.
    """

    __slots__ = ("_inverse_rms", "_normalised", "_whole", "aside", "eps", "state")

    def __init__(self, state: Tensor, eps: float | None, aside: Tensor | None = None) -> None:
        self.state = state  # (batch, pos, d)
        self.eps = eps
        self.aside = aside
        self._whole: Source | None = None
        self._inverse_rms: Tensor | None = None
        self._normalised: Source | None = None

    @property
    def inverse_rms(self) -> Float[Tensor, "batch pos"]:
        """1 / sqrt(mean(s^2) + eps), in float32."""
        if self._inverse_rms is None:
            assert self.eps is not None, "asked of sources that a norm makes keys"
            self._inverse_rms = inverse_rms(self.state, self.eps)
        return self._inverse_rms

    @property
    def normalised(self) -> Source:
        """S / rms(s), in float32: key and value in one, where a dialect reads its sources so."""
        if self._normalised is None:
            self._normalised = Source(self.state.float() * self.inverse_rms.unsqueeze(-1), None)
        return self._normalised

    @property
    def whole(self) -> Source:
        """The source with what was set aside in it, as readers on a path read it."""
        if self._whole is None:
            self._whole = self if self.aside is None else Source((self.state + self.aside).to(self.state), self.eps)
        return self._whole

    def key_logit(self, gain: Float[Tensor, "d"]) -> Float[Tensor, "batch pos"]:
        """The key times a pseudo-query, in float32."""
        product = self.state.float() @ gain
        return product if self.eps is None else product * self.inverse_rms

    def rows(self, index: Tensor) -> Source:
        """The same source for a batch made of the given rows (with repeats)."""
        picked = Source(self.state[index], self.eps, None if self.aside is None else self.aside[index])
        if self._inverse_rms is not None:
            picked._inverse_rms = self._inverse_rms[index]
        return picked

    def to(self, device: torch.device) -> Source:
        """The same source on a device, with what was computed of it; itself where it is there already."""
        if self.state.device == device:
            return self
        moved = Source(self.state.to(device), self.eps, None if self.aside is None else self.aside.to(device))
        if self._inverse_rms is not None:
            moved._inverse_rms = self._inverse_rms.to(device)
        return moved


@dataclass(frozen=True, slots=True)
class PseudoQuery:
    """Logits of content: w . RMSNorm(s_i), the recency bias added to the last source (arXiv:2603.15031, eq. 2-4)."""

    query: Float[Tensor, "d"]
    """The pseudo-query times its key norm's gain."""
    recency_bias: Float[Tensor, ""] | None = None
    """Of the last source, which is the current state, in dialects that have one."""

    def logits(self, sources: Sequence[Source]) -> Float[Tensor, "source batch pos"]:
        """The site's logits, in float32."""
        gain = self.query.float()
        logits = torch.stack([source.key_logit(gain) for source in sources])
        if self.recency_bias is not None:
            logits = torch.cat([logits[:-1], logits[-1:] + self.recency_bias.float()])
        return logits


@dataclass(frozen=True, slots=True)
class LearnedLogits:
    """Logits that are parameters: the same for every token, whatever the sources hold."""

    values: Float[Tensor, "most"]
    """One for each source that a site of the model can have; a site takes the first of them."""

    def logits(self, sources: Sequence[Source]) -> Float[Tensor, "source batch pos"]:
        """The site's logits, in float32."""
        own = self.values[: len(sources)].float()
        return own[:, None, None].expand(-1, *sources[0].state.shape[:-1])


Scoring = PseudoQuery | LearnedLogits
"""What gives a site's sources their logits."""
Sum = Callable[[Tensor, Tensor], Tensor]
"""The sum of two tensors, or their difference."""
Rule = Callable[[Tensor], Tensor]
"""From depth weights `[source, rows, pos]` to a tensor of their shape."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Weight taken from a site's sources, for some rows of a batch."""

    rows: slice
    taken: Rule
    """How much of each source's weight is taken."""
    states: Mapping[int, Tensor] | None = None
    """What takes its place, by source: broadcasts over `[rows, pos, d]`. None: nothing."""
    renormalised: bool = False
    """Whether, with nothing in its place, what is left is scaled up to sum to one."""
    keys: bool = False
    """Whether the weights are computed from `states`, too."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Other states for some of a site's sources, whatever their weights, for some rows of a batch."""

    rows: slice
    states: Mapping[int, Tensor]
    """By source, `[rows, pos, d]`."""


@dataclass(frozen=True, slots=True)
class SiteOverride:
    """Interventions at one site, as data on any device: for the rows they are about, in this order."""

    logit_bias: Tensor | None = None
    """Added to the logits, broadcasts over `[source, batch, pos]`; minus infinity drops a source."""
    rewrites: tuple[tuple[slice, Rule], ...] = ()
    """Other depth weights for some rows."""
    removals: tuple[Removal, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    asides: tuple[slice, ...] = ()
    """Rows where what all this changes of the sublayer's output is set aside for the readers on a path."""
    views: tuple[tuple[slice, tuple[int, ...]], ...] = ()
    """Rows that are on a path, and their sources that are read with what was set aside: keys and values. The running
    state has the number after the last source."""


class Read(NamedTuple):
    """The read of one site."""

    mixture: Tensor  # (batch, pos, d)
    weights: Tensor  # (source, batch, pos), float32: the weights used, on sources and what takes their place
    natural: Tensor  # (source, batch, pos), float32: the weights without an intervention
    kept: Tensor | None = None  # (batch, pos): the natural weight that stays on its source; None: all
    beside: Tensor | None = None  # (batch, pos, d): the running state, where it is part of the mixture with weight one


def summing(eps: float | None, add: Sum, subtract: Sum) -> Arithmetic[Source]:
    """What a schedule does with sources, whose states and what is set aside of them are summed alike."""

    def both(one: Source, other: Source, act: Sum) -> Source:
        aside = one.aside
        if other.aside is not None:
            aside = act(torch.zeros_like(other.aside) if aside is None else aside, other.aside)
        return Source(act(one.state, other.state), eps, aside)

    return Arithmetic(lambda one, other: both(one, other, add), lambda one, other: both(one, other, subtract))


def parted(touched: Source, plain: Source, rows: Sequence[slice]) -> Source:
    """What a sublayer writes without an intervention, and what the intervention changes of it set aside.

    Args:
        touched: what it writes with the intervention, `[batch, pos, d]`.
        plain: what it writes without; made by the same kernels on a batch of the same shape, so that what the
            intervention leaves as it is differs by exactly nothing.
        rows: where the intervention is on a path.
    """
    aside = torch.zeros_like(plain.state)
    for own in rows:
        aside[own] = touched.state[own] - plain.state[own]
    return Source(plain.state, plain.eps, aside)


def seen(
    sources: Sequence[Source], whole: Sequence[Source], views: Sequence[tuple[slice, tuple[int, ...]]]
) -> list[Source]:
    """The sources as rows on a path read them: with what was set aside, where the path says so.

    Args:
        sources: as they are.
        whole: the same with what was set aside in them.
        views: see `SiteOverride`.
    """
    given = [
        Exchange(rows, {i: whole[i].state[rows] for i in indices if i < len(sources) and whole[i] is not sources[i]})
        for rows, indices in views
    ]
    return exchanged(sources, given)


def mix(
    sources: Sequence[Source],
    weights: Float[Tensor, "source batch pos"],
    beside: Float[Tensor, "batch pos d"] | None = None,
) -> Float[Tensor, "batch pos d"]:
    """The weighted sum of the raw sources, accumulated source by source (never stacked), and a state beside them."""
    mixed = None if beside is None else beside.clone()
    for source, weight in zip(sources, weights, strict=True):
        state = source.state
        weight = weight.to(state.dtype).unsqueeze(-1)  # (batch, pos, 1)
        mixed = weight * state if mixed is None else mixed.addcmul_(weight, state)
    assert mixed is not None, "a site has at least one source"
    return mixed


def mix_of_some(
    sources: Sequence[Source], weights: Tensor, beside: Tensor | None, indices: Sequence[int]
) -> Float[Tensor, "batch pos d"]:
    """What a read would be of some of its sources alone, their weights scaled to sum to one; of none, what is beside.

    Args:
        sources: the site's sources in order.
        weights: their depth weights, `[source, batch, pos]`.
        beside: the running state, where it is part of the mixture with weight one.
        indices: the sources that stay.
    """
    if not indices:
        return torch.zeros_like(sources[0].state) if beside is None else beside
    kept = weights[list(indices)]
    shares = kept / kept.sum(0).clamp(min=torch.finfo(kept.dtype).tiny)
    return mix([sources[index] for index in indices], shares, beside)


def unablated(sources: Sequence[Source], read: Read, rows: Sequence[slice]) -> Float[Tensor, "batch pos d"]:
    """A read's mixture as it is without interventions in some rows."""
    mixture, natural = read.mixture.clone(), mix(sources, read.natural, read.beside)
    for own in rows:
        mixture[own] = natural[own]
    return mixture


def route(
    sources: Sequence[Source],
    scoring: Scoring,
    override: SiteOverride | None = None,
    beside: Float[Tensor, "batch pos d"] | None = None,
) -> Read:
    """What a sublayer reads, and the depth weights it read with.

    Args:
        sources: the site's sources in order.
        scoring: what gives them their logits.
        override: what interventions do here.
        beside: the running state, where it is read with weight one beside the mixture; without sources it is all.
    """
    logits = scoring.logits(sources)
    natural = torch.softmax(logits, dim=0)
    if override is None:
        return Read(mix(sources, natural, beside), natural, natural, beside=beside)
    used = logits
    for removal in override.removals:
        if removal.keys:
            used = used.clone() if used is logits else used
            used[:, removal.rows] = scoring.logits(replaced(sources, removal))
    if override.logit_bias is not None:
        used = used + override.logit_bias.to(used.device)
    weights = torch.softmax(used, dim=0)
    if beside is not None:  # (a site that lost every source reads the running state alone)
        weights = weights.masked_fill(used.isneginf().all(0), 0.0)
    for rows, rule in override.rewrites:
        weights[:, rows] = rule(weights[:, rows])
    takes = [removal.taken(weights[:, removal.rows]) for removal in override.removals]
    direct = weights.clone() if takes else weights  # what is left on the sources themselves
    for removal, taken in zip(override.removals, takes, strict=True):
        direct[:, removal.rows] -= taken
    stays = torch.minimum(natural, direct)
    for exchange in override.exchanges:
        stays[list(exchange.states), exchange.rows] = 0
    kept = stays.sum(0)
    for removal in override.removals:
        if removal.renormalised:
            direct[:, removal.rows] /= direct[:, removal.rows].sum(0)
    mixture = mix(exchanged(sources, override.exchanges), direct, beside)
    for removal, taken in zip(override.removals, takes, strict=True):
        if removal.states is None:
            weights[:, removal.rows] = direct[:, removal.rows]
        else:
            instead = replaced(sources, removal)
            mixture[removal.rows] += mix([instead[i] for i in removal.states], taken[list(removal.states)])
    return Read(mixture, weights, natural, kept, beside)


def exchanged(sources: Sequence[Source], exchanges: Sequence[Exchange]) -> list[Source]:
    """The sources with other states in some rows; mixed in the same order, so that equal states change no bit."""
    found = list(sources)
    for exchange in exchanges:
        for index, state in exchange.states.items():
            if found[index] is sources[index]:
                found[index] = Source(sources[index].state.clone(), sources[index].eps)
            own = found[index].state
            own[exchange.rows] = state.to(own)
    return found


def replaced(sources: Sequence[Source], removal: Removal) -> list[Source]:
    """The sources of a removal's rows, replaced where it says so."""
    own = [Source(source.state[removal.rows], source.eps) for source in sources]
    for index, state in (removal.states or {}).items():
        own[index] = Source(state.to(own[index].state).expand_as(own[index].state), own[index].eps)
    return own
