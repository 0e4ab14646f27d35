"""Qwen3-shaped checkpoints: AttnRes models of the public code (`qwen3_attnres`), and vanilla ones to wrap (`qwen3`)."""

from __future__ import annotations

from attnres_core.models.checkpoints.backbones.attnres_modes import routed
from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found, given
from attnres_core.models.checkpoints.backbones.wrapping import wrapped
from attnres_core.models.dialects.schedule import Dialect

_DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
}


def _dialect(found: Found) -> Dialect:
    kinds = found.config.get("layer_types")
    if kinds is None and found.config.get("use_sliding_window"):
        raise found.refused("use_sliding_window", "Only full attention is read.")
    if sliding := sorted({str(kind) for kind in kinds or []} - {"full_attention"}):
        raise found.refused(f"layer types {', '.join(sliding)}", "Only full attention is read.")
    return wrapped(found, "Qwen3") if found.config["model_type"] == "qwen3" else routed(found)


QWEN3 = Backbone("Qwen3", _dialect, tuple(_DEFAULTS), lambda config: given(config, _DEFAULTS))
