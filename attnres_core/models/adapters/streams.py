"""Hyper-connections: streams that mix linearly, so that every read is an exact weighted sum of earlier outputs.

A site reads sum_k pre_k X_k of the streams X_k, and its sublayer's output joins them:
X_k <- sum_j comb_jk X_j + post_k out.
All streams are the embedding at first. So what stream k holds of the output of s is C_sk out_s, with

    C_embedding = 1;    after each site  C_s <- comb^T C_s,  C_new = post
    a_s = sum_k pre_k C_sk;    read = sum_s a_s out_s

The weights a_s are on no simplex. A source's output is what was written to the streams, divided by how much of it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnres_core.models.adapters.asked import AdapterError, Asked
from attnres_core.models.adapters.asked import Streams as Streams
from attnres_core.models.networks.routing import StreamChange
from attnres_core.quantities.vocabulary import Family
from attnres_core.shapes import Float

FOREIGN_WRITE = 1e-3
"""What of a change of the streams no output explains, relative to the streams, before it is another writer's."""


@dataclass(frozen=True, slots=True)
class StreamCall:
    """The call by which a site reads the streams."""

    owner: Any
    """What has it as an attribute: the class of the site's module."""
    name: str
    """The attribute, such as `forward`."""
    describe: Callable[..., Streams]
    """From what the call returned, and its own arguments, to what it did."""


class StreamRun:
    """The streams of one run as sums of sources: their outputs, and how much of each is in every stream."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        """The embedding and every sublayer's output so far, `[batch, pos, d]`."""
        self._shares: list[Tensor] = []
        """By source, `[batch, pos, stream]`, in float32."""
        self._before: Streams | None = None

    def asked(self, streams: Streams) -> Asked:
        """A site's read as a weighted sum of sources.

        Raises:
            AdapterError: the streams are not equal at first, or something else than sublayers writes to them.
        """
        self._follow(streams)
        pre = streams.pre.float()
        if pre.ndim == streams.states.ndim:
            weights = torch.stack([(pre * share.unsqueeze(-1)).sum(2) for share in self._shares])
        else:
            weights = torch.stack([(pre * share).sum(-1) for share in self._shares])
        count = len(self.outputs)
        older = (Family.OLDER,) * (count - 2)
        families = (None,) if count == 1 else (Family.EMBEDDING, *older, Family.RECENT)
        return Asked(
            *(list(self.outputs), None, None, streams.parameter),
            weights=weights,
            families=families,
            parallel=streams,
        )

    def leave(self, streams: Streams) -> None:
        """The site has been read, and its sublayer will write as `streams` says."""
        self._before = streams

    def _follow(self, streams: Streams) -> None:
        """Take up what was written since the site before."""
        states = streams.states.float()
        if self._before is None:
            if not torch.equal(states, states[:, :, :1].expand_as(states)):
                raise AdapterError("the streams are not equal at the first site; they hold more than an embedding")
            self.outputs = [streams.states[:, :, 0]]
            self._shares = [torch.ones(states.shape[:3], device=states.device)]
            return
        post, comb = self._before.post, self._before.comb
        if post is None:
            raise AdapterError("a site that writes nothing is followed by another; only the read-out writes nothing")
        stayed = self._before.states.float()
        if comb is not None:
            mixing = comb.float().transpose(-1, -2)  # (to, from)
            stayed = mixing @ stayed
            self._shares = [(mixing @ share.unsqueeze(-1)).squeeze(-1) for share in self._shares]
        written, how = states - stayed, post.float().unsqueeze(-1)
        output = (how * written).sum(2) / how.square().sum(2).clamp(min=torch.finfo(torch.float32).tiny)
        if float((written - how * output.unsqueeze(2)).abs().max()) > FOREIGN_WRITE * float(states.abs().max()):
            raise AdapterError("something else than a sublayer's output was written to the streams before a site")
        self.outputs.append(output.to(streams.states.dtype))
        self._shares.append(post.float())


def drawn(streams: Streams) -> Float[Tensor, "stream batch pos"]:
    """The part of each stream in the size of a read: |pre_k X_k| / sum_j |pre_j X_j|."""
    pre, states = streams.pre.float(), streams.states.float()
    read = (pre if pre.ndim == states.ndim else pre.unsqueeze(-1)) * states
    sizes: Tensor = torch.linalg.vector_norm(read, dim=-1).movedim(-1, 0)
    return sizes / sizes.sum(0).clamp(min=torch.finfo(torch.float32).tiny)


def changed(streams: Streams, changes: Iterable[StreamChange]) -> Streams:
    """The same with what interventions change: what is not read, not written, or not mixed."""
    parts = {name: part.clone() for name in ("pre", "post", "comb") if (part := getattr(streams, name)) is not None}
    for change in changes:
        own = parts[change.part]
        if change.part == "comb":
            value = torch.eye(own.shape[-1]) if change.value is None else change.value
            own[change.rows] = value.to(own)
        else:
            own[change.rows, :, slice(None) if change.index is None else change.index] = 0
    return dataclasses.replace(streams, **parts)
