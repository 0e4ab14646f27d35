"""The Llama backbone: `transformers`' attention, MLP and rotary tables; FLA's `transformer` computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaMLP,
    LlamaPreTrainedModel,
    LlamaRotaryEmbedding,
)

from attnres_core.models.networks.decoder import DecoderNetwork, ReadsApart


class LlamaAttnResConfig(LlamaConfig):
    """A Llama config that also holds the routing's own fields (`attnres_mode`, `attnres_num_blocks`, ...)."""

    model_type = "llama_attnres"


def llama_config(sizes: Mapping[str, int], *, eps: float, theta: float, ties: bool) -> LlamaAttnResConfig:
    """The config of a model that has Llama's parts under other names.

    Args:
        sizes: by the names of Llama's config.
        eps: of the norms.
        theta: the base of the rotary angles.
        ties: whether the embedding is the unembedding, too.
    """
    rope = {"rope_type": "default", "rope_theta": theta}
    fields: dict[str, Any] = {**sizes, "rms_norm_eps": eps, "rope_parameters": rope, "tie_word_embeddings": ties}
    return LlamaAttnResConfig(**fields)


class Attention(ReadsApart, LlamaAttention):
    """`transformers`' attention."""


class LlamaAttnResForCausalLM(DecoderNetwork, LlamaPreTrainedModel):
    """A language model of any Llama-shaped dialect; a subclass of `PreTrainedModel` for `save_pretrained`."""

    config_class = LlamaAttnResConfig
    rotary = LlamaRotaryEmbedding

    @staticmethod
    def attention(config: Any, index: int) -> nn.Module:
        """A layer's attention."""
        return Attention(config=config, layer_idx=index)

    @staticmethod
    def feed_forward(config: Any) -> nn.Module:
        """A layer's MLP."""
        return LlamaMLP(config)
