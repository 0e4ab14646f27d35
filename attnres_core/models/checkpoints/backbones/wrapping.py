"""A vanilla checkpoint of any backbone, read as a wrapped baseline."""

from __future__ import annotations

from attnres_core.models.checkpoints.backbones.backbone import Found
from attnres_core.models.dialects.wrapped import Wrapped

MAX_BIAS = 100
"""The largest recency bias: from about 20 on, float32 weights are those of the current source alone."""


def wrapped(found: Found, what: str) -> Wrapped:
    """The dialect of a vanilla checkpoint, `what` in errors, with the caller's recency bias and number of blocks.

    Raises:
        UnsupportedCheckpoint: it has routing of its own, or the caller gives no sound bias or number of blocks.
    """
    kind, wrap, num_blocks, layers = found.config["model_type"], found.wrap, found.num_blocks, found.layers
    if routing := found.routing:
        told = f"model_type {kind!r} (vanilla) beside routing tensors such as {routing[0]}"
        raise found.refused(told, "Correct config.json or the weights.")
    if fields := sorted(key for key, value in found.config.items() if key.startswith("attnres_") and value is not None):
        told = f"model_type {kind!r} (vanilla) beside {', '.join(fields)} in config.json"
        raise found.refused(told, "Correct config.json.")
    if wrap is None:
        remedy = "Give `wrap`, a recency bias such as 10.0; in a suite, name this one with --attnres-vanilla."
        raise found.refused(f"a vanilla {what}", remedy)
    if num_blocks is None:
        raise found.refused(f"a vanilla {what} and no `num_blocks`", "Give the number of blocks.")
    if isinstance(wrap, bool) or not isinstance(wrap, (int, float)) or not abs(wrap) <= MAX_BIAS:
        raise found.refused(f"`wrap` {wrap!r}", f"Give a number up to {MAX_BIAS}, such as 10.0.")
    if isinstance(num_blocks, bool) or not isinstance(num_blocks, int) or not 1 <= num_blocks <= layers:
        told = f"`num_blocks` {num_blocks!r} for {layers} layers"
        raise found.refused(told, f"Give a whole number from 1 to {layers}.")
    return Wrapped(layers, num_blocks)
