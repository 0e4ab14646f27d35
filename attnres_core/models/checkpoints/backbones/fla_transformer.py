"""FLA's `transformer`: Llama's layers under other names, routed as `kimi_block` or `kimi_full`, or vanilla to wrap.

flash-linear-attention 0.6.0. `attnres_block_size` counts sublayers: 1, or an even number. Layer 0's attention makes no
routing call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attnres_core.models.adapters.foreign import FLA, ForeignCheckpoint
from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found, TensorNames, given
from attnres_core.models.checkpoints.backbones.wrapping import wrapped
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.kimi_full import KimiFull
from attnres_core.models.dialects.schedule import Dialect

_DEFAULTS = {"vocab_size": 32000, "hidden_size": 2048, "num_heads": 32, "max_position_embeddings": 2048}
_COUNTS = (*_DEFAULTS, "num_kv_heads", "intermediate_size", "hidden_ratio", "attnres_block_size")
_PLAIN: Mapping[str, Any] = {"qkv_bias": False, "qk_norm": False, "window_size": None, "hidden_act": "swish"}
"""What a layer is read to compute natively, with the library's defaults; its package reads the rest."""
_WIDTHS = 256
"""What the MLP's width is a multiple of, where the config leaves it out."""
_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    **{f"attn.{part}_proj.weight": f"self_attn.{part}_proj.weight" for part in "qkvo"},
}
_NAMES = TensorNames(
    {
        "model.embeddings.weight": "model.embed_tokens.weight",
        "model.res_proj.weight": "model.final_res_proj.weight",
        "model.res_norm.weight": "model.final_res_norm.weight",
        **{f"model.layers.{{}}.{stored}": f"model.layers.{{}}.{own}" for stored, own in _LAYER.items()},
    }
)


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    own = given(config, _DEFAULTS)
    width, heads = own["hidden_size"], own["num_heads"]
    wide = int(width * int(config.get("hidden_ratio") or 4) * 2 / 3)
    feed = {"intermediate_size": _WIDTHS * math.ceil(wide / _WIDTHS)}
    return {
        "vocab_size": own["vocab_size"],
        "hidden_size": width,
        **given(config, feed),
        "num_attention_heads": heads,
        "num_key_value_heads": int(config.get("num_kv_heads") or heads),
        "head_dim": width // heads,
        "max_position_embeddings": own["max_position_embeddings"],
    }


def _dialect(found: Found) -> Dialect:
    config, layers = found.config, found.layers
    size = config.get("attnres_block_size")
    if other := {name: config[name] for name, plain in _PLAIN.items() if config.get(name, plain) != plain}:
        told = ", ".join(f"{name} {value!r}" for name, value in other.items())
        if size is not None:
            raise ForeignCheckpoint(found.folder, FLA, told)
        plain = ", ".join(f"{name} {value!r}" for name, value in _PLAIN.items())
        raise found.refused(f"an FLA transformer with {told}", f"Read is the one with {plain}.")
    if size is None:
        return wrapped(found, "FLA transformer")
    found.check_not_wrapped()
    if size > 1 and size % 2:
        told = f"attnres_block_size {size} in config.json"
        raise found.refused(told, "FLA has blocks of 1 sublayer or of an even number; correct config.json.")
    blocks = math.ceil(2 * layers / size)
    found.check_blocks(blocks, f"attnres_block_size {size} in config.json, so {blocks} blocks")
    if size == 1:
        return KimiFull(layers, blocks, first_is_site=False)
    return KimiBlock(layers, blocks, block_layers=size // 2, first_is_site=False)


FLA_TRANSFORMER = Backbone(
    "FLA transformer", _dialect, _COUNTS, _sizes, small=("norm_eps", "initializer_range"), names=lambda config: _NAMES
)
