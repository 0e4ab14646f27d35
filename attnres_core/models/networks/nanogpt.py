"""The nanoGPT backbone of the BabyLM models: Llama's parts, with stacked q, k, v and a gate on attention's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from attnres_core.models.networks.llama import LlamaAttnResConfig, LlamaAttnResForCausalLM, llama_config

KEY_EPS = 1e-5
"""Of the norms that make sources keys, whatever `layer_norm_epsilon` says."""


def nanogpt_config(
    sizes: Mapping[str, int], *, eps: float, theta: float, gate: bool, ties: bool = True
) -> LlamaAttnResConfig:
    """The config of a model of nanoGPT's shape.

    Args:
        sizes: by the names of Llama's config.
        eps: of the norms before sublayers and the last one.
        theta: the base of the rotary angles.
        gate: whether attention's output is gated.
        ties: whether the embedding is the unembedding, too.
    """
    config = llama_config(sizes, eps=eps, theta=theta, ties=ties)
    config.use_attn_gate = gate
    return config


class NanoGPTAttention(nn.Module):
    """Causal attention; with a gate its output is multiplied by sigmoid(gate(input)) before the last projection."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.head_dim
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, width, bias=False) if config.use_attn_gate else None

    def forward(self, state: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> tuple[Tensor, None]:
        """The output `[batch, pos, d]`, and nothing."""
        return self.apart(state, state, rotary, mask), None

    def apart(self, state: Tensor, values: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """The output `[batch, pos, d]`, with values made of another state than queries, keys and gate."""
        heads = (*state.shape[:-1], -1, self.head_dim)
        made = list(self.c_attn(state).chunk(3, dim=-1))
        if values is not state:
            made[2] = self.c_attn(values).chunk(3, dim=-1)[2]
        query, key, value = (part.view(heads).transpose(1, 2) for part in made)
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        mixed = mixed.transpose(1, 2).reshape(state.shape)
        if self.gate is not None:
            mixed = mixed * self.gate(state).sigmoid()
        projected: Tensor = self.o_proj(mixed)
        return projected


class NanoGPTForCausalLM(LlamaAttnResForCausalLM):
    """A language model of nanoGPT's shape."""

    @staticmethod
    def attention(config: Any, index: int) -> nn.Module:
        """A layer's attention."""
        return NanoGPTAttention(config)

    @property
    def key_eps(self) -> float:
        """The epsilon of the norms that make sources keys."""
        return KEY_EPS
