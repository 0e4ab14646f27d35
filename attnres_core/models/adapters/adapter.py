"""Any torch language model whose depth mixing is one call: the call is stood in for by our routing operation.

The caller says, in one function with the call's own parameters, what its arguments are. Everything else is found by
running the model once: the sites, their sources, which sources are one tensor. What the call gives without an
intervention is compared with the model's own, so that a wrong description is refused and not measured.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnres_core.models.adapters.asked import AdapterError as AdapterError
from attnres_core.models.adapters.asked import Asked as Asked
from attnres_core.models.adapters.asked import RoutingCall as RoutingCall
from attnres_core.models.adapters.memory import PeakMemory
from attnres_core.models.adapters.streams import StreamCall, StreamRun, Streams, changed, drawn
from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, families
from attnres_core.models.geometry import Outline
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.network import BeforeLayer, Network, Observer, SiteOverrides
from attnres_core.models.networks.routing import (
    FreeWeights,
    GivenLogits,
    LearnedLogits,
    PseudoQuery,
    Read,
    Scoring,
    SiteOverride,
    Source,
    route,
)
from attnres_core.quantities.vocabulary import Site, SiteKey, Sublayer
from attnres_core.shapes import Float, Int

TOLERANCE = 1e-4
"""The largest difference between a call's own result and ours that rounding explains, relative to the result."""
PROBE = (2, 8)
"""Rows and positions of the random tokens that a model is looked at with."""
SPARE = 2
"""What a token may take is so many times what it took then: prompts are longer, kernels keep memory of their own."""
FLOAT32 = 4
"""Bytes of a number, when a model is looked at."""


