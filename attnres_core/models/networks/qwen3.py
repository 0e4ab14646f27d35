"""The Qwen3 backbone: `transformers`' attention with norms of queries and keys, its MLP and its rotary tables."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import (
    Qwen3Attention,
    Qwen3MLP,
    Qwen3PreTrainedModel,
    Qwen3RotaryEmbedding,
)

from attnres_core.models.networks.decoder import DecoderNetwork, ReadsApart


class Qwen3AttnResConfig(Qwen3Config):
    """A Qwen3 config that also holds the routing's own fields (`attnres_mode`, `attnres_num_blocks`, ...)."""

    model_type = "qwen3_attnres"


class Attention(ReadsApart, Qwen3Attention):
    """`transformers`' attention."""


class Qwen3AttnResForCausalLM(DecoderNetwork, Qwen3PreTrainedModel):
    """A language model of any Qwen3-shaped dialect; a subclass of `PreTrainedModel` for `save_pretrained`."""

    config_class = Qwen3AttnResConfig
    rotary = Qwen3RotaryEmbedding

    @staticmethod
    def attention(config: Any, index: int) -> nn.Module:
        """A layer's attention."""
        return Attention(config=config, layer_idx=index)

    @staticmethod
    def feed_forward(config: Any) -> nn.Module:
        """A layer's MLP."""
        return Qwen3MLP(config)
