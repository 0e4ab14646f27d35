"""A checkpoint, from its config and tensor headers alone: backbone, dialect, sites, digest. No torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from attnres_core.models.checkpoints.backbones.backbone import Backbone
from attnres_core.models.checkpoints.hub import locate
from attnres_core.models.checkpoints.recognition import BACKBONES, recognise
from attnres_core.models.dialects.schedule import Dialect, sites_of
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.quantities.vocabulary import Site

_KEPT_STEP = re.compile(r"checkpoint-(\d+)")
STORED_DTYPES = ("F32", "BF16", "F16", "F64")


class Weights(StrEnum):
    """The origin of a model's weights."""

    STORED = "stored"
    """The files (and, for a wrapped vanilla model, its constant routing)."""
    UNTRAINED = "untrained"
    """A seeded initialisation of the same architecture, pseudo-queries zero."""
    STOCK = "stock"
    """A wrapped vanilla model whose pseudo-queries stay at their seeded random initialisation, N(0, 0.02)."""


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
    repository: str | None = None
    """The hub repository that the folder is a copy of; None: a local folder."""
    commit: str | None = None
    """The commit of that repository."""

    @property
    def name(self) -> str:
        """The folder's or hub repository's name; says so where not all weights are its own."""
        parent = f"{self.folder.parent.name}/" if _KEPT_STEP.fullmatch(self.folder.name) else ""
        suffix = "" if self.weights is Weights.STORED else f" ({self.weights})"
        own = self.folder.name if self.repository is None else self.repository.rpartition("/")[2]
        return f"{parent}{own}{suffix}"

    @cached_property
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
    def dialect_name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    @property
    def backbone(self) -> Backbone:
        """Return what its layers compute."""
        return BACKBONES[self.config["model_type"]]

    @property
    def architecture(self) -> str:
        """`Llama backbone, open_block schedule`."""
        return f"{self.backbone.name} backbone, {self.dialect.name} schedule"

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
        """A size by its name in Qwen3's config, or the backbone's own default where the config leaves it out."""
        return self.sizes[field]

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The backbone's sizes, by the names of Qwen3's config."""
        return self.backbone.sizes(self.config)

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens."""
        return min(self.size(field) for field in ("vocab_size", "unpadded_vocab_size") if field in self.sizes)

    @property
    def context(self) -> int:
        """The longest prompt, in tokens."""
        return self.size("max_position_embeddings")

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 over the weight files and the config."""
        return _digest(self.config, self.files)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed: weights, wrapping, block count."""
        parts: list[object] = [self.weights_digest, self.dialect.name, self.wrap, self.dialect.num_blocks]
        if self.weights is not Weights.STORED:  # an initialisation is whatever these versions make of the seed
            parts += [self.weights, *(importlib.metadata.version(name) for name in ("torch", "transformers"))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def inspect_checkpoint(
    path_or_repo_id: str | Path,
    wrap: float | None = None,
    num_blocks: int | None = None,
    revision: str | None = None,
) -> Checkpoint:
    """Recognise a local folder or hub id.

    Args:
        path_or_repo_id: a `save_pretrained` folder, or `owner/name` on the model hub.
        wrap: a recency bias; reads a vanilla checkpoint as a wrapped baseline.
        num_blocks: the wrapped baseline's number of blocks.
        revision: a branch, tag or commit of a hub id; default: its main branch.

    Raises:
        UnsupportedCheckpoint: it is missing, incomplete, contradicts itself or is of an unknown kind.
    """
    folder, repository, commit = locate(path_or_repo_id, revision)
    config = _config(folder)
    files = _weight_files(folder)
    shapes = _shapes(files)
    dialect = recognise(folder, config, shapes, wrap, num_blocks)
    bias = None if wrap is None else float(wrap)
    return Checkpoint(folder, config, shapes, files, dialect, bias, repository=repository, commit=commit)


def weights_digest(folder: Path) -> str:
    """The `weights_digest` of a local folder, whatever dialect it is read in.

    Raises:
        UnsupportedCheckpoint: config or weights are missing or unreadable.
    """
    return _digest(_config(folder), _weight_files(folder))


def _digest(config: Mapping[str, Any], files: Iterable[Path]) -> str:
    digest = hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode())
    for file in files:
        state = file.stat()
        digest.update(_file_digest(file.resolve(), state.st_size, state.st_mtime_ns))
    return digest.hexdigest()


@cache
def _file_digest(file: Path, size: int, changed: int) -> bytes:
    """SHA-256 of a file, read once while its size and time stay: several roles have the same weights."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


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
