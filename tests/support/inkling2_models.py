"""Tiny random inkling2 checkpoints, saved as `transformers` saves them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.inkling2.configuration_inkling2 import Inkling2TextConfig
from transformers.models.inkling2.modeling_inkling2 import Inkling2ForCausalLM

VOCABULARY = 40
FULL, SLIDING = "hybrid", "hybrid_sliding"
SHAPES = {
    "hybrid": dict(layer_types=[SLIDING, FULL, SLIDING, SLIDING, FULL, SLIDING, FULL], block=3),
    "full_from_the_start": dict(layer_types=[FULL] * 5, block=2),
    "all_sliding": dict(layer_types=[SLIDING] * 5, block=4),
    "one_expert": dict(layer_types=[SLIDING, FULL, SLIDING, FULL], block=1, n_routed_experts=1, num_experts_per_tok=1),
    "one_block": dict(layer_types=[SLIDING, SLIDING, FULL], block=6),
    "long_context_scaling": dict(layer_types=[SLIDING, FULL, FULL], block=2, log_scaling_n_floor=3, rel_extent=4),
}
"""Layers, decoder layers a block, and what else differs."""


def inkling2_config(layer_types: list[str], block: int, **changes: object) -> Inkling2TextConfig:
    sizes = dict(
        vocab_size=VOCABULARY + 3,  # rows of the embedding that are no token
        unpadded_vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=len(layer_types),
        layer_types=layer_types,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        swa_num_attention_heads=2,
        swa_num_key_value_heads=1,
        swa_head_dim=8,
        sliding_window_size=4,
        d_rel=3,
        rel_extent=6,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_layers_per_attn_res_block=block,
        max_position_embeddings=64,
        eos_token_id=1,
    )
    config = Inkling2TextConfig(**{**sizes, **changes})
    config._attn_implementation = "eager"
    return config


def inkling2_library(name: str, seed: int = 0, std: float = 0.05, **changes: object) -> Inkling2ForCausalLM:
    """The library's own model, its weights random and its routing far from uniform."""
    torch.manual_seed(seed)
    network = Inkling2ForCausalLM(inkling2_config(**{**SHAPES[name], **changes})).eval()
    for key, parameter in network.named_parameters():
        spread = 2.0 if key.endswith("_input.query") else std  # (a query's logit is scaled by one over sqrt(d))
        torch.nn.init.normal_(parameter, mean=float("norm" in key), std=spread)
    return network


def save_inkling2(folder: Path, network: Inkling2ForCausalLM) -> Path:
    """A checkpoint folder under the library's own tensor names (`save_pretrained` writes the original release's)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config.to_dict() | {"model_type": "inkling2_text", "architectures": ["Inkling2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder
