"""nanoGPT-shaped checkpoints of the BabyLM models: dynamic and static arms, and the plain baseline to wrap.

github.com/YpLarryWang/attnres4babylm2026. `attn_res_block_size` counts sublayers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found, TensorNames, given
from attnres_core.models.checkpoints.backbones.wrapping import wrapped
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.kimi_static import KimiStatic
from attnres_core.models.dialects.schedule import Dialect

_DEFAULTS = {"vocab_size": 16384, "block_size": 512, "n_head": 8, "n_embd": 512}
_SWITCHES = {"use_rmsnorm": True, "use_swiglu": True, "use_rope": True, "bias": False}
"""What a layer is read to compute; the public code has other ways, which no published model takes."""
_SWIGLU = 8 / 3

_LAYER = {
    "ln_1.weight": "input_layernorm.weight",
    "ln_2.weight": "post_attention_layernorm.weight",
    "attn.c_attn.weight": "self_attn.c_attn.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    "attn.attn_gate.weight": "self_attn.gate.weight",
    "mlp.c_gate.weight": "mlp.gate_proj.weight",
    "mlp.c_val.weight": "mlp.up_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
    "attn_res_norm1.weight": "attn_res_norm.weight",
    "attn_res_norm2.weight": "mlp_res_norm.weight",
}


def _names(config: Mapping[str, Any]) -> TensorNames:
    query = "res_logits" if config.get("use_static_attn_res") else "res_proj.weight"
    layer = {**_LAYER, "attn_res_q1": f"attn_{query}", "attn_res_q2": f"mlp_{query}"}
    return TensorNames(
        {
            "transformer.wte.weight": "model.embed_tokens.weight",
            "transformer.ln_f.weight": "model.norm.weight",
            "attn_res_qf": f"model.final_{query}",
            "attn_res_normf.weight": "model.final_res_norm.weight",
            **{f"transformer.h.{{}}.{stored}": f"model.layers.{{}}.{own}" for stored, own in layer.items()},
        }
    )


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    own = given(config, _DEFAULTS)
    width, heads = own["n_embd"], own["n_head"]
    return {
        "vocab_size": own["vocab_size"],
        "hidden_size": width,
        "intermediate_size": round(int(config.get("swiglu_mult", _SWIGLU) * width) / 64) * 64,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "max_position_embeddings": own["block_size"],
    }


def _dialect(found: Found) -> Dialect:
    config, layers = found.config, found.layers
    if config.get("bidirectional"):
        remedy = "Only causal models are read; export the same run without `--bidirectional`."
        raise found.refused("bidirectional: a masked, no causal language model", remedy)
    for switch, expected in _SWITCHES.items():
        if config.get(switch, False) is not expected:
            told = ", ".join(f"{name} {str(value).lower()}" for name, value in _SWITCHES.items())
            raise found.refused(
                f"a nanoGPT with {switch} {config.get(switch, False)!r}", f"Read is the one with {told}."
            )
    factor, sizes = config.get("swiglu_mult", _SWIGLU), given(config, _DEFAULTS)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1000:
        raise found.refused(f"config.json has swiglu_mult = {factor!r}", "Give a positive number.")
    if sizes["n_embd"] % (2 * sizes["n_head"]):
        told = f"n_embd {sizes['n_embd']} and n_head {sizes['n_head']}"
        raise found.refused(told, "Each head has an even share of the width; correct config.json.")
    if not config.get("use_attn_res"):
        return wrapped(found, "nanoGPT")
    found.check_not_wrapped()
    size = config.get("attn_res_block_size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 2 or size % 2 or 2 * layers % size:
        told = f"attn_res_block_size {size!r} for {layers} layers"
        raise found.refused(told, f"Give an even number of sublayers that divides {2 * layers}.")
    blocks = 2 * layers // size
    found.check_blocks(blocks, f"attn_res_block_size {size} in config.json, so {blocks} blocks")
    kind = KimiStatic if config.get("use_static_attn_res") else KimiBlock
    return kind(layers, blocks, block_layers=size // 2)


NANOGPT = Backbone(
    "nanoGPT", _dialect, tuple(_DEFAULTS), _sizes, depth="n_layer", small=("layer_norm_epsilon",), names=_names
)
