"""Which dialect a checkpoint is of, from its config and the names of its tensors. No guessing."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from attnres_core.models.adapters.foreign import ForeignCheckpoint, foreign_kind
from attnres_core.models.dialects.inkling2 import Inkling2
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.open_full import OpenFull
from attnres_core.models.dialects.open_reset import OpenReset
from attnres_core.models.dialects.schedule import Dialect
from attnres_core.models.dialects.wrapped import Wrapped
from attnres_core.models.errors import UnsupportedCheckpoint

DIALECTS: Mapping[tuple[bool, bool, str], type[Dialect]] = {
    (True, False, "block"): OpenBlock,
    (True, False, "full"): OpenFull,
    (True, True, "block"): OpenReset,
    (False, True, "block"): KimiBlock,
}
"""(has a recency bias, has a final read-out, attnres_mode) -> dialect."""

MAX_BIAS = 100
"""The largest recency bias: from about 20 on, float32 weights are those of the current source alone."""
_QWEN3_SIZES = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
}
_INKLING2_SIZES = {
    "vocab_size": 201024,
    "unpadded_vocab_size": 200058,
    "hidden_size": 4608,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "swa_num_attention_heads": 48,
    "swa_num_key_value_heads": 8,
    "swa_head_dim": 128,
    "moe_intermediate_size": 2304,
    "n_routed_experts": 384,
    "num_experts_per_tok": 8,
    "n_layers_per_attn_res_block": 6,
    "max_position_embeddings": 1048576,
}
SIZES: Mapping[str, Mapping[str, int]] = {
    "qwen3": _QWEN3_SIZES,
    "qwen3_attnres": _QWEN3_SIZES,
    "inkling2_text": _INKLING2_SIZES,
}
"""By model_type: config fields that are positive whole numbers wherever they are given, with the library's defaults."""
_LAYER = re.compile(r"model\.(?:llm\.)?layers\.(\d+)\.")
_FULL, _SLIDING = "hybrid", "hybrid_sliding"


def recognise(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    wrap: float | None,
    num_blocks: int | None,
) -> Dialect:
    """The dialect of a checkpoint.

    Args:
        folder: where it is, for messages.
        config: its config.json.
        shapes: the shape of every stored tensor, by name.
        wrap: the recency bias of a vanilla Qwen3 that is to be wrapped.
        num_blocks: the wrapped baseline's number of blocks.

    Raises:
        ForeignCheckpoint: another package has the code of its model.
        UnsupportedCheckpoint: config and tensors contradict each other, or are of an unknown kind.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in SIZES:
        if foreign := foreign_kind(config, shapes):
            raise ForeignCheckpoint(folder, foreign)
        raise UnsupportedCheckpoint(folder, *_other_kind(kind))
    layers = _check_sizes(folder, config, shapes)
    if config.get("quantization_config"):
        raise UnsupportedCheckpoint(folder, "quantised weights", "Save the model in float32, bfloat16 or float16.")
    if kind == "qwen3":
        _check_qwen3_layers(folder, config, layers)
        return _wrapped(folder, config, shapes, layers, wrap, num_blocks)
    if wrap is not None:
        raise UnsupportedCheckpoint(folder, "an AttnRes checkpoint, and `wrap`", "Only a vanilla Qwen3 can be wrapped.")
    if kind == "inkling2_text":
        return _inkling2(folder, config, shapes, layers, num_blocks)
    _check_qwen3_layers(folder, config, layers)
    return _qwen3_attnres(folder, config, shapes, layers, num_blocks)


def _other_kind(kind: object) -> tuple[str, str]:
    """What is said of a model_type that is not read."""
    if kind == "inkling2":
        remedy = "Save its language model alone: transformers' Inkling2ForCausalLM, in bfloat16, with save_pretrained."
        return "model_type 'inkling2', an image-and-text model", remedy
    return f"model_type {kind!r}", "Other architectures need an adapter: help(attnres_core.adapt), docs/adapters.md."


def _positive(folder: Path, config: Mapping[str, Any], field: str) -> int:
    value = config.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedCheckpoint(folder, f"config.json has {field} = {value!r}", "Give a positive whole number.")
    return value


def _check_sizes(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of layers, of which there are tensors; every size that is given is one."""
    layers = _positive(folder, config, "num_hidden_layers")
    for field in SIZES[config["model_type"]]:
        if field in config and not (field == "num_key_value_heads" and config[field] is None):
            _positive(folder, config, field)
    for field in ("rms_norm_eps", "initializer_range"):
        value = config.get(field, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1.5:
            found = f"config.json has {field} = {value!r}"
            raise UnsupportedCheckpoint(folder, found, "Give a small positive number.")
    stored = {int(match[1]) for key in shapes if (match := _LAYER.match(key))}
    if stored and (len(stored), max(stored)) != (layers, layers - 1):
        found = f"num_hidden_layers {layers} in config.json, and tensors of {len(stored)} layers"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json or the weights.")
    kinds = config.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or len(kinds) != layers):
        raise UnsupportedCheckpoint(folder, f"layer_types {kinds!r} for {layers} layers", "Give one type a layer.")
    return layers


def _check_qwen3_layers(folder: Path, config: Mapping[str, Any], layers: int) -> None:
    kinds = config.get("layer_types")
    if kinds is None and config.get("use_sliding_window"):
        raise UnsupportedCheckpoint(folder, "use_sliding_window", "Only full attention is read.")
    if sliding := sorted({str(kind) for kind in kinds or []} - {"full_attention"}):
        raise UnsupportedCheckpoint(folder, f"layer types {', '.join(sliding)}", "Only full attention is read.")


