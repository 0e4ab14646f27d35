"""The device of each part of a model that is larger than one. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from attnres_core.models.checkpoints.checkpoint import Checkpoint, NativeCheckpoint

BALANCED = "balanced"
DeviceMap = Mapping[str, str | int]
"""From module names to devices, as `transformers` writes it; a number is a CUDA device's."""
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)(?:\.|$)")
_WITH_FIRST = ("model.embed_tokens", "model.rotary_emb")
_WITH_LAST = ("model.norm", "lm_head")
_ALLOWED = (
    "give every layer, model.layers.0, model.layers.1, ..., in order, each device's layers together "
    f"({', '.join(_WITH_FIRST)} may be named and lie with the first, {', '.join(_WITH_LAST)} with the last), "
    f"or {BALANCED!r}"
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model's parts lie: the embedding with the first layer; read-out, last norm and head with the last."""

    layers: tuple[str, ...]
    """The device of every layer, in order."""

    def of(self, name: str) -> str:
        """Return where the tensor or module of a name lies."""
        if layer := _LAYER.search(name):
            return self.layers[int(layer[1])]
        return self.layers[0 if name.startswith(_WITH_FIRST) else -1]

    @property
    def ends_apart(self) -> bool:
        """Return whether embedding and head lie on two devices, and so cannot be one tensor."""
        return self.layers[0] != self.layers[-1]


def placement_of(device_map: DeviceMap | str, num_layers: int) -> Placement:
    """A caller's map, checked.

    Raises:
        ValueError: it leaves out a layer, names something else, or parts what lies together; says what is allowed.
    """
    if not isinstance(device_map, Mapping):
        raise ValueError(f"`device_map` is {device_map!r}; {_ALLOWED}")
    named: dict[str, str] = {}
    for name, where in device_map.items():
        if isinstance(where, bool) or not isinstance(where, str | int):
            raise ValueError(f"`device_map` puts {name} on {where!r}; give a device such as 'cuda:0', or its number")
        named[str(name)] = f"cuda:{where}" if isinstance(where, int) else where
    layers = [f"model.layers.{index}" for index in range(num_layers)]
    if missing := [layer for layer in layers if layer not in named]:
        raise ValueError(f"`device_map` leaves out {_some(missing)}; {_ALLOWED}")
    if unknown := [name for name in named if name not in (*layers, *_WITH_FIRST, *_WITH_LAST)]:
        raise ValueError(f"`device_map` names {_some(unknown)}; {_ALLOWED}")
    placement = Placement(tuple(named[layer] for layer in layers))
    changes = [after for before, after in pairwise(placement.layers) if after != before]
    if len({placement.layers[0], *changes}) != len(changes) + 1:
        raise ValueError(f"`device_map` comes back to a device that it has left; {_ALLOWED}")
    for name, where in named.items():
        if where != placement.of(name):
            raise ValueError(f"`device_map` puts {name} on {where}, its layers on {placement.of(name)}; {_ALLOWED}")
    return placement


def balanced(checkpoint: Checkpoint, devices: Sequence[str]) -> Placement:
    """Layers in order over devices, about the same number of weights on each.

    A layer goes where the middle of its weights falls, when all weights in order are cut into equal shares.
    """
    weights, below, layers = layer_weights(checkpoint), 0.0, []
    for count in weights:
        layers.append(devices[int((below + count / 2) * len(devices) / sum(weights))])
        below += count
    return Placement(tuple(layers))


def layer_weights(checkpoint: Checkpoint) -> list[int]:
    """The number of weights that lie with each layer; a tied embedding counts with the first and with the last."""
    assert isinstance(checkpoint, NativeCheckpoint), "an adapted model lies on one device"
    counts, names = [0] * checkpoint.num_layers, checkpoint.backbone.names(checkpoint.config)
    ours = {names.ours(name): shape for name, shape in checkpoint.shapes.items()}
    for name, shape in ours.items():
        layer, count = _LAYER.search(name), math.prod(shape)
        counts[int(layer[1]) if layer else 0 if "embed" in name else -1] += count
    if not any("head" in name for name in ours):
        counts[-1] += checkpoint.size("vocab_size") * checkpoint.size("hidden_size")
    return counts


def largest_share(checkpoint: Checkpoint, devices: int) -> float:
    """The share of a checkpoint's stored weights that the fullest of several devices holds, balanced."""
    if devices == 1:
        return 1.0
    names = [str(index) for index in range(devices)]
    where = balanced(checkpoint, names).layers
    held = {name: 0 for name in names}
    for name, count in zip(where, layer_weights(checkpoint), strict=True):
        held[name] += count
    return max(held.values()) / checkpoint.parameters


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
