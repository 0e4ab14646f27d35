"""Llama-shaped checkpoints: vanilla ones to wrap (`llama`), AttnRes models of Qwen3's dialects (`llama_attnres`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnres_core.models.checkpoints.backbones.attnres_modes import routed
from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found, given
from attnres_core.models.checkpoints.backbones.wrapping import wrapped
from attnres_core.models.dialects.schedule import Dialect

_DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}
_DERIVED = ("num_key_value_heads", "head_dim")
"""Left out, as many as there are heads, and their share of the width."""


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    sizes = given(config, _DEFAULTS)
    heads = sizes["num_attention_heads"]
    return sizes | given(config, {"num_key_value_heads": heads, "head_dim": sizes["hidden_size"] // heads})


def _dialect(found: Found) -> Dialect:
    return wrapped(found, "Llama") if found.config["model_type"] == "llama" else routed(found)


LLAMA = Backbone("Llama", _dialect, (*_DEFAULTS, *_DERIVED), _sizes)