def _wrapped(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    layers: int,
    wrap: float | None,
    num_blocks: int | None,
) -> Dialect:
    if routing := _routing(shapes):
        found = f"model_type 'qwen3' (vanilla) beside routing tensors such as {routing[0]}"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json or the weights.")
    if fields := sorted(key for key in config if key.startswith("attnres_")):
        found = f"model_type 'qwen3' (vanilla) beside {', '.join(fields)} in config.json"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json.")
    if wrap is None:
        raise UnsupportedCheckpoint(folder, "a vanilla Qwen3", "Give `wrap`, a recency bias such as 10.0.")
    if num_blocks is None:
        raise UnsupportedCheckpoint(folder, "a vanilla Qwen3 and no `num_blocks`", "Give the number of blocks.")
    if isinstance(wrap, bool) or not isinstance(wrap, (int, float)) or not abs(wrap) <= MAX_BIAS:
        found = f"`wrap` {wrap!r}"
        raise UnsupportedCheckpoint(folder, found, f"Give a number up to {MAX_BIAS}, such as 10.0.")
    if isinstance(num_blocks, bool) or not isinstance(num_blocks, int) or not 1 <= num_blocks <= layers:
        raise UnsupportedCheckpoint(
            folder, f"`num_blocks` {num_blocks!r} for {layers} layers", f"Give a whole number from 1 to {layers}."
        )
    return Wrapped(layers, num_blocks)


def _routing(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return sorted(key for key in shapes if "_res_" in key)


def _check_blocks(folder: Path, asked: int | None, blocks: int, told: str) -> None:
    """Refuse another number of blocks than the checkpoint was trained with."""
    if asked not in (None, blocks):
        found = f"{told}, and `num_blocks` {asked}"
        raise UnsupportedCheckpoint(folder, found, "Leave `num_blocks` out: the checkpoint's own count is part of it.")


def _qwen3_attnres(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    layers: int,
    num_blocks: int | None,
) -> Dialect:
    blocks = _positive(folder, config, "attnres_num_blocks")
    _check_blocks(folder, num_blocks, blocks, f"attnres_num_blocks {blocks} in config.json")
    if blocks > layers:
        found = f"attnres_num_blocks {blocks} for {layers} layers"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json.")
    gate = config.get("attnres_gate_type", "bias")
    if gate != "bias" or config.get("attnres_use_null_source"):
        found = f"attnres_gate_type {gate!r}, attnres_use_null_source {config.get('attnres_use_null_source')!r}"
        raise UnsupportedCheckpoint(folder, found, "Only the gate type 'bias' without a null source is read.")
    routing = _routing(shapes)
    if not routing:
        found = "model_type 'qwen3_attnres' but no routing tensors (*_res_proj.weight)"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json or the weights.")
    features = (
        any(key.endswith("_res_bias") for key in routing),
        any(key.startswith("model.final_res_") for key in routing),
        str(config.get("attnres_mode")),
    )
    if features not in DIALECTS:
        bias, readout, mode = features
        found = (
            f"config.json says attnres_mode {mode!r}; the tensors have {'a' if bias else 'no'} recency bias "
            f"and {'a' if readout else 'no'} final read-out"
        )
        known = "; ".join(
            f"{d.name}: mode {m}, bias {'yes' if b else 'no'}, read-out {'yes' if r else 'no'}"
            for (b, r, m), d in DIALECTS.items()
        )
        raise UnsupportedCheckpoint(folder, found, f"No dialect is like that ({known}).")
    return DIALECTS[features](layers, blocks)


def _inkling2(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    layers: int,
    num_blocks: int | None,
) -> Dialect:
    size = int(config.get("n_layers_per_attn_res_block") or _INKLING2_SIZES["n_layers_per_attn_res_block"])
    blocks = math.ceil(layers / size)
    told = f"n_layers_per_attn_res_block {size} in config.json, so {blocks} blocks"
    _check_blocks(folder, num_blocks, blocks, told)
    # (where the config is silent, as transformers has it: every sixth layer has full attention)
    kinds = config.get("layer_types") or [_SLIDING if (layer + 1) % 6 else _FULL for layer in range(layers)]
    if unknown := sorted({str(kind) for kind in kinds} - {_FULL, _SLIDING}):
        found = f"layer types {', '.join(unknown)}"
        raise UnsupportedCheckpoint(folder, found, f"Layers of an inkling2 model are {_FULL} or {_SLIDING}.")
    full = tuple(layer for layer, kind in enumerate(kinds) if kind == _FULL)
    width = int(config.get("hidden_size") or _INKLING2_SIZES["hidden_size"])
    for names, shape in _inkling2_queries(layers, full, width):
        stored = {name: shapes[name] for name in names if name in shapes}
        if list(stored.values()) != [shape]:
            raise UnsupportedCheckpoint(
                folder,
                f"{stored or 'no ' + names[0]}, where config.json implies {shape}",
                "Save the model with transformers' save_pretrained; correct config.json.",
            )
    return Inkling2(layers, blocks, size, full)


def _inkling2_queries(
    layers: int, full: Collection[int], width: int
) -> Iterator[tuple[tuple[str, str], tuple[int, ...]]]:
    """Every pseudo-query's name in `transformers` and in the files that it saves, with its shape."""
    saved = "model.llm.attn_res"
    yield ("model.final_input.query", f"{saved}.output_query"), (width,)
    for layer in range(layers):
        yield (f"model.layers.{layer}.mlp_input.query", f"{saved}.mlp_queries.{layer}"), (width,)
        if layer:  # (layer 0 reads the embedding alone)
            names = (f"model.layers.{layer}.attention_input.query", f"{saved}.attn_queries.{layer - 1}")
            yield names, (3, width) if layer in full else (width,)
