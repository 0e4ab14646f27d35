"""Any torch language model whose depth mixing is one call: the call is stood in for by our routing operation.

The caller says, in one function with the call's own parameters, what its arguments are. Everything else is found by
running the model once: the sites, their sources, which sources are one tensor. What the call gives without an
intervention is compared with the model's own, so that a wrong description is refused and not measured.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attnres_core.models.dialects.schedule import Arithmetic, DepthStream, families
from attnres_core.models.geometry import Outline
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.network import BeforeLayer, Network, Observer, SiteOverrides
from attnres_core.models.networks.routing import PseudoQuery, Source, route
from attnres_core.quantities.vocabulary import Site, SiteKey, Sublayer
from attnres_core.shapes import Float, Int

TOLERANCE = 1e-4
"""The largest difference between a call's own result and ours that rounding explains, relative to the result."""
PROBE = (2, 8)
"""Rows and positions of the random tokens that a model is looked at with."""


class AdapterError(ValueError):
    """A model that cannot be adapted as described; says what was found and what to change."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One site's read, as the model's own call was asked for it."""

    sources: Sequence[Tensor]
    """In order, the current state last, each `[..., d]`; already normalised where `eps` is None."""
    query: Tensor
    """The pseudo-query times its key norm's gain and any scale, `[d]`."""
    eps: float | None
    """Of the norm that makes a source a key; None: a source is its own key, and its own value."""
    parameter: nn.Parameter
    """The one that holds the pseudo-query: its name in the model says which site this is."""
    stream: str | None = None
    """The stream, where one call reads several."""
    recency_bias: Tensor | None = None
    """Added to the current source's logit, where there is one."""
    finish: Callable[[Tensor], Tensor] | None = None
    """What the call does with the mixture before it returns it, such as the norm that follows; None: nothing."""


@dataclass(frozen=True, slots=True)
class RoutingCall:
    """The call that reads depth sources."""

    owner: Any
    """What has it as an attribute: the Python module of a function, the class of a routing module."""
    name: str
    """The attribute: the function's name, or `forward`."""
    describe: Callable[..., Asked | Sequence[Asked]]
    """From the call's own arguments to what they are; several where one call returns a tuple of streams."""


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
    """Logits as most models give them."""
    given = {} if mask is None else {"attention_mask": mask}
    output = network(input_ids=ids, **given)
    return output if isinstance(output, Tensor) else output.logits


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
        calls: Sequence[RoutingCall],
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

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens."""
        return self._vocabulary

    def place(self, asked: Asked) -> SiteKey:
        """The site that a read is of."""
        if asked.parameter not in self._places:
            raise AdapterError("`describe` gives a `parameter` that is not in the model; give the pseudo-query")
        name, site = self._places[asked.parameter]
        layer, sublayer = site(name)
        return SiteKey(self.num_layers if layer is None else layer, sublayer, asked.stream)

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
        batch, length = ids.shape

        def answer(asked: Asked) -> Tensor:
            key, shape = self.place(asked), asked.sources[-1].shape
            states = [Source(state.reshape(batch, length, shape[-1]), asked.eps) for state in asked.sources]
            scoring = PseudoQuery(asked.query, asked.recency_bias)
            found = route(states, scoring, None if overrides is None else overrides.get(key))
            if observe is not None:
                observe(key, states, found)
            mixture = found.mixture.reshape(shape)
            return mixture if asked.finish is None else asked.finish(mixture)

        with contextlib.ExitStack() as stack:
            for call in self.calls:
                stack.enter_context(_standing_in(call, answer))
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


@contextlib.contextmanager
def _standing_in(call: RoutingCall, answer: Callable[[Asked], Tensor]) -> Iterator[None]:
    """The call answered by us for as long as this lasts."""
    original = getattr(call.owner, call.name)

    def stand_in(*given: Any, **named: Any) -> Any:
        asked = call.describe(*given, **named)
        return answer(asked) if isinstance(asked, Asked) else tuple(answer(each) for each in asked)

    setattr(call.owner, call.name, stand_in)
    try:
        yield
    finally:
        setattr(call.owner, call.name, original)


def adapt(
    network: nn.Module,
    *calls: RoutingCall,
    vocabulary: int,
    context: int,
    head: str | None = "lm_head",
    site: Callable[[str], tuple[int | None, Sublayer]] = site_of,
    forward: Callable[[nn.Module, Tensor, Tensor | None], Tensor] = _own_forward,
    name: str = "adapted",
    dialect: str = "adapted",
    tokenizer: Path | None = None,
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

    Raises:
        AdapterError: no call was made, a site was read twice, or our mixture is not the call's own.
    """
    network.eval()
    adapted = AdaptedNetwork(network, calls, vocabulary, head, site, forward)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, PROBE, generator=generator).to(adapted.device)
    with torch.inference_mode():
        reads = _own_reads(adapted, ids)
        layers = [key.layer for key in reads if key.sublayer is not Sublayer.FINAL]
        if not layers:
            where = ", ".join(f"{call.owner!r}.{call.name}" for call in calls) or "none given"
            raise AdapterError(f"no routing call was seen ({where}); name what the model itself calls to read sources")
        adapted.num_layers = max(layers) + 1
        sites = tuple(_site(adapted.place(asked), asked.sources) for asked in reads.values())
        own, ours = forward(network, ids, None).float(), adapted.unembed(adapted.run(adapted.begin(ids), Inputs(None)))
    if own.shape != ours.shape or (own - ours).abs().max() > 10 * TOLERANCE * own.abs().max():
        raise AdapterError(
            f"the model's logits are not those of its head {head!r} alone; give head=None, or the head's own name"
        )
    return AttnResModel(Outline(name, dialect, sites, adapted.num_layers, context, tokenizer), adapted)


