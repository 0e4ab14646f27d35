"""The loop of every network: sites read, sublayers write, the dialect says when a state becomes a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from attnres_core.models.dialects.schedule import DepthStream, Dialect
from attnres_core.models.networks.routing import Read, Scoring, SiteOverride, Source, parted, route, seen, unablated
from attnres_core.quantities.vocabulary import SiteKey, Sublayer
from attnres_core.shapes import Float, Int

Observer = Callable[[SiteKey, list[Source], Read], None]
"""Called at every site with its sources and what it read."""
BeforeLayer = Callable[[int, DepthStream[Source]], None]
"""Called with each layer's number (last, the number of layers) and the stream before it."""

AfterWrite = Callable[[int, Sublayer, list[Tensor], Any, Source], None]
"""Called with each sublayer's layer and name, what its streams have read, the inputs, and what it writes."""


class SiteOverrides(Protocol):
    """The interventions at each site: `networks.overrides.Overrides`, or a dictionary."""

    def get(self, key: SiteKey, /) -> SiteOverride | None:
        """Return what a site is to do; None: nothing."""


@runtime_checkable
class Inputs(Protocol):
    """The inputs of every layer beside the sources: positions and masks of a batch."""

    def rows(self, index: Tensor) -> Any:
        """The same for a batch made of the given rows (with repeats)."""


@runtime_checkable
class MovableInputs(Inputs, Protocol):
    """Inputs of a network whose layers may lie on several devices."""

    def to(self, device: torch.device) -> Any:
        """The same on a device."""


