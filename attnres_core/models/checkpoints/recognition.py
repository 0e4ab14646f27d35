"""The backbone and dialect of a checkpoint, from its config and the names of its tensors. No guessing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnres_core.models.adapters.foreign import ForeignCheckpoint, foreign_kind
from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found
from attnres_core.models.checkpoints.backbones.fla_transformer import FLA_TRANSFORMER
from attnres_core.models.checkpoints.backbones.inkling2 import INKLING2
from attnres_core.models.checkpoints.backbones.llama import LLAMA
from attnres_core.models.checkpoints.backbones.nanogpt import NANOGPT
from attnres_core.models.checkpoints.backbones.qwen3 import QWEN3
from attnres_core.models.dialects.schedule import Dialect
from attnres_core.models.errors import UnsupportedCheckpoint

BACKBONES: Mapping[str, Backbone] = {
    "qwen3": QWEN3,
    "qwen3_attnres": QWEN3,
    "llama": LLAMA,
    "llama_attnres": LLAMA,
    "nanogpt": NANOGPT,
    "transformer": FLA_TRANSFORMER,
    "inkling2_text": INKLING2,
}
"""By model_type."""
_LAYER = re.compile(r"model\.(?:llm\.)?layers\.(\d+)\.")


def recognise(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    wrap: float | None,
    num_blocks: int | None,
) -> Dialect:
    """The dialect of a checkpoint; its backbone is `BACKBONES[config["model_type"]]`.

    Args:
        folder: where it is, for messages.
        config: its config.json.
        shapes: the shape of every stored tensor, by name.
        wrap: the recency bias of a vanilla checkpoint that is to be wrapped.
        num_blocks: the wrapped baseline's number of blocks.

    Raises:
        ForeignCheckpoint: another package has the code of its model.
        UnsupportedCheckpoint: config and tensors contradict each other, or are of an unknown kind.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in BACKBONES:
        if foreign := foreign_kind(config, shapes):
            raise ForeignCheckpoint(folder, foreign)
        raise UnsupportedCheckpoint(folder, *_other_kind(kind, shapes))
    layers = _check_sizes(folder, config, shapes)
    if config.get("quantization_config"):
        raise UnsupportedCheckpoint(folder, "quantised weights", "Save the model in float32, bfloat16 or float16.")
    return BACKBONES[kind].dialect(Found(folder, config, shapes, layers, wrap, num_blocks))


_NEAREST = {
    "self_attn.q_norm.": "qwen3",
    "self_attn.q_proj.": "llama",
    "attn.c_attn.": "nanogpt",
    ".attn.q_proj.": "transformer",
}
"""Parts of tensor names, the most telling first, and the model_type whose files have them."""


def _other_kind(kind: object, names: Iterable[str]) -> tuple[str, str]:
    """Return what is said of a model_type that is not read: the nearest that is, by its tensors' names."""
    if kind == "inkling2":
        remedy = "Save its language model alone: transformers' Inkling2ForCausalLM, in bfloat16, with save_pretrained."
        return "model_type 'inkling2', an image-and-text model", remedy
    remedy = (
        "Other architectures need an adapter: --attnres-adapter package.module:function, ac.adapt, docs/adapters.md."
    )
    near = next((near for part, near in _NEAREST.items() if any(part in name for name in names)), None)
    if near is None:
        return f"model_type {kind!r}", remedy
    told = f"model_type {kind!r}, with tensors named as those of model_type {near!r} are"
    return told, f"Where its layers compute what {near}'s do, save it as such a model. {remedy}"


def _positive(folder: Path, config: Mapping[str, Any], field: str) -> int:
    value = config.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedCheckpoint(folder, f"config.json has {field} = {value!r}", "Give a positive whole number.")
    return value


def _check_sizes(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of layers, of which there are tensors; every size that is given is one."""
    backbone = BACKBONES[config["model_type"]]
    layers = _positive(folder, config, backbone.depth)
    for field in backbone.counts:
        if field in config and not (field in _MAY_BE_NULL and config[field] is None):
            _positive(folder, config, field)
    for field in backbone.small:
        value = config.get(field, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1.5:
            found = f"config.json has {field} = {value!r}"
            raise UnsupportedCheckpoint(folder, found, "Give a small positive number.")
    names = backbone.names(config)
    stored = {int(match[1]) for key in shapes if (match := _LAYER.match(names.ours(key)))}
    if (len(stored), max(stored, default=-1)) != (layers, layers - 1):
        found = f"{backbone.depth} {layers} in config.json, and tensors of {len(stored)} layers"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json or the weights.")
    kinds = config.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or len(kinds) != layers):
        raise UnsupportedCheckpoint(folder, f"layer_types {kinds!r} for {layers} layers", "Give one type a layer.")
    return layers


_MAY_BE_NULL = (
    *("num_key_value_heads", "num_kv_heads", "head_dim", "intermediate_size", "hidden_ratio"),
    "attnres_block_size",
)
"""Sizes that stand for a default, or for nothing, where a config has null."""
