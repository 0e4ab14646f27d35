"""A backbone's checkpoints: names of config fields and tensors, and how its dialects are recognised."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnres_core.models.dialects.schedule import Dialect
from attnres_core.models.errors import UnsupportedCheckpoint


@dataclass(frozen=True)
class Found:
    """The files of a checkpoint's folder, and how the caller wants them read."""

    folder: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of every stored tensor, by its name in the file."""
    layers: int
    wrap: float | None
    num_blocks: int | None

    def refused(self, found: str, remedy: str) -> UnsupportedCheckpoint:
        """The error that says so."""
        return UnsupportedCheckpoint(self.folder, found, remedy)

    @property
    def routing(self) -> list[str]:
        """The names of tensors that only routing has."""
        return sorted(key for key in self.shapes if "_res_" in key)

    def check_blocks(self, blocks: int, told: str) -> None:
        """Refuse another number of blocks than the checkpoint was trained with."""
        if self.num_blocks not in (None, blocks):
            remedy = "Leave `num_blocks` out: the checkpoint's own count is part of it."
            raise self.refused(f"{told}, and `num_blocks` {self.num_blocks}", remedy)

    def check_not_wrapped(self) -> None:
        """Refuse to wrap what has a routing of its own."""
        if self.wrap is not None:
            remedy = "Only a vanilla checkpoint can be wrapped; in a suite, --attnres-vanilla names it."
            raise self.refused("an AttnRes checkpoint, and `wrap`", remedy)


@dataclass(frozen=True)
class TensorNames:
    """A file's names for tensors beside ours, a layer's number being `{}`; others are the same in both."""

    ours_by_theirs: Mapping[str, str]

    def ours(self, theirs: str) -> str:
        """Our name of a stored tensor."""
        return _renamed(theirs, self.ours_by_theirs)

    def theirs(self, ours: str) -> str:
        """The file's name of a tensor of ours."""
        return _renamed(ours, {own: stored for stored, own in self.ours_by_theirs.items()})


_NUMBER = re.compile(r"\.(\d+)\.")
OURS = TensorNames({})
"""Of files that have our names."""


def _renamed(name: str, table: Mapping[str, str]) -> str:
    layer = _NUMBER.search(name)
    pattern = name if layer is None else _NUMBER.sub(".{}.", name, count=1)
    other = table.get(pattern, pattern)
    return other if layer is None else other.replace("{}", layer[1])


@dataclass(frozen=True)
class Backbone:
    """The computation of a layer, as a checkpoint's files describe it."""

    name: str
    dialect: Callable[[Found], Dialect]
    """The dialect of a checkpoint; raises UnsupportedCheckpoint."""
    counts: tuple[str, ...]
    """Fields of its config that are positive whole numbers wherever they are given."""
    sizes: Callable[[Mapping[str, Any]], Mapping[str, int]]
    """A config's sizes under the names of Qwen3's, with the library's defaults."""
    depth: str = "num_hidden_layers"
    """The field that holds the number of layers."""
    small: tuple[str, ...] = ("rms_norm_eps", "initializer_range")
    """Fields that are small positive numbers wherever they are given."""
    names: Callable[[Mapping[str, Any]], TensorNames] = lambda config: OURS
    """The names of a checkpoint's tensors, from its config."""


def given(config: Mapping[str, Any], defaults: Mapping[str, int]) -> dict[str, int]:
    """A config's sizes, with defaults where it leaves them out."""
    return {field: int(config.get(field) or default) for field, default in defaults.items()}