class Network(nn.Module, ABC):
    """A language model as everything above this package sees it."""

    resumes: ClassVar[bool] = True
    """Whether a run can start at any layer, from a snapshot of the stream before it."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Return how many tokens there are."""

    @property
    def device(self) -> torch.device:
        """Return where token ids go."""
        return next(self.parameters()).device

    def device_of(self, layer: int) -> torch.device:
        """Where a layer's weights are (last, the number of layers: those of the read-out, last norm and head)."""
        return self.device

    @abstractmethod
    def prepare(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Inputs:
        """Return what a batch needs; positions count from the first real token, so padding changes nothing."""

    @abstractmethod
    def begin(self, input_ids: Int[Tensor, "batch pos"]) -> DepthStream[Source]:
        """The depth stream before layer 0."""

    @abstractmethod
    def run(
        self,
        stream: DepthStream[Source],
        inputs: Any,
        *,
        start: int = 0,
        overrides: SiteOverrides | None = None,
        observe: Observer | None = None,
        before_layer: BeforeLayer | None = None,
    ) -> Float[Tensor, "batch pos d"]:
        """The layers from `start` on, up to the normalised final state.

        Args:
            stream: the stream before layer `start`; used up.
            inputs: from `prepare`.
            start: the first layer to run.
            overrides: what interventions do, asked site by site.
            observe: called at every site.
            before_layer: see `BeforeLayer`.
        """

    @abstractmethod
    def unembed(self, state: Float[Tensor, "... d"]) -> Float[Tensor, "... vocab"]:
        """Next-token logits of normalised final states, in float32."""

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"] | None:
        """The matrix that logits are the product of a final state with, where they are that alone and it is float32."""
        return None


class LayeredNetwork(Network):
    """A network whose layers are at hand, so that a run can start at any of them, and each may lie on its own device.

    What a layer's sites and sublayers read comes to its device when the run gets there, once.
    """

    dialect: Dialect
    model: Any
    """Embedding, layers and last norm, named as `transformers` names them."""
    lm_head: nn.Linear
    float32: ClassVar[tuple[str, ...]]
    """Parts of the names of tensors that stay in float32 whatever the dtype."""

    @abstractmethod
    def scoring(self, key: SiteKey) -> Scoring:
        """Return what gives a site's sources their logits."""

    @abstractmethod
    def write(self, layer: int, sublayer: Sublayer, read: Sequence[Tensor], inputs: Any) -> Source:
        """A sublayer's output for what each of its streams has read (or the running state, where it has no site)."""

    @abstractmethod
    def normalise(self, state: Tensor) -> Tensor:
        """The last norm."""

    def make_tables(self) -> None:
        """Make anew what no checkpoint holds."""

    @property
    def device(self) -> torch.device:
        """Return where the embedding is, and so where token ids go."""
        return self.model.embed_tokens.weight.device

    def device_of(self, layer: int) -> torch.device:
        """Return where a layer's weights are, read off them."""
        inside = layer < self.dialect.num_layers
        norm = self.model.layers[layer].post_attention_layernorm if inside else self.model.norm
        return norm.weight.device

    def sources(self, stream: DepthStream[Source], key: SiteKey) -> list[Source]:
        """Return what a site reads of the stream's states, in order; none: it reads the running state as it is."""
        return self.dialect.sources(stream)

    def run(
        self,
        stream: DepthStream[Source],
        inputs: MovableInputs,
        *,
        start: int = 0,
        overrides: SiteOverrides | None = None,
        observe: Observer | None = None,
        before_layer: BeforeLayer | None = None,
        after_write: AfterWrite | None = None,
    ) -> Float[Tensor, "batch pos d"]:
        """The layers from `start` on, up to the normalised final state; arguments as for `Network.run`.

        `after_write` is called with what each sublayer writes (see `AfterWrite`).
        """
        dialect, device = self.dialect, self.device_of(start)
        stream, inputs = _brought(stream, inputs, device)

        def read(layer: int, sublayer: Sublayer) -> _SublayerReads:
            own = _SublayerReads()
            for name in dialect.streams(layer, sublayer):
                key = SiteKey(layer, sublayer, name)
                override = None if overrides is None else overrides.get(key)
                views = () if override is None else override.views
                if not (sources := self.sources(stream, key)):
                    break
                if views:
                    sources = seen(sources, self.sources(stream.mapped(lambda source: source.whole), key), views)
                beside = running(len(sources), views) if dialect.adds_to_state else None
                found = route(sources, self.scoring(key), override, beside)
                if observe is not None:
                    observe(key, sources, found)
                if name not in dialect.unread_streams:
                    own.add(sources, found, () if override is None else override.asides)
            if not own.mixtures:
                own.mixtures.append(stream.state().state)
            return own

        def running(number: int, views: Sequence[tuple[slice, tuple[int, ...]]]) -> Tensor:
            """The running state; with what was set aside in the rows that read source `number` so."""
            rows = [own for own, indices in views if number in indices]
            given = [(own, (0,)) for own in rows]
            return seen([stream.state()], [stream.state().whole], given)[0].state

        for layer in range(start, dialect.num_layers):
            if before_layer is not None:
                before_layer(layer, stream)
            for sublayer in (Sublayer.ATTN, Sublayer.MLP):
                dialect.before_read(stream, layer, sublayer)
                own = read(layer, sublayer)
                dialect.after_read(stream, layer, sublayer)
                written = self.write(layer, sublayer, own.mixtures, inputs)
                if own.asides:
                    written = parted(written, self.write(layer, sublayer, own.plain, inputs), own.asides)
                if after_write is not None:
                    after_write(layer, sublayer, own.mixtures, inputs, written)
                dialect.add(stream, written)
            if (following := self.device_of(layer + 1)) != device:
                device = following
                stream, inputs = _brought(stream, inputs, device)
        if before_layer is not None:
            before_layer(dialect.num_layers, stream)
        if dialect.has_readout:
            return self.normalise(read(dialect.num_layers, Sublayer.FINAL).mixtures[0])
        last = None if overrides is None else overrides.get(SiteKey(dialect.num_layers, Sublayer.FINAL))
        return self.normalise(running(0, () if last is None else last.views))


class _SublayerReads:
    """What the streams of a sublayer read, and what they would without the interventions that are on a path."""

    def __init__(self) -> None:
        self.mixtures: list[Tensor] = []
        self.plain: list[Tensor] = []
        self.asides: list[slice] = []

    def add(self, sources: Sequence[Source], read: Read, asides: Sequence[slice]) -> None:
        """One more stream's."""
        self.mixtures.append(read.mixture)
        self.plain.append(unablated(sources, read, asides) if asides else read.mixture)
        self.asides += asides


def _brought(
    stream: DepthStream[Source], inputs: MovableInputs, device: torch.device
) -> tuple[DepthStream[Source], MovableInputs]:
    """All that sites and sublayers on a device read."""
    return stream.mapped(lambda source: source.to(device)), inputs.to(device)
