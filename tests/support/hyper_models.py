"""Small models of `transformers` with hyper-connections, random weights: streams differ, no experts tie."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.glm5_next.configuration_glm5_next import Glm5NextTextConfig

VOCABULARY = 96
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "num_experts_per_tok": 2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
LATENT = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 2}
INDEX = {"index_topk": 32, "index_head_dim": 16, "index_n_heads": 2}
FIELDS = {
    "hy_v4": {**LATENT, **INDEX, "qk_rope_head_dim": 8, "head_dim": 16},
    "qwen4_exp_text": {
        **{"head_dim": 12, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 2},
        **{"linear_num_key_heads": 2, "linear_num_value_heads": 2, "hc_lowrank": 6, "ple_layer_ids": []},
        **{
            "shared_expert_intermediate_size": 16,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
        **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 12, "indexer_budget": 32},
        "indexer_compress_ratio": 4,
    },
    "glm5_next_text": {**LATENT, **INDEX, "linear_head_dim": 8, "linear_num_heads": 2, "qk_rope_head_dim": 0},
}


def hyper_model(kind):
    """A model by its model_type."""
    given = {**SIZES, **FIELDS[kind]}
    torch.manual_seed(0)
    if kind == "glm5_next_text":
        from glm5_text import WithHead  # (benchmarks/adapters, put on the path by the test)

        network = WithHead(Glm5NextTextConfig(**given))
    else:
        config = AutoConfig.for_model(kind, **given)
        network = AutoModelForCausalLM.from_config(config)
    for name, parameter in network.named_parameters():
        if name.endswith((".scale", ".hc_scale")):
            nn.init.ones_(parameter)
        elif "hc" in name or "hyper" in name:
            nn.init.normal_(parameter, std=0.2)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
    return network.eval()
