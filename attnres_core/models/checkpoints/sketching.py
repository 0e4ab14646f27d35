"""A checkpoint's weights as a sketch, by which records of two runs tell whether their weights are related. No torch.

Only matrices count, and of each its rows' and columns' means are taken out and its length is set to 1. So what all
trainings share does not count: gains near 1, taps of a convolution, the scale of weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.shapes import Column
from attnres_core.statistics.sign_sketches import sketch

LARGEST = 2**20
"""Weights of a tensor that count, at most: of a larger one, evenly spaced rows."""
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def weights_sketch(checkpoint: Checkpoint) -> str:
    """The sketch of a checkpoint's stored matrices; see `statistics.sign_sketches`."""
    return sketch(matrices(checkpoint))


def matrices(checkpoint: Checkpoint) -> dict[str, Column]:
    """Return what counts of a checkpoint's stored matrices, each `[weight]` and of length 1, by name."""
    found = {name: _part(tensor) for file in checkpoint.files for name, tensor in _stored(file)}
    return {name: found[name] for name in sorted(found) if len(found[name])}


def _stored(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The stored tensors with two or more rows and columns, `[row, column]`, each read as it is asked for."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    for name, entry in header.items():
        shape = entry["shape"] if name != "__metadata__" else []
        if len(shape) < 2 or shape[0] < 2 or math.prod(shape[1:]) < 2:
            continue
        start, rows = 8 + size + entry["data_offsets"][0], (shape[0], math.prod(shape[1:]))
        stored = np.memmap(file, dtype=_DTYPES[entry["dtype"]], mode="r", offset=start, shape=rows)
        some = np.asarray(stored[:: -(-math.prod(rows) // LARGEST)])
        yield name, (some.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else some


def _part(tensor: np.ndarray) -> Column:
    """A matrix without its rows' and columns' means, of length 1, `[weight]`; empty where nothing is left of it."""
    values = np.nan_to_num(tensor.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    values -= values.mean(0)
    values -= values.mean(1, keepdims=True)
    length = float(np.linalg.norm(values))
    return values.ravel() / length if length > 0 else np.zeros(0)
