"""A network of decoder layers of any backbone, around our routing operation in any dialect.

A layer has an attention, an MLP and a norm before each; what they compute is the backbone's (`qwen3`, `llama`,
`nanogpt`). Which states they read, and with which routing parameters, is the dialect's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from attnres_core.models.dialects.schedule import DepthStream, Dialect, sites_of
from attnres_core.models.networks.network import LayeredNetwork
from attnres_core.models.networks.routing import LearnedLogits, PseudoQuery, Scoring, Source, inverse_rms, summing
from attnres_core.quantities.vocabulary import SiteKey, Sublayer
from attnres_core.shapes import Bool, Float, Int


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of every layer beside the sources: rotary tables and the attention mask of a batch."""

    rotary: tuple[Tensor, Tensor]  # cos, sin: (batch, pos, head_dim)
    mask: Tensor | None  # (batch, 1, pos, pos), True where a position may look; None: causal, no padding

    def rows(self, index: Tensor) -> Inputs:
        """The same inputs for a batch made of the given rows (with repeats)."""
        mask = None if self.mask is None else self.mask[index]
        return Inputs((self.rotary[0][index], self.rotary[1][index]), mask)

    def to(self, device: torch.device) -> Inputs:
        """The same inputs on a device."""
        cos, sin = self.rotary
        return Inputs((cos.to(device), sin.to(device)), None if self.mask is None else self.mask.to(device))


def add_routing(owner: nn.Module, prefix: str, config: Any, dialect: Dialect) -> None:
    """Give `owner` one site's routing parameters, named as the public checkpoints name them.

    Learned logits, one for each source that a site can have; or a pseudo-query, its key norm and a recency bias.
    """
    if dialect.has_logits:
        most = max(len(site.sources) for site in sites_of(dialect))
        owner.register_parameter(f"{prefix}_logits", nn.Parameter(torch.zeros(most)))
        return
    owner.add_module(f"{prefix}_proj", nn.Linear(config.hidden_size, 1, bias=False))
    owner.add_module(f"{prefix}_norm", Qwen3RMSNorm(config.hidden_size, eps=config.rms_norm_eps))
    if dialect.has_bias:
        owner.register_parameter(f"{prefix}_bias", nn.Parameter(torch.zeros(())))


