"""A small model with hyper-connections, of deepseek_v4's shape: four parallel streams in place of the residual one.

All experts are active, so that no routing between experts jumps where an ablation changes a state a little. Attention
is over a sliding window that holds the whole prompt, and in every other layer over compressed positions, too.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.deepseek_v4.configuration_deepseek_v4 import DeepseekV4Config
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4ForCausalLM, DeepseekV4HyperConnection

LAYERS = 9
STREAMS = 4
IDENTITY = 4.0
"""What a stream's logit of staying where it is has over the others' at first: it keeps .95 of itself."""


def config(vocabulary: int, longest: int) -> dict[str, Any]:
    """Fields of the configuration.

    Args:
        vocabulary: entries of the tokenizer; entry 0 ends a text.
        longest: positions that a text may have.
    """
    return {
        "vocab_size": vocabulary,
        "hidden_size": 96,
        "moe_intermediate_size": 128,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 24,
        "partial_rotary_factor": 0.5,
        "q_lora_rank": 48,
        "o_groups": 2,
        "o_lora_rank": 48,
        "n_routed_experts": 2,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "router_aux_loss_coef": 0.0,
        "mlp_layer_types": ["moe"] * LAYERS,
        "layer_types": (["sliding_attention", "heavily_compressed_attention"] * LAYERS)[:LAYERS],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 16},
        "sliding_window": 128,
        "index_n_heads": 2,
        "index_head_dim": 16,
        "index_topk": 16,
        "hc_mult": STREAMS,
        "num_nextn_predict_layers": 0,
        "max_position_embeddings": longest,
        "tie_word_embeddings": True,
        "use_cache": False,
        "bos_token_id": None,
        "eos_token_id": 0,
    }


def build(vocabulary: int, longest: int) -> DeepseekV4ForCausalLM:
    """The model at an initialisation in which streams hardly mix, as hyper-connections begin (arXiv:2409.19606).

    The rest is as `transformers` has it: reads weigh all streams alike, and every output goes to all of them.
    """
    model = DeepseekV4ForCausalLM(DeepseekV4Config(**config(vocabulary, longest)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, DeepseekV4HyperConnection):
                mixing = module.base[-STREAMS * STREAMS :].view(STREAMS, STREAMS)
                mixing.fill_diagonal_(IDENTITY)
    return model
