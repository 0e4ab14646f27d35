"""What a checkpoint is, from its config and tensor headers alone: dialect, sites, digest. No torch, no guessing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from attnres_core.models.dialect import Dialect, sites_of
from attnres_core.models.kimi_block import KimiBlock
from attnres_core.models.open_block import OpenBlock, Wrapped
from attnres_core.models.open_full import OpenFull
from attnres_core.models.open_reset import OpenReset
from attnres_core.vocabulary import Site

SUPPORTED = "Qwen3-shaped AttnRes checkpoints (model_type qwen3_attnres) and vanilla Qwen3 ones to wrap (qwen3)"
DIALECTS: Mapping[tuple[bool, bool, str], type[Dialect]] = {
    (True, False, "block"): OpenBlock,
    (True, False, "full"): OpenFull,
    (True, True, "block"): OpenReset,
    (False, True, "block"): KimiBlock,
}
"""(has a recency bias, has a final read-out, attnres_mode) -> dialect: the table of ATTNRES.md."""

_KEPT_STEP = re.compile(r"checkpoint-(\d+)")
STORED_DTYPES = ("F32", "BF16", "F16", "F64")
MAX_BIAS = 100
"""The largest recency bias: from about 20 on, float32 weights are those of the current source alone."""
_DEFAULT_SIZES = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 32768,
}
"""Config fields that are positive whole numbers wherever they are given, with Qwen3's defaults."""


class Weights(StrEnum):
    """Where a model's weights come from."""

    STORED = "stored"
    """The files (and, for a wrapped vanilla model, its constant routing)."""
    UNTRAINED = "untrained"
    """A seeded initialisation of the same architecture, pseudo-queries zero."""
    STOCK = "stock"
    """A wrapped vanilla model whose pseudo-queries stay at their seeded random initialisation, N(0, 0.02)."""


class UnsupportedCheckpoint(ValueError):
    """A checkpoint that is not what this library can read; says what was found, what is supported, what to do."""

    def __init__(self, where: Path | str, found: str, remedy: str) -> None:
        super().__init__(f"{where}: {found}. Supported: {SUPPORTED}. {remedy}")