class RMSNorm(Qwen3RMSNorm):
    """`transformers`' norm in half its passes over memory: x / rms(x), computed in float32, times the gain."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """The normalised state, in its own dtype."""
        scaled = hidden_states * inverse_rms(hidden_states, self.variance_epsilon).unsqueeze(-1)  # in float32
        return self.weight * scaled.to(hidden_states.dtype)


class DecoderLayer(nn.Module):
    """A decoder layer's modules, and the routing parameters of its sites."""

    def __init__(self, config: Any, attention: Any, mlp: nn.Module, dialect: Dialect) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        for norm in ("q_norm", "k_norm"):
            if hasattr(attention, norm):
                setattr(attention, norm, RMSNorm(attention.head_dim, eps=config.rms_norm_eps))
        for sublayer in (Sublayer.ATTN, Sublayer.MLP):
            add_routing(self, f"{sublayer}_res", config, dialect)
            if dialect.has_null_source:
                self.register_parameter(f"{sublayer}_null_source", nn.Parameter(torch.zeros(config.hidden_size)))
        if _VALUES in dialect.streams(1, Sublayer.ATTN):
            add_routing(self, f"{_VALUES}_res", config, dialect)

    def write(self, sublayer: Sublayer, read: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """A sublayer's output for what it has read, in the read's dtype; attention may read its values apart."""
        if sublayer is Sublayer.MLP:
            output = self.mlp(self.post_attention_layernorm(read[0]))
        elif len(read) == 1:
            output, _ = self.self_attn(self.input_layernorm(read[0]), inputs.rotary, inputs.mask)
        else:
            state, values = (self.input_layernorm(each) for each in read)
            output = self.self_attn.apart(state, values, inputs.rotary, inputs.mask)
        return output.to(read[0].dtype)


_VALUES = "v"
"""The stream of attention's values, in dialects that read them apart."""


class ReadsApart:
    """A library's attention that can make its values of another state than its queries and keys."""

    def apart(
        self: Any,
        state: Float[Tensor, "batch pos d"],
        values: Float[Tensor, "batch pos d"],
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Float[Tensor, "batch pos d"]:
        """Return what `forward` gives, with values made of `values`."""
        heads = (*state.shape[:-1], -1, self.head_dim)
        query, key = self.q_proj(state).view(heads), self.k_proj(state).view(heads)
        if hasattr(self, "q_norm"):
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = apply_rotary_pos_emb(query.transpose(1, 2), key.transpose(1, 2), *rotary)
        value = self.v_proj(values).view(heads).transpose(1, 2)
        mixed, _ = sdpa_attention_forward(self, query, key, value, mask, scaling=self.scaling)
        return self.o_proj(mixed.reshape(*state.shape[:-1], -1))


class DecoderBody(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Any, dialect: Dialect, backbone: type[DecoderNetwork]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, backbone.attention(config, index), backbone.feed_forward(config), dialect)
            for index in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = backbone.rotary(config=config)
        if dialect.has_readout:
            add_routing(self, "final_res", config, dialect)


class DecoderNetwork(LayeredNetwork, PreTrainedModel):
    """A language model of one backbone and any dialect; a backbone mixes it with its `PreTrainedModel`."""

    config: Any
    """A config with the names of Qwen3's and Llama's."""
    float32 = ("rotary_emb",)  # rounded angles would be other positions
    rotary: ClassVar[Any]
    """The backbone's module of rotary tables, made from a config."""
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 (transformers' own form)

    def __init__(self, config: Any, dialect: Dialect) -> None:
        super().__init__(config)
        self.dialect = dialect
        self.model = DecoderBody(config, dialect, type(self))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @staticmethod
    @abstractmethod
    def attention(config: Any, index: int) -> nn.Module:
        """A layer's attention: from a state, rotary tables and a mask to its output and anything; with `apart`."""

    @staticmethod
    @abstractmethod
    def feed_forward(config: Any) -> nn.Module:
        """A layer's MLP."""

    @property
    def key_eps(self) -> float:
        """The epsilon of the norms that make sources keys."""
        return self.config.rms_norm_eps

    @property
    def vocabulary(self) -> int:
        """Return how many tokens there are."""
        return self.config.vocab_size

    def make_tables(self) -> None:
        """The rotary tables."""
        self.model.rotary_emb = self.rotary(self.config)

    def prepare(
        self, input_ids: Int[Tensor, "batch pos"], attention_mask: Int[Tensor, "batch pos"] | None = None
    ) -> Inputs:
        """Rotary tables and mask; positions count from the first real token, so padding changes nothing."""
        batch, length = input_ids.shape
        mask = None
        positions = torch.arange(length, device=input_ids.device).expand(batch, -1)
        if attention_mask is not None and not bool(attention_mask.all()):
            real = attention_mask.bool()
            positions = (real.long().cumsum(-1) - 1).clamp(min=0)
            mask = causal_mask(real)
        return Inputs(self.model.rotary_emb(self.model.embed_tokens.weight, positions), mask)

    def begin(self, input_ids: Int[Tensor, "batch pos"]) -> DepthStream[Source]:
        """The depth stream before layer 0."""
        eps = self.key_eps
        return self.dialect.begin(Source(self.model.embed_tokens(input_ids), eps), summing(eps, torch.add, torch.sub))

    def sources(self, stream: DepthStream[Source], key: SiteKey) -> list[Source]:
        """The stream's, after the sublayer's own null source where there is one."""
        found = super().sources(stream, key)
        if not self.dialect.has_null_source:
            return found
        null = getattr(self.model.layers[key.layer], f"{key.sublayer}_null_source")
        return [Source(null.expand_as(stream.state().state), self.key_eps), *found]

    def scoring(self, key: SiteKey) -> Scoring:
        """A site's learned logits; or its pseudo-query times its key norm's gain, with any recency bias."""
        owner = self.model if key.sublayer is Sublayer.FINAL else self.model.layers[key.layer]
        prefix = f"{key.stream if key.stream == _VALUES else key.sublayer}_res"
        if self.dialect.has_logits:
            return LearnedLogits(getattr(owner, f"{prefix}_logits"))
        gained = getattr(owner, f"{prefix}_proj").weight[0] * getattr(owner, f"{prefix}_norm").weight
        return PseudoQuery(gained, getattr(owner, f"{prefix}_bias", None))

    def write(self, layer: int, sublayer: Sublayer, read: Sequence[Tensor], inputs: Inputs) -> Source:
        """A sublayer's output for what it has read."""
        return Source(self.model.layers[layer].write(sublayer, read, inputs), self.key_eps)

    def normalise(self, state: Tensor) -> Tensor:
        """The last norm."""
        return self.model.norm(state)

    def unembed(self, state: Float[Tensor, "... d"]) -> Float[Tensor, "... vocab"]:
        """Next-token logits, in float32."""
        return self.lm_head(state).float()

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"] | None:
        """The unembedding, where it is float32."""
        return self.lm_head.weight if self.lm_head.weight.dtype == torch.float32 else None

    def forward(self, input_ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos vocab"]:
        """Next-token logits of unpadded input: the training path."""
        return self.lm_head(self.run(self.begin(input_ids), self.prepare(input_ids)))


def causal_mask(real: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch 1 pos pos"]:
    """True where a position may look: earlier real tokens, and itself (a padded row must not be all False)."""
    length = real.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=real.device)
    return ((causal & real[:, None, :]) | itself)[:, None]
