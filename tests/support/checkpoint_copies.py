"""Copies of conformance checkpoints, changed and broken on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from attnres_core.models.errors import SUPPORTED, CheckpointNotFound, UnsupportedCheckpoint
from attnres_core.models.loading import load_model

DIALECTS = {
    "open_block_11": "open_block",
    "open_full_13": "open_full",
    "open_reset_12": "open_reset",
    "kimi_block_14": "kimi_block",
    "delta_34": "delta",
    "delta_null_35": "delta",
    "delta_block_36": "delta_block",
    "delta_block_null_37": "delta_block",
    "delta_v_38": "delta_v",
    "block_v_39": "block_v",
    "nanogpt_31": "kimi_block",
    "nanogpt_32": "kimi_block",
    "nanogpt_static_33": "kimi_static",
    "fla_transformer_42": "kimi_block",
    "fla_full_43": "kimi_full",
}
"""Every conformance checkpoint that routes, and its schedule."""
EMBEDDING = "model.embed_tokens.weight"
IDS = torch.arange(12).reshape(2, 6)
Copy = Callable[..., Path]


def configure(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None or key not in changes}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def shard(folder: Path) -> Path:
    """Splits the single file into three shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-{index}-of-3.safetensors" for index in (1, 2, 3)]
    weight_map = {key: names[position % 3] for position, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key, where in weight_map.items() if where == name}, folder / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def baseline(folder: Path, to: Path) -> Path:
    """A conformance checkpoint without its routing: the plain model of the same weights."""
    to.mkdir()
    tensors = {key: value for key, value in load_file(folder / "model.safetensors").items() if "_res" not in key}
    tensors = {key: value for key, value in tensors.items() if not key.startswith("model.res_")}
    save_file(tensors, to / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    for field, value in {"use_attn_res": False, "attnres_block_size": None}.items():
        if field in config:
            config[field] = value
    (to / "config.json").write_text(json.dumps(config))
    return to


def refusal(path: Path | str, **options: Any) -> tuple[str, str]:
    """What was found, and the remedy; the message names the place, and what is supported where one is there."""
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_model(path, **options)
    where, _, rest = str(caught.value).partition(": ")
    assert where.startswith(str(path))
    if isinstance(caught.value, CheckpointNotFound):
        assert "Supported" not in rest
        return rest.removesuffix(f". {caught.value.remedy}"), caught.value.remedy
    found, supported, remedy = rest.partition(f". Supported: {SUPPORTED}. ")
    assert supported
    return found, remedy


def write_tokenizer(folder: Path, vocabulary: int = 96) -> None:
    """A tokenizer whose words are w0, w1, ...: enough for checkpoints with random weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{index}": index for index in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