@dataclass(frozen=True)
class Checkpoint:
    """A recognised checkpoint folder."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of every stored tensor."""
    files: tuple[Path, ...]
    """The safetensors files that hold them."""
    dialect: Dialect
    wrap: float | None
    """The recency bias of a wrapped vanilla checkpoint."""
    weights: Weights = Weights.STORED

    @property
    def name(self) -> str:
        """The folder's name; says so where not all weights are its own."""
        parent = f"{self.folder.parent.name}/" if _KEPT_STEP.fullmatch(self.folder.name) else ""
        suffix = "" if self.weights is Weights.STORED else f" ({self.weights})"
        return f"{parent}{self.folder.name}{suffix}"

    @property
    def tokenizer_file(self) -> Path:
        """Its tokenizer.json; a kept step may leave that to the folder it lies in."""
        own = self.folder / "tokenizer.json"
        kept = _KEPT_STEP.fullmatch(self.folder.name) and not own.exists()
        return self.folder.parent / "tokenizer.json" if kept else own

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""
        return sites_of(self.dialect)

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self.dialect.num_layers

    @property
    def parameters(self) -> int:
        """The number of stored weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def stored_bytes(self) -> int:
        """The size of the weight files."""
        return sum(file.stat().st_size for file in self.files)

    def size(self, field: str) -> int:
        """A size from the config, or Qwen3's own default where it leaves that out."""
        return int(self.config.get(field) or _DEFAULT_SIZES[field])

    @property
    def context(self) -> int:
        """The longest prompt, in tokens."""
        return self.size("max_position_embeddings")

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 over the weight files and the config."""
        digest = hashlib.sha256(json.dumps(dict(self.config), sort_keys=True).encode())
        for file in self.files:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed: weights, wrapping, block count."""
        parts: list[object] = [self.weights_digest, self.dialect.name, self.wrap, self.dialect.num_blocks]
        if self.weights is not Weights.STORED:  # an initialisation is whatever these versions make of the seed
            parts += [self.weights, *(importlib.metadata.version(name) for name in ("torch", "transformers"))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def inspect_checkpoint(
    path_or_repo_id: str | Path, wrap: float | None = None, num_blocks: int | None = None
) -> Checkpoint:
    """Recognise a local folder or hub id.

    Args:
        path_or_repo_id: a `save_pretrained` folder, or `owner/name` on the model hub.
        wrap: a recency bias; reads a vanilla Qwen3 as a wrapped baseline.
        num_blocks: the wrapped baseline's number of blocks.

    Raises:
        UnsupportedCheckpoint: it is missing, incomplete, contradicts itself or is of an unknown kind.
    """
    folder = _folder(path_or_repo_id)
    config = _config(folder)
    files = _weight_files(folder)
    shapes = _shapes(files)
    dialect = _recognise(folder, config, shapes, wrap, num_blocks)
    return Checkpoint(folder, config, shapes, files, dialect, None if wrap is None else float(wrap))


def kept_steps(checkpoint: Checkpoint) -> dict[int, Path]:
    """The earlier steps of a checkpoint's own training run: its folders `checkpoint-<step>`, in order."""
    folders = {int(match[1]): f for f in checkpoint.folder.iterdir() if (match := _KEPT_STEP.fullmatch(f.name))}
    return {step: folders[step] for step in sorted(folders) if folders[step].is_dir()}


def earlier_step(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """A kept step of a checkpoint's run, recognised.

    Raises:
        UnsupportedCheckpoint: it is damaged, or of another shape than the checkpoint.
    """
    earlier = inspect_checkpoint(folder)
    if (earlier.dialect, earlier.shapes) != (checkpoint.dialect, checkpoint.shapes):
        found = f"another architecture than {checkpoint.folder}, in whose folder it lies"
        raise UnsupportedCheckpoint(folder, found, "Keep only steps of the same run there.")
    return earlier


def _folder(path_or_repo_id: str | Path) -> Path:
    if not isinstance(path_or_repo_id, (str, Path)):
        raise ValueError(f"a checkpoint is {path_or_repo_id!r}; give a folder or a hub id")
    path = Path(os.path.expanduser(path_or_repo_id))  # Path.expanduser raises RuntimeError on an unknown user
    if path.is_dir():
        return path.resolve()
    text = str(path_or_repo_id)
    if isinstance(path_or_repo_id, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise UnsupportedCheckpoint(text, "there is no such folder", "Give a save_pretrained folder or a hub id.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        wanted = ["*.safetensors", "*.safetensors.index.json", "*.json"]
        return Path(huggingface_hub.snapshot_download(text, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        found = f"no such folder, and the model hub did not give it ({type(error).__name__}: {error})".strip()
        remedy = "Check the id and the network; offline, download it first and give the folder."
        raise UnsupportedCheckpoint(text, found, remedy) from error


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnsupportedCheckpoint(folder, "no config.json", "Save the model with save_pretrained.") from None
    except OSError as error:
        raise UnsupportedCheckpoint(file, f"unreadable ({error})", "Save the model again.") from error
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpoint(file, f"malformed JSON ({error})", "Save the model again.") from error
    if not isinstance(config, dict):
        raise UnsupportedCheckpoint(file, f"a {type(config).__name__}, not an object", "Save the model again.")
    return config


def _weight_files(folder: Path) -> tuple[Path, ...]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return (single,)
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            outside = [name for name in names if Path(name).name != name]
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise UnsupportedCheckpoint(index, f"malformed shard index ({error!r})", "Save the model again.") from error
        if outside:
            found = f"shards outside the folder ({', '.join(outside)})"
            raise UnsupportedCheckpoint(index, found, "Shards lie beside their index; save the model again.")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UnsupportedCheckpoint(folder, f"missing shards {', '.join(missing)}", "Copy or download them too.")
        return tuple(folder / name for name in names)
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickles:
        remedy = (
            "Pickled weights can run code when loaded; convert them with safe_serialization=True where you trust them."
        )
        raise UnsupportedCheckpoint(folder, f"only pickled weights ({', '.join(pickles)})", remedy)
    raise UnsupportedCheckpoint(folder, "no model.safetensors", "Save the model with save_pretrained.")


def _shapes(files: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                for key in tensors.keys():
                    if key in shapes:
                        raise UnsupportedCheckpoint(file, f"{key} is in another shard too", "Save the model again.")
                    tensor = tensors.get_slice(key)
                    if tensor.get_dtype() not in STORED_DTYPES:
                        found = f"{key} is stored as {tensor.get_dtype()}"
                        remedy = f"Quantised weights are not read; save them as one of {', '.join(STORED_DTYPES)}."
                        raise UnsupportedCheckpoint(file, found, remedy)
                    shapes[key] = tuple(tensor.get_shape())
        except (SafetensorError, OSError) as error:
            raise UnsupportedCheckpoint(
                file, f"unreadable safetensors ({error})", "Copy or download it again."
            ) from error
    return shapes


def _positive(folder: Path, config: Mapping[str, Any], field: str) -> int:
    value = config.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedCheckpoint(folder, f"config.json has {field} = {value!r}", "Give a positive whole number.")
    return value


def _recognise(
    folder: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    wrap: float | None,
    num_blocks: int | None,
) -> Dialect:
    kind = config.get("model_type")
    if kind not in ("qwen3", "qwen3_attnres"):
        raise UnsupportedCheckpoint(folder, f"model_type {kind!r}", "Other architectures need an adapter.")
    layers = _positive(folder, config, "num_hidden_layers")
    routing = sorted(key for key in shapes if "_res_" in key)
    for field in _DEFAULT_SIZES:
        if field in config and not (field == "num_key_value_heads" and config[field] is None):
            _positive(folder, config, field)
    for field in ("rms_norm_eps", "initializer_range"):
        value = config.get(field, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1.5:
            found = f"config.json has {field} = {value!r}"
            raise UnsupportedCheckpoint(folder, found, "Give a small positive number.")
    stored = {int(key.split(".")[2]) for key in shapes if re.match(r"model\.layers\.\d+\.", key)}
    if stored and (len(stored), max(stored)) != (layers, layers - 1):
        found = f"num_hidden_layers {layers} in config.json, and tensors of {len(stored)} layers"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json or the weights.")
    kinds = config.get("layer_types")
    if kinds is None and config.get("use_sliding_window"):
        raise UnsupportedCheckpoint(folder, "use_sliding_window", "Only full attention is read.")
    if kinds is not None and (not isinstance(kinds, list) or len(kinds) != layers):
        raise UnsupportedCheckpoint(folder, f"layer_types {kinds!r} for {layers} layers", "Give one type a layer.")
    if sliding := sorted({str(kind) for kind in kinds or []} - {"full_attention"}):
        raise UnsupportedCheckpoint(folder, f"layer types {', '.join(sliding)}", "Only full attention is read.")
    if config.get("quantization_config"):
        raise UnsupportedCheckpoint(folder, "quantised weights", "Save the model in float32, bfloat16 or float16.")
    if kind == "qwen3":
        if routing:
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
    if wrap is not None:
        raise UnsupportedCheckpoint(folder, "an AttnRes checkpoint, and `wrap`", "Only a vanilla Qwen3 can be wrapped.")
    blocks = _positive(folder, config, "attnres_num_blocks")
    if num_blocks not in (None, blocks):
        found = f"attnres_num_blocks {blocks} in config.json, and `num_blocks` {num_blocks}"
        raise UnsupportedCheckpoint(folder, found, "Leave `num_blocks` out: the checkpoint's own count is part of it.")
    if blocks > layers:
        found = f"attnres_num_blocks {blocks} for {layers} layers"
        raise UnsupportedCheckpoint(folder, found, "Correct config.json.")
    gate = config.get("attnres_gate_type", "bias")
    if gate != "bias" or config.get("attnres_use_null_source"):
        found = f"attnres_gate_type {gate!r}, attnres_use_null_source {config.get('attnres_use_null_source')!r}"
        raise UnsupportedCheckpoint(folder, found, "Only the gate type 'bias' without a null source is read.")
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
