"""The routing operation: every dialect's depth mixing, with its three places to intervene.

logit_i = w . (g * s_i / rms(s_i)) (+ recency bias on the last source) (+ logit bias)
alpha   = softmax_i(logit)                                             (or a weight override)
h       = sum_i alpha_i * s_i                                          (or a value override)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attnres_core.shapes import Float


def inverse_rms(state: Float[Tensor, "... d"], eps: float) -> Float[Tensor, "..."]:
    """1 / sqrt(mean(s^2) + eps) over the last axis, in float32; one pass over the state."""
    wide = state.float()
    return torch.rsqrt(torch.linalg.vecdot(wide, wide) / wide.shape[-1] + eps)


class Source:
    """A depth source with its inverse RMS, computed once however many sites read it."""

    __slots__ = ("_inverse_rms", "eps", "state")

    def __init__(self, state: Tensor, eps: float) -> None:
        self.state = state  # (batch, pos, d)
        self.eps = eps
        self._inverse_rms: Tensor | None = None

    @property
    def inverse_rms(self) -> Float[Tensor, "batch pos"]:
        """1 / sqrt(mean(s^2) + eps), in float32."""
        if self._inverse_rms is None:
            self._inverse_rms = inverse_rms(self.state, self.eps)
        return self._inverse_rms

    def rows(self, index: Tensor) -> Source:
        """The same source for a batch made of the given rows (with repeats)."""
        picked = Source(self.state[index], self.eps)
        if self._inverse_rms is not None:
            picked._inverse_rms = self._inverse_rms[index]
        return picked


@dataclass(frozen=True, slots=True)
class SiteOverride:
    """An intervention at one site; every field broadcasts over `[source, batch, pos]` (values: `[..., d]`)."""

    logit_bias: Tensor | None = None
    """Added to the logits; minus infinity drops a source."""
    weights: Tensor | None = None
    """Replaces the depth weights."""
    values: Tensor | None = None
    """Replaces the mixed values (the keys stay the true sources); NaN entries keep the true value."""


class Read(NamedTuple):
    """What one site read."""

    mixture: Tensor  # (batch, pos, d)
    weights: Tensor  # (source, batch, pos), float32: the weights used
    natural: Tensor  # (source, batch, pos), float32: the weights without an intervention


def depth_logits(
    sources: Sequence[Source], query: Float[Tensor, "d"], recency_bias: Float[Tensor, ""] | None
) -> Float[Tensor, "source batch pos"]:
    """W . RMSNorm(s_i), the recency bias added to the last source; float32 (arXiv:2603.15031, eq. 2-4).

    Args:
        sources: the site's sources in order, the current one last.
        query: pseudo-query times the key norm's gain.
        recency_bias: the site's bias, in dialects that have one.
    """
    gain = query.float()
    logits = torch.stack([(source.state.float() @ gain) * source.inverse_rms for source in sources])
    if recency_bias is not None:
        logits = torch.cat([logits[:-1], logits[-1:] + recency_bias.float()])
    return logits


def mix(
    sources: Sequence[Source], weights: Float[Tensor, "source batch pos"], values: Tensor | None = None
) -> Float[Tensor, "batch pos d"]:
    """The weighted sum of the raw sources, accumulated source by source (never stacked)."""
    mixed: Tensor | None = None
    for index, source in enumerate(sources):
        state = source.state
        if values is not None:
            state = torch.where(torch.isnan(values[index]), state, values[index].to(state.dtype))
        weight = weights[index].to(state.dtype).unsqueeze(-1)  # (batch, pos, 1)
        mixed = weight * state if mixed is None else mixed.addcmul_(weight, state)
    assert mixed is not None, "a site has at least one source"
    return mixed


def route(
    sources: Sequence[Source],
    query: Float[Tensor, "d"],
    recency_bias: Float[Tensor, ""] | None,
    override: SiteOverride | None = None,
) -> Read:
    """What a sublayer reads, and the depth weights it read with."""
    logits = depth_logits(sources, query, recency_bias)
    natural = torch.softmax(logits, dim=0)
    if override is None:
        return Read(mix(sources, natural), natural, natural)
    weights = natural
    if override.logit_bias is not None:
        weights = torch.softmax(logits + override.logit_bias, dim=0)
    if override.weights is not None:
        weights = override.weights.expand_as(weights)
    return Read(mix(sources, weights, override.values), weights, natural)
