"""A checkpoint's folder: config, weight files and what can be known of any model in one, without torch."""

from __future__ import annotations

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.quantities.vocabulary import Site

KEPT_STEP = re.compile(r"checkpoint-(\d+)")
STORED_DTYPES = ("F32", "BF16", "F16", "F64")


class Weights(StrEnum):
    """Where a model's weights come from."""

    STORED = "stored"
    """The files (and, for a wrapped vanilla model, its constant routing)."""
    UNTRAINED = "untrained"
    """A seeded initialisation of the same architecture, pseudo-queries zero."""
    STOCK = "stock"
    """A wrapped vanilla model whose pseudo-queries stay at their seeded random initialisation, N(0, 0.02)."""


@dataclass(frozen=True)
class Checkpoint(ABC):
    """A checkpoint folder that can be measured: recognised by the library, or read by an adapter."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of every stored tensor."""
    files: tuple[Path, ...]
    """The safetensors files that hold them."""
    wrap: float | None = None
    """The recency bias of a wrapped vanilla checkpoint."""
    weights: Weights = Weights.STORED
    repository: str | None = None
    """The hub repository that the folder is a copy of; None: a local folder."""
    commit: str | None = None
    """The commit of that repository."""
    adapter: str = ""
    """What `--attnres-adapter` is given to read it; empty: the library reads it."""

    @property
    def name(self) -> str:
        """The folder's or hub repository's name; says so where not all weights are its own."""
        parent = f"{self.folder.parent.name}/" if KEPT_STEP.fullmatch(self.folder.name) else ""
        suffix = "" if self.weights is Weights.STORED else f" ({self.weights})"
        own = self.folder.name if self.repository is None else self.repository.rpartition("/")[2]
        return f"{parent}{own}{suffix}"

    @cached_property
    def tokenizer_file(self) -> Path:
        """Its tokenizer.json; a kept step may leave that to the folder it lies in."""
        own = self.folder / "tokenizer.json"
        kept = KEPT_STEP.fullmatch(self.folder.name) and not own.exists()
        return self.folder.parent / "tokenizer.json" if kept else own

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""

    @property
    @abstractmethod
    def dialect_name(self) -> str:
        """The meaning of its routing."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """What it is, in words, such as `Llama backbone, open_block schedule`."""

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """The number of decoder layers."""

    @property
    @abstractmethod
    def num_blocks(self) -> int:
        """The number of blocks."""

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """The model's sizes, by the names of Qwen3's config."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed."""

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

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return min(self.size(field) for field in ("vocab_size", "unpadded_vocab_size") if field in self.sizes)

    @property
    def context(self) -> int:
        """The longest prompt, in tokens."""
        return self.size("max_position_embeddings")

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 over the weight files and the config."""
        return digest_of(self.config, self.files)


def weights_digest(folder: Path) -> str:
    """The `weights_digest` of a local folder, whatever dialect it is read in.

    Raises:
        UnsupportedCheckpoint: config or weights are missing or unreadable.
    """
    return digest_of(*config_and_files(folder))


def digest_of(config: Mapping[str, Any], files: Iterable[Path]) -> str:
    """SHA-256 over a config and weight files."""
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


def config_and_files(folder: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """A folder's config.json and safetensors files.

    Raises:
        UnsupportedCheckpoint: one of them is missing or unreadable.
    """
    return _config(folder), _weight_files(folder)


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


def shapes_of(files: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of every stored tensor, from the files' headers.

    Raises:
        UnsupportedCheckpoint: a file is damaged, or holds quantised weights.
    """
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
