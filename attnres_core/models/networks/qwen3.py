"""The Qwen3-shaped AttnRes network: `transformers`' attention, MLP and norms around our routing operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import (
    Qwen3Attention,
    Qwen3MLP,
    Qwen3PreTrainedModel,
    Qwen3RMSNorm,
    Qwen3RotaryEmbedding,
)

from attnres_core.models.dialects.schedule import DepthStream, Dialect
from attnres_core.models.networks.network import LayeredNetwork
from attnres_core.models.networks.routing import Source, inverse_rms
from attnres_core.quantities.vocabulary import SiteKey, Sublayer
from attnres_core.shapes import Bool, Float, Int


class Qwen3AttnResConfig(Qwen3Config):
    """A Qwen3 config that also holds the routing's own fields (`attnres_mode`, `attnres_num_blocks`, ...)."""

    model_type = "qwen3_attnres"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every layer needs beside the sources: rotary tables and the attention mask of a batch."""

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


def add_routing(owner: nn.Module, prefix: str, config: Qwen3Config, has_bias: bool) -> None:
    """Give `owner` one site's pseudo-query, key norm and bias, named as the public checkpoints name them."""
    owner.add_module(f"{prefix}_proj", nn.Linear(config.hidden_size, 1, bias=False))
    owner.add_module(f"{prefix}_norm", Qwen3RMSNorm(config.hidden_size, eps=config.rms_norm_eps))
    if has_bias:
        owner.register_parameter(f"{prefix}_bias", nn.Parameter(torch.zeros(())))


class RMSNorm(Qwen3RMSNorm):
    """`transformers`' norm in half its passes over memory: x / rms(x), computed in float32, times the gain."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """The normalised state, in its own dtype."""
        scaled = hidden_states * inverse_rms(hidden_states, self.variance_epsilon).unsqueeze(-1)  # in float32
        return self.weight * scaled.to(hidden_states.dtype)


class AttnResLayer(nn.Module):
    """A decoder layer's modules; which states its two sublayers read is the dialect's affair."""

    def __init__(self, config: Qwen3Config, index: int, has_bias: bool) -> None:
        super().__init__()
        self.self_attn = Qwen3Attention(config=config, layer_idx=index)
        self.mlp = Qwen3MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        for norm in ("q_norm", "k_norm"):
            setattr(self.self_attn, norm, RMSNorm(self.self_attn.head_dim, eps=config.rms_norm_eps))
        for sublayer in (Sublayer.ATTN, Sublayer.MLP):
            add_routing(self, f"{sublayer}_res", config, has_bias)

    def write(self, sublayer: Sublayer, mixture: Tensor, inputs: Inputs) -> Tensor:
        """A sublayer's output for what it has read, in the mixture's dtype."""
        if sublayer is Sublayer.ATTN:
            output, _ = self.self_attn(self.input_layernorm(mixture), inputs.rotary, inputs.mask)
        else:
            output = self.mlp(self.post_attention_layernorm(mixture))
        return output.to(mixture.dtype)


class AttnResBody(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Qwen3Config, dialect: Dialect) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            AttnResLayer(config, index, dialect.has_bias) for index in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = Qwen3RotaryEmbedding(config=config)
        if dialect.has_readout:
            add_routing(self, "final_res", config, dialect.has_bias)


class Qwen3AttnResForCausalLM(LayeredNetwork, Qwen3PreTrainedModel):
    """A language model of any Qwen3-shaped dialect; a subclass of `PreTrainedModel` for `save_pretrained`."""

    config_class = Qwen3AttnResConfig
    float32 = ("rotary_emb",)  # rounded angles would be other positions
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 (transformers' own form)

    def __init__(self, config: Qwen3Config, dialect: Dialect) -> None:
        super().__init__(config)
        self.dialect = dialect
        self.model = AttnResBody(config, dialect)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.config.vocab_size

    def make_tables(self) -> None:
        """The rotary tables."""
        self.model.rotary_emb = Qwen3RotaryEmbedding(self.config)

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
        eps = self.config.rms_norm_eps

        def accumulate(state: Source, output: Source) -> Source:
            return Source(state.state + output.state, eps)

        return self.dialect.begin(Source(self.model.embed_tokens(input_ids), eps), accumulate)

    def query(self, key: SiteKey) -> tuple[Tensor, Tensor | None]:
        """A site's pseudo-query times its key norm's gain, and its recency bias in dialects that have one."""
        owner = self.model if key.sublayer is Sublayer.FINAL else self.model.layers[key.layer]
        prefix = f"{key.sublayer}_res"
        gained = getattr(owner, f"{prefix}_proj").weight[0] * getattr(owner, f"{prefix}_norm").weight
        return gained, getattr(owner, f"{prefix}_bias", None)

    def write(self, layer: int, sublayer: Sublayer, read: Sequence[Tensor], inputs: Inputs) -> Source:
        """A sublayer's output for what it has read."""
        return Source(self.model.layers[layer].write(sublayer, read[0], inputs), self.config.rms_norm_eps)

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