def site_of(name: str) -> tuple[int | None, Sublayer]:
    """The layer (None: the read-out) and sublayer of a pseudo-query, from the common names of its parameter.

    `model.layers.3.attn_res_proj.weight`, `layers.3.self_attention_res_proj.weight`, `layers.3.mlp_res_proj.weight`;
    anything outside a layer is the read-out.

    Raises:
        AdapterError: the name says neither attention nor MLP.
    """
    match = re.search(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.(.+)", name)
    if match is None:
        return None, Sublayer.FINAL
    for sublayer, words in ((Sublayer.MLP, ("mlp", "ffn", "moe")), (Sublayer.ATTN, ("attn", "attention"))):
        if any(word in match[2] for word in words):
            return int(match[1]), sublayer
    raise AdapterError(f"the parameter {name!r} says neither attention nor MLP; give `site`, from its name to both")


def _own_forward(network: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Logits as most models give them; no cache is made where one can be declined.

    With a cache, FLA's models take padding on the right for padding on the left.
    """
    given: dict[str, Any] = {} if mask is None else {"attention_mask": mask}
    if "use_cache" in inspect.signature(network.forward).parameters:
        given["use_cache"] = False
    output = network(input_ids=ids, **given)
    return output if isinstance(output, Tensor) else output.logits


Watch = Callable[[Asked, Tensor], None]
"""Hears a read as it was described, and what the model's own call gave."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The attention mask of a batch."""

    mask: Tensor | None

    def rows(self, index: Tensor) -> Inputs:
        """The same for a batch made of the given rows (with repeats)."""
        return Inputs(None if self.mask is None else self.mask[index])


class AdaptedNetwork(Network):
    """A model that runs as a whole, its routing calls stood in for.

    A run cannot start at a layer in its middle: what it starts from are the token ids themselves, kept in the place of
    a depth stream's current state.
    """

    resumes = False

    def __init__(
        self,
        network: nn.Module,
        calls: Sequence[RoutingCall | StreamCall],
        vocabulary: int,
        head: str | None,
        site: Callable[[str], tuple[int | None, Sublayer]],
        forward: Callable[[nn.Module, Tensor, Tensor | None], Tensor],
    ) -> None:
        super().__init__()
        self.network, self.calls, self.own_forward = network, calls, forward
        self.head = None if head is None else network.get_submodule(head)
        self._vocabulary = vocabulary
        named = network.named_parameters(remove_duplicate=False)
        self._places = {parameter: (name, site) for name, parameter in named}
        self.num_layers = 0
        self.pseudo_queries: tuple[nn.Parameter, ...] = ()
        """The parameters that decide the depth weights, in forward order."""
        self.families_given = frozenset[SiteKey]()
        """The sites whose families are a description's own."""

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens."""
        return self._vocabulary

    def name_of(self, parameter: nn.Parameter) -> str:
        """The name of a parameter in the model."""
        return self._places[parameter][0]

    def place(self, asked: Asked) -> SiteKey:
        """The site that a read is of."""
        return self.place_of(asked.parameter, asked.stream)

    def place_of(self, parameter: nn.Parameter | None, stream: str | None = None) -> SiteKey:
        """The site that a parameter is of; none: the read-out."""
        if parameter is None:
            return SiteKey(self.num_layers, Sublayer.FINAL, stream)
        if parameter not in self._places:
            raise AdapterError("`describe` gives a `parameter` that is not in the model; give the pseudo-query")
        name, site = self._places[parameter]
        layer, sublayer = site(name)
        return SiteKey(self.num_layers if layer is None else layer, sublayer, stream)

    def prepare(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Inputs:
        """The mask, where it masks something."""
        return Inputs(None if attention_mask is None or bool(attention_mask.all()) else attention_mask)

    def begin(self, input_ids: Int[Tensor, "batch pos"]) -> DepthStream[Source]:
        """The token ids, in a stream's form."""
        return DepthStream([], Source(input_ids, None), Arithmetic(lambda _, output: output, lambda state, _: state))

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
        """The whole model, up to what its head reads (without a head: its logits); arguments as for `Network.run`."""
        assert start == 0, "an adapted model runs as a whole"
        if before_layer is not None:
            before_layer(0, stream)
        ids = stream.sources()[0].state

        def answer(asked: Asked) -> Tensor:
            if not asked.sources:
                return _finished(asked, asked.like)
            key = self.place(asked)
            states, found = _routed(asked, ids.shape, None if overrides is None else overrides.get(key))
            if observe is not None:
                observe(key, states, found if asked.parallel is None else _with_streams(found, asked.parallel))
            return _finished(asked, found.mixture.reshape(asked.like.shape))

        def change(parallel: Streams) -> Streams:
            override = None if overrides is None else overrides.get(self.place_of(parallel.parameter))
            return parallel if override is None else changed(parallel, override.streams)

        with contextlib.ExitStack() as stack:
            streams = StreamRun()
            for call in self.calls:
                stack.enter_context(_standing_in(call, streams, answer, change))
            if self.head is None:
                return self.own_forward(self.network, ids, inputs.mask)
            read: list[Tensor] = []

            def before_head(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                read.append(given[0])
                return (given[0][:, -1:],)  # (logits of every position are asked for later, where they are scored)

            stack.callback(self.head.register_forward_pre_hook(before_head).remove)
            self.own_forward(self.network, ids, inputs.mask)
        return read[0]

    def unembed(self, state: Float[Tensor, "... d"]) -> Float[Tensor, "... vocab"]:
        """Next-token logits, in float32."""
        return state.float() if self.head is None else self.head(state).float()


def _routed(asked: Asked, shape: torch.Size, override: SiteOverride | None = None) -> tuple[list[Source], Read]:
    """A site's sources and what it reads of them, each `[batch, pos, d]`.

    Raises:
        AdapterError: a description that says too little, too much, or gives a tensor of the wrong shape.
    """
    states = [state.reshape(*shape, -1) for state in asked.sources]
    if asked.families is not None:
        _agree("families", len(asked.families), len(states))
    given = [name for name in ("query", "logits", "weights") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise AdapterError(f"`describe` gives {' and '.join(given) or 'no weights'}; give query, logits or weights")
    scoring: Scoring
    if asked.query is not None:
        scoring = PseudoQuery(asked.query, asked.recency_bias)
    elif asked.logits is not None:
        count = asked.logits.shape[0] if asked.logits.ndim else 0
        _agree("logits", count, len(states))
        fixed = asked.logits.ndim == 1
        scoring = LearnedLogits(asked.logits) if fixed else GivenLogits(asked.logits.reshape(count, *shape))
    else:
        assert asked.weights is not None, "one of three"
        _agree("weights", len(asked.weights), len(states))
        weights = asked.weights.reshape(len(states), *shape, -1)
        if weights.shape[-1] > 1:  # (a source is then what the site takes of it, at the mean size of its weights)
            sizes = weights.abs().mean(-1, keepdim=True)
            gates = weights / sizes.clamp(min=torch.finfo(weights.dtype).tiny)
            states, weights = [state * gate for state, gate in zip(states, gates, strict=True)], sizes
        scoring = FreeWeights(weights[..., 0])
    sources = [Source(state, asked.eps) for state in states]
    base = None if asked.base is None else asked.base.reshape(*shape, -1)
    return sources, route(sources, scoring, override, base)


def _with_streams(read: Read, streams: Streams) -> Read:
    return read._replace(streams=drawn(streams), mixing=None if streams.comb is None else streams.comb.float())


def _agree(name: str, found: int, sources: int) -> None:
    if found != sources:
        raise AdapterError(f"`describe` gives {found} `{name}` for {sources} sources; give one for each, in order")


def _finished(asked: Asked, mixture: Tensor) -> Tensor:
    return mixture if asked.finish is None else asked.finish(mixture)


@contextlib.contextmanager
def _standing_in(
    call: RoutingCall | StreamCall,
    run: StreamRun,
    answer: Callable[[Asked], Tensor],
    change: Callable[[Streams], Streams],
    *,
    watch: Watch | None = None,
) -> Iterator[None]:
    """The call answered by us for as long as this lasts.

    Args:
        call: what is stood in for.
        run: the streams of this run, where the call reads some.
        answer: what each read gives.
        change: what parallel streams are changed to before they are read.
        watch: hears each read and the call's own result, which then is what the call gives.
    """
    original = getattr(call.owner, call.name)

    def read_sources(*given: Any, **named: Any) -> Any:
        assert isinstance(call, RoutingCall), "one of two"
        own = None if watch is None else original(*given, **named)  # (before: it may write into what it was given)
        asked = call.describe(*given, **named)
        several = [asked] if isinstance(asked, Asked) else list(asked)
        if watch is None:
            reads = tuple(answer(each) for each in several)
            return reads[0] if isinstance(asked, Asked) else reads
        results: Any = [own] if isinstance(own, Tensor) else own
        for each, result in zip(several, results, strict=True):
            watch(each, result)
        return own

    def read_streams(*given: Any, **named: Any) -> Any:
        assert isinstance(call, StreamCall), "one of two"
        own = original(*given, **named)
        streams = change(call.describe(own, *given, **named))
        asked = run.asked(streams)
        if watch is None:
            own = streams.give(answer(asked).to(streams.read.dtype), streams.post, streams.comb)
        else:
            watch(asked, streams.read)
        run.leave(streams)
        return own

    setattr(call.owner, call.name, read_streams if isinstance(call, StreamCall) else read_sources)
    try:
        yield
    finally:
        setattr(call.owner, call.name, original)


def adapt(
    network: nn.Module,
    *calls: RoutingCall | StreamCall,
    vocabulary: int,
    context: int,
    head: str | None = "lm_head",
    site: Callable[[str], tuple[int | None, Sublayer]] = site_of,
    forward: Callable[[nn.Module, Tensor, Tensor | None], Tensor] = _own_forward,
    name: str = "adapted",
    dialect: str = "adapted",
    tokenizer: Path | None = None,
    queries: Callable[[str], bool] | None = None,
) -> AttnResModel:
    """A model of any architecture as this library sees one: sites, depth weights, ablations, `measure`.

    Every ablation is a full forward pass: nothing before it is shared. The model is put in evaluation mode.

    Args:
        network: the model, loaded, on its device.
        calls: the calls that read depth sources.
        vocabulary: how many tokens there are.
        context: the longest prompt, in tokens.
        head: the name of the unembedding, if logits are what it gives; None: something follows it. Logits of all
            positions are then kept, which takes memory.
        site: from the name of a pseudo-query's parameter to its layer (None: the read-out) and sublayer.
        forward: from the model, token ids and mask (None: no padding) to logits.
        name: what the model is called.
        dialect: what its routing is called.
        tokenizer: its tokenizer.json, for prompts given as text.
        queries: whether a parameter, by its name, holds a pseudo-query that is read; None: what is read is all there
            is. A site whose call was not seen is then an error, where it would be missing silently.

    Raises:
        AdapterError: no call was made, a site was read twice, none was read of a pseudo-query, or our mixture is not
            the call's own.
    """
    network.eval()
    adapted = AdaptedNetwork(network, calls, vocabulary, head, site, forward)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, PROBE, generator=generator).to(adapted.device)
    with torch.inference_mode():
        with PeakMemory() as held:
            reads = _own_reads(adapted, ids)
        layers = [key.layer for key in reads if key.sublayer is not Sublayer.FINAL]
        if not layers:
            where = ", ".join(f"{call.owner!r}.{call.name}" for call in calls) or "none given"
            raise AdapterError(f"no routing call was seen ({where}); name what the model itself calls to read sources")
        adapted.num_layers = max(layers) + 1
        _check_all_seen(adapted, reads, queries)
        sites = tuple(_site(adapted.place(asked), asked) for asked in reads.values())
        own, ours = forward(network, ids, None).float(), adapted.unembed(adapted.run(adapted.begin(ids), Inputs(None)))
    if own.shape != ours.shape or (own - ours).abs().max() > 10 * TOLERANCE * own.abs().max():
        raise AdapterError(
            f"the model's logits are not those of its head {head!r} alone; give head=None, or the head's own name"
        )
    given = (asked for asked in reads.values() if asked.families is not None)
    adapted.families_given = frozenset(map(adapted.place, given))
    adapted.pseudo_queries = tuple(
        asked.parameter for asked in reads.values() if asked.weights is None and asked.parameter is not None
    )
    most = max(reads.values(), key=lambda asked: len(asked.sources))
    outline = Outline(
        name,
        dialect,
        sites,
        adapted.num_layers,
        context,
        tokenizer,
        width=most.like.shape[-1],
        working=SPARE * held.bytes // (ids.numel() * FLOAT32),
        num_blocks=len(most.sources) - (most.base is None),
        vocabulary=vocabulary,
        last_width=vocabulary if head is None else most.like.shape[-1],
    )
    return AttnResModel(outline, adapted)


def _check_all_seen(
    adapted: AdaptedNetwork, reads: dict[SiteKey, Asked], queries: Callable[[str], bool] | None
) -> None:
    """Refuse a model that has a pseudo-query which no call was seen to use.

    Raises:
        AdapterError: names it.
    """
    seen = {adapted.name_of(asked.parameter) for asked in reads.values() if asked.parameter is not None}
    names = [name for name, _ in adapted.network.named_parameters(remove_duplicate=False)]
    if lost := [name for name in names if queries is not None and queries(name) and name not in seen]:
        where = ", ".join(f"{getattr(call.owner, '__name__', call.owner)}.{call.name}" for call in adapted.calls)
        raise AdapterError(
            f"no call was seen to read with {', '.join(lost[:4])}{', ...' if len(lost) > 4 else ''} (seen: {where}); "
            "name the other modules too that call it: one RoutingCall for each"
        )


def _own_reads(adapted: AdaptedNetwork, ids: Tensor) -> dict[SiteKey, Asked]:
    """Every read of the model's own run, in order, its result compared with ours.

    Raises:
        AdapterError: a site was read twice, or our mixture is not the call's own.
    """
    reads: dict[SiteKey, Asked] = {}

    def watch(asked: Asked, own: Tensor) -> None:
        key = adapted.place(asked)
        if key in reads:
            raise AdapterError(f"two reads are of {_words(key)}; give each its own `parameter` or `stream`")
        mixture = _routed(asked, ids.shape)[1].mixture.reshape(asked.like.shape) if asked.sources else asked.like
        ours = _finished(asked, mixture)
        far = float((ours.float() - own.float()).abs().max() / own.float().abs().max().clamp(min=1e-6))
        if far > max(TOLERANCE, 4 * torch.finfo(own.dtype).eps):
            raise AdapterError(
                f"at {_words(key)} the mixture as described is {far:.2g} from the model's own, relative to its "
                "largest value; check the order of the sources, the query's gain and scale, `eps` and `finish`"
            )
        if asked.sources:
            reads[key] = asked

    with contextlib.ExitStack() as stack:
        streams = StreamRun()
        for call in adapted.calls:
            stack.enter_context(_standing_in(call, streams, lambda asked: asked.like, lambda found: found, watch=watch))
        adapted.own_forward(adapted.network, ids, None)
    return reads


def _words(key: SiteKey) -> str:
    where = "the read-out" if key.sublayer is Sublayer.FINAL else f"layer {key.layer}'s {key.sublayer}"
    return f"{where}, stream {key.stream}" if key.stream else where


def _site(key: SiteKey, asked: Asked) -> Site:
    sources = asked.sources
    pairs = ((i, j) for j in range(len(sources)) for i in range(j))
    copies = tuple((i, j) for i, j in pairs if torch.equal(sources[i], sources[j]))
    own = families(len(sources)) if asked.families is None else tuple(asked.families)
    adds, free = asked.base is not None, asked.weights is not None
    streams = asked.parallel
    return Site(
        *(key.layer, key.sublayer, own, key.stream, copies),
        adds_to_state=adds,
        free=free,
        parallel=0 if streams is None else streams.states.shape[2],
        mixes=streams is not None and streams.comb is not None,
        writes=streams is not None and streams.post is not None,
    )
