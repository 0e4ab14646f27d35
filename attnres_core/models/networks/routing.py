"""The routing operation: every dialect's depth mixing, with its three places to intervene.

logit_i = w . (g * s_i / rms(s_i)) (+ recency bias on the last source) (+ logit bias)    or a number, learned or given
alpha   = softmax_i(logit)                                             (or a weight override)
h       = (running state +) sum_i alpha_i * s_i                        (or a value override)

Weights may also be free, a_i of any size and sign: then alpha_i = |a_i| / sum_j |a_j|, and h is the sum of a_i * s_i.
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


@dataclass(frozen=True, slots=True)
class GivenLogits:
    """Logits that a model's own code has computed, for each token."""

    values: Float[Tensor, "source batch pos"]

    def logits(self, sources: Sequence[Source]) -> Float[Tensor, "source batch pos"]:
        """The site's logits, in float32, whatever the sources."""
        return self.values.float()


@dataclass(frozen=True, slots=True)
class FreeWeights:
    """Weights on no simplex, of any sign and sum. A site's depth weights are their sizes, scaled to sum to one.

    What is taken away is taken away: nothing scales up the rest. The sum of the clean run's sizes is what weights that
    are put in their place are shares of.
    """

    values: Float[Tensor, "source batch pos"]

    def logits(self, sources: Sequence[Source]) -> Float[Tensor, "source batch pos"]:
        """The logarithms of the depth weights, in float32, whatever the sources."""
        sizes = self.values.float().abs()
        return (sizes / sizes.sum(0).clamp(min=torch.finfo(sizes.dtype).tiny)).log()

    @property
    def scale(self) -> Float[Tensor, "source batch pos"]:
        """What a depth weight is multiplied by to be a weight: the sum of all sizes, with the weight's own sign."""
        values = self.values.float()
        return values.abs().sum(0) * torch.where(values < 0, -1.0, 1.0)


Scoring = PseudoQuery | LearnedLogits | GivenLogits | FreeWeights
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
class StreamChange:
    """What is changed of a site's parallel streams, for some rows of a batch."""

    rows: slice
    part: str
    """`pre`, how they are read, `post`, how they are written to, or `comb`, how they mix."""
    index: int | None = None
    """Which stream; None: all."""
    value: Tensor | None = None
    """What `comb` becomes, `[from, to]`; None: the identity. The others become zero."""


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
    streams: tuple[StreamChange, ...] = ()
    """Made before the site is read, and so before the other interventions."""


class Read(NamedTuple):
    """The read of one site."""

    mixture: Tensor  # (batch, pos, d)
    weights: Tensor  # (source, batch, pos), float32: the weights used, on sources and what takes their place
    natural: Tensor  # (source, batch, pos), float32: the weights without an intervention
    kept: Tensor | None = None  # (batch, pos): the natural weight that stays on its source; None: all
    beside: Tensor | None = None  # (batch, pos, d): the running state, where it is part of the mixture with weight one
    scale: Tensor | None = None  # (source, batch, pos): what weights are multiplied by, where they are on no simplex
    streams: Tensor | None = None  # (stream, batch, pos): the parts that parallel streams have in its size; None: none
    mixing: Tensor | None = None  # (batch, pos, from, to): how parallel streams mix after it; None: they do not

    def rows(self, index: slice) -> Read:
        """The same for some rows of the batch."""
        kept, beside, mixing = (None if part is None else part[index] for part in (self.kept, self.beside, self.mixing))
        scale, streams = (None if part is None else part[:, index] for part in (self.scale, self.streams))
        own = self.mixture[index], self.weights[:, index], self.natural[:, index]
        return Read(*own, kept, beside, scale, streams, mixing)

    def detached(self) -> Read:
        """The same without its gradients."""
        mixture, weights, natural, *others = (None if part is None else part.detach() for part in self)
        return Read(mixture, weights, natural, *others)  # type: ignore[arg-type]

    def mixed(self, sources: Sequence[Source], weights: Float[Tensor, "source batch pos"]) -> Tensor:
        """What the read would be of these states with these depth weights, `[batch, pos, d]`."""
        return mix(sources, weights if self.scale is None else weights * self.scale, self.beside)

    def of_some(self, sources: Sequence[Source], indices: Sequence[int]) -> Tensor:
        """What it would be of some sources alone, their weights scaled to sum to one; of none, what is beside.

        Weights on no simplex stay as they are.
        """
        if not indices:
            return torch.zeros_like(sources[0].state) if self.beside is None else self.beside
        own, kept = [sources[index] for index in indices], self.weights[list(indices)]
        if self.scale is not None:
            return mix(own, kept * self.scale[list(indices)], self.beside)
        return mix(own, kept / kept.sum(0).clamp(min=torch.finfo(kept.dtype).tiny), self.beside)


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


def unablated(sources: Sequence[Source], read: Read, rows: Sequence[slice]) -> Float[Tensor, "batch pos d"]:
    """A read's mixture as it is without interventions in some rows."""
    mixture, natural = read.mixture.clone(), read.mixed(sources, read.natural)
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

    Raises:
        ValueError: weights are to be computed anew, and the model's own code computes them.
    """
    logits, scale = scoring.logits(sources), scoring.scale if isinstance(scoring, FreeWeights) else None
    natural = torch.softmax(logits, dim=0) if scale is None else logits.exp()

    def amounts(weights: Tensor, rows: slice = slice(None)) -> Tensor:
        """What depth weights of some rows are multiplied with."""
        return weights if scale is None else weights * scale[:, rows]

    if override is None:
        return Read(mix(sources, amounts(natural), beside), natural, natural, beside=beside, scale=scale)
    used = logits
    for removal in override.removals:
        if removal.keys:
            if isinstance(scoring, GivenLogits | FreeWeights):
                told = "the model's own code computes the weights here, and none can be computed anew"
                raise ValueError(f"{told}; give recomputed=False, or describe the call by its `query`")
            used = used.clone() if used is logits else used
            used[:, removal.rows] = scoring.logits(replaced(sources, removal))
    if override.logit_bias is not None:
        used = used + override.logit_bias.to(used.device)
    weights = torch.softmax(used, dim=0) if scale is None else used.exp()
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
        if removal.renormalised and scale is None:
            direct[:, removal.rows] /= direct[:, removal.rows].sum(0)
    mixture = mix(exchanged(sources, override.exchanges), amounts(direct), beside)
    for removal, taken in zip(override.removals, takes, strict=True):
        if removal.states is None:
            weights[:, removal.rows] = direct[:, removal.rows]
        else:
            instead, shares = replaced(sources, removal), amounts(taken, removal.rows)
            mixture[removal.rows] += mix([instead[i] for i in removal.states], shares[list(removal.states)])
    return Read(mixture, weights, natural, kept, beside, scale)


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