def _own_reads(adapted: AdaptedNetwork, ids: Tensor) -> dict[SiteKey, Asked]:
    """Every read of the model's own run, in order, its result compared with ours."""
    reads: dict[SiteKey, Asked] = {}
    with contextlib.ExitStack() as stack:
        for call in adapted.calls:
            stack.enter_context(_watching(call, adapted, reads, ids.shape))
        adapted.own_forward(adapted.network, ids, None)
    return reads


@contextlib.contextmanager
def _watching(
    call: RoutingCall, adapted: AdaptedNetwork, reads: dict[SiteKey, Asked], shape: torch.Size
) -> Iterator[None]:
    original = getattr(call.owner, call.name)

    def watched(*given: Any, **named: Any) -> Any:
        result, described = original(*given, **named), call.describe(*given, **named)
        several = [described] if isinstance(described, Asked) else list(described)
        for asked, own in zip(several, [result] if isinstance(result, Tensor) else result, strict=True):
            key = adapted.place(asked)
            if key in reads:
                raise AdapterError(f"two reads are of {_words(key)}; give each its own `parameter` or `stream`")
            states = [Source(state.reshape(*shape, -1), asked.eps) for state in asked.sources]
            ours = route(states, PseudoQuery(asked.query, asked.recency_bias)).mixture.reshape(asked.sources[-1].shape)
            ours = ours if asked.finish is None else asked.finish(ours)
            far = float((ours.float() - own.float()).abs().max() / own.float().abs().max().clamp(min=1e-6))
            if far > max(TOLERANCE, 4 * torch.finfo(own.dtype).eps):
                raise AdapterError(
                    f"at {_words(key)} the mixture as described is {far:.2g} from the model's own, relative to its "
                    "largest value; check the order of the sources, the query's gain and scale, `eps` and `finish`"
                )
            reads[key] = asked
        return result

    setattr(call.owner, call.name, watched)
    try:
        yield
    finally:
        setattr(call.owner, call.name, original)


def _words(key: SiteKey) -> str:
    where = "the read-out" if key.sublayer is Sublayer.FINAL else f"layer {key.layer}'s {key.sublayer}"
    return f"{where}, stream {key.stream}" if key.stream else where


def _site(key: SiteKey, sources: Sequence[Tensor]) -> Site:
    pairs = ((i, j) for j in range(len(sources)) for i in range(j))
    copies = tuple((i, j) for i, j in pairs if torch.equal(sources[i], sources[j]))
    return Site(key.layer, key.sublayer, families(len(sources)), key.stream, copies)
