"""What the dialects of Attention Residuals differ in: when the running state becomes a depth source.

A dialect is a schedule over a `DepthStream`. The schedule never looks inside the states it moves about, so one
file serves twice: run over tensors it is the model's forward pass, run over plain tokens (`sites_of`) it gives
every site's sources, families and duplicates without importing torch. What a layer computes is the backbone's affair.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from attnres_core.quantities.vocabulary import Family, Site, Sublayer, Writer

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Arithmetic(Generic[State]):
    """The operations that a schedule has on states; it never looks inside them."""

    add: Callable[[State, State], State]
    subtract: Callable[[State, State], State]


@dataclass(slots=True)
class DepthStream(Generic[State]):
    """The depth sources as the forward pass builds them up."""

    completed: list[State]
    """The embedding and every completed block, oldest first (in delta dialects: what was added, piece by piece)."""
    current: State | None
    """What the running block has accumulated; None right after a reset."""
    arithmetic: Arithmetic[State]

    def sources(self) -> list[State]:
        """The sources a site reads now, in order, where the current state is one of them."""
        return self.completed if self.current is None else [*self.completed, self.current]

    def add(self, output: State) -> None:
        """A sublayer has written its output."""
        self.current = output if self.current is None else self.arithmetic.add(self.current, output)

    def state(self) -> State:
        """The running state, where a dialect has one at this point."""
        assert self.current is not None, "asked only where no reset has just been"
        return self.current

    def copy(self) -> DepthStream[State]:
        """A snapshot; the states themselves are shared, never written in place."""
        return DepthStream(list(self.completed), self.current, self.arithmetic)

    def mapped(self, change: Callable[[State], State]) -> DepthStream[State]:
        """The stream of changed states; one that serves as two sources is changed once and stays one."""
        made: dict[int, State] = {}

        def changed(state: State) -> State:
            if id(state) not in made:
                made[id(state)] = change(state)
            return made[id(state)]

        current = None if self.current is None else changed(self.current)
        return DepthStream([changed(state) for state in self.completed], current, self.arithmetic)


def layers_of(num_layers: int, num_blocks: int) -> int:
    """The layers of every block but the last, which may be shorter."""
    return math.ceil(num_layers / num_blocks)


@dataclass(frozen=True)
class Dialect(ABC):
    """One meaning of "Block AttnRes"."""

    num_layers: int
    num_blocks: int

    name: ClassVar[str]
    has_bias: ClassVar[bool]
    """Whether a learned recency bias joins the current source's logit."""
    has_readout: ClassVar[bool]
    """Whether a final routing site replaces the plain stream before the last norm."""
    has_logits: ClassVar[bool] = False
    """Whether a site's logits are learned numbers, the same for every token, instead of a pseudo-query's products."""
    adds_to_state: ClassVar[bool] = False
    """Whether a read is the running state, with weight one, plus the mixture: then the state itself is no source."""
    has_blocks: ClassVar[bool] = True
    """Whether the number of blocks means anything; else a config's is what its code has by default."""
    unread_streams: ClassVar[frozenset[str]] = frozenset()
    """Streams whose reads are computed, and used by nothing."""

    @property
    def layers_per_block(self) -> int:
        """ceil(layers / blocks); the last block may be shorter."""
        return layers_of(self.num_layers, self.num_blocks)

    @property
    def has_null_source(self) -> bool:
        """Return whether every site has a learned vector as its first source."""
        return False

    def streams(self, layer: int, sublayer: Sublayer) -> tuple[str | None, ...]:
        """The streams that a sublayer reads, each a site; `(None,)` where it reads one; none: the state as it is."""
        return (None,)

    def starts_block(self, layer: int, sublayer: Sublayer) -> bool:
        """Return whether this is a block's first sublayer."""
        return sublayer is Sublayer.ATTN and layer % self.layers_per_block == 0

    @abstractmethod
    def begin(self, embedding: State, arithmetic: Arithmetic[State]) -> DepthStream[State]:
        """The stream before layer 0."""

    def before_read(  # noqa: B027 (most dialects do nothing here)
        self, stream: DepthStream[State], layer: int, sublayer: Sublayer
    ) -> None:
        """Prepare the stream just before a site reads it."""

    def sources(self, stream: DepthStream[State]) -> list[State]:
        """The states that a site reads of the stream, in order; none: what is there is read as it is."""
        return stream.sources()

    def families(self, num_sources: int) -> tuple[Family | None, ...]:
        """The family of each source of a site, in order."""
        return families(num_sources)

    def after_read(  # noqa: B027
        self, stream: DepthStream[State], layer: int, sublayer: Sublayer
    ) -> None:
        """Change the stream just after the read, before the sublayer's output is added."""

    def add(self, stream: DepthStream[State], output: State) -> None:
        """A sublayer has written its output."""
        stream.add(output)


def families(num_sources: int) -> tuple[Family | None, ...]:
    """The family of each source of a site whose last source is the current state, in order."""
    if num_sources == 1:
        return (None,)
    blocks = num_sources - 2
    older = (Family.OLDER,) * max(blocks - 1, 0)
    recent = (Family.RECENT,) * min(blocks, 1)
    return (Family.EMBEDDING, *older, *recent, Family.CURRENT)


class _Token:
    """A state as the schedule sees it: itself, and how often each sublayer's output is in it."""

    def __init__(self, counts: dict[Writer, int]) -> None:
        self.counts = counts

    def plus(self, other: _Token, sign: int) -> _Token:
        """The sum, or the difference."""
        writers = self.counts | other.counts
        return _Token({w: self.counts.get(w, 0) + sign * other.counts.get(w, 0) for w in writers})

    @property
    def holds(self) -> frozenset[Writer]:
        """The sublayers whose outputs it is made of."""
        return frozenset(writer for writer, count in self.counts.items() if count)


def sites_of(dialect: Dialect) -> tuple[Site, ...]:
    """Every site of a model in forward order, from the schedule alone."""
    new: Arithmetic[_Token] = Arithmetic(
        add=lambda state, output: state.plus(output, 1), subtract=lambda state, other: state.plus(other, -1)
    )
    stream = dialect.begin(_Token({}), new)
    sites = []

    def read(layer: int, sublayer: Sublayer) -> None:
        states = [_Token({}) for _ in range(dialect.has_null_source)] + dialect.sources(stream)
        if not states:
            return
        copies = tuple((i, j) for j in range(len(states)) for i in range(j) if states[i] is states[j])
        beside = [stream.state()] * dialect.adds_to_state
        after = stream.copy()
        dialect.after_read(after, layer, sublayer)
        ends = not beside and len(states) > 1 and after.completed[-1:] == states[-1:]  # (the very same token)
        holds = tuple(state.holds for state in (*states, *beside))
        for name in dialect.streams(layer, sublayer):
            unread = name in dialect.unread_streams
            found = dialect.families(len(states))
            sites.append(
                Site(
                    *(layer, sublayer, found, name, copies, dialect.adds_to_state, unread, holds),
                    starts_block=ends and not copies,
                )
            )

    for layer in range(dialect.num_layers):
        for sublayer in (Sublayer.ATTN, Sublayer.MLP):
            dialect.before_read(stream, layer, sublayer)
            read(layer, sublayer)
            dialect.after_read(stream, layer, sublayer)
            dialect.add(stream, _Token({(layer, sublayer): 1}))
    if dialect.has_readout:
        read(dialect.num_layers, Sublayer.FINAL)
    return tuple(sites)
