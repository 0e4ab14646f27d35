"""What a model's own routing call was asked for, in the words of this library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attnres_core.quantities.vocabulary import Family


class AdapterError(ValueError):
    """A model that cannot be adapted as described; says what was found and what to change."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What one site does with the streams, as the model's own call computes it."""

    states: Tensor
    """The streams as the site gets them, `[batch, pos, stream, d]`."""
    pre: Tensor
    """What it reads of each, `[batch, pos, stream]`, or channel by channel, `[batch, pos, stream, d]`."""
    post: Tensor | None
    """How its sublayer's output is written to each, `[batch, pos, stream]`; None: nothing is, as at the read-out."""
    comb: Tensor | None
    """How the streams mix, `[batch, pos, from, to]`; None: each stays what it is."""
    parameter: nn.Parameter | None
    """One of the site's own: its name in the model says which site this is; None: the read-out."""
    read: Tensor
    """What the call itself read, `[batch, pos, d]`."""
    give: Callable[[Tensor, Tensor | None, Tensor | None], Any]
    """What the call returns, from a read, a `post` and a `comb`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One site's read, as the model's own call was asked for it.

    Its weights are the softmax of a pseudo-query's products, or of given `logits`, or given `weights` as they are.
    """

    sources: Sequence[Tensor]
    """In order, the current state last, each `[..., d]`; already normalised where `eps` is None. None at all: there is
    nothing to choose, the read is `base`, and this is no site."""
    query: Tensor | None
    """The pseudo-query times its key norm's gain and any scale, `[d]`; None where `logits` or `weights` are given."""
    eps: float | None
    """Of the norm that makes a source a key; None: a source is its own key, and its own value."""
    parameter: nn.Parameter | None
    """The one that holds the pseudo-query, or another of this site alone: its name says which site this is; None: the
    read-out."""
    stream: str | None = None
    """The stream, where one call reads several."""
    recency_bias: Tensor | None = None
    """Added to the current source's logit, where there is one."""
    finish: Callable[[Tensor], Tensor] | None = None
    """What the call does with the mixture before it returns it, such as the norm that follows; None: nothing."""
    logits: Tensor | None = None
    """In the place of a query: `[source]`, the same for every token, or `[source, ...]` as the model computed them."""
    weights: Tensor | None = None
    """In the place of a query: weights on no simplex, `[source, ...]`, or one a channel, `[source, ..., d]`. A drop
    subtracts, and nothing is scaled up. Of weights a channel, the mean size counts."""
    base: Tensor | None = None
    """A state that is read with weight one beside the mixture, `[..., d]`, and is none of the sources."""
    families: Sequence[Family | None] | None = None
    """The sources' families, in order; None: embedding, older, recent, current, by their places."""

    parallel: Streams | None = None
    """The parallel streams that it reads, in models with hyper-connections."""

    @property
    def like(self) -> Tensor:
        """A tensor of the read's shape."""
        if self.sources:
            return self.sources[-1]
        if self.base is None:
            raise AdapterError("`describe` gives neither `sources` nor a `base`; a read is of at least one of them")
        return self.base


@dataclass(frozen=True, slots=True)
class RoutingCall:
    """The call that reads depth sources."""

    owner: Any
    """What has it as an attribute: the Python module of a function, the class of a routing module."""
    name: str
    """The attribute: the function's name, or `forward`."""
    describe: Callable[..., Asked | Sequence[Asked]]
    """From the call's own arguments to what they are; several where one call returns a tuple of streams."""
