"""The memory that running a checkpoint takes beside its weights, from its config alone; no torch."""

from __future__ import annotations

from attnres_core.models.checkpoints.adapted import AdaptedCheckpoint
from attnres_core.models.checkpoints.checkpoint import Checkpoint, NativeCheckpoint
from attnres_core.models.dialects.inkling2 import Inkling2
from attnres_core.prompts import WINDOW


def copies_of_states(checkpoint: Checkpoint) -> int:
    """Return how often a state, or a weight, is held: inkling2 keeps states normalised beside themselves too."""
    return 2 if _is_inkling2(checkpoint) else 1


def _is_inkling2(checkpoint: Checkpoint) -> bool:
    return isinstance(checkpoint, NativeCheckpoint) and isinstance(checkpoint.dialect, Inkling2)


def last_width(checkpoint: Checkpoint) -> int:
    """Numbers that a run gives for each token: a state, or logits where an adapted model has no head apart."""
    return (
        checkpoint.outline.last_width if isinstance(checkpoint, AdaptedCheckpoint) else checkpoint.size("hidden_size")
    )


def working(checkpoint: Checkpoint, sources: int) -> int:
    """Numbers that a token of a batch takes while a sublayer runs.

    Sources stay beside their float32 square roots; a sublayer holds a few copies of its input and widened states.
    """
    if isinstance(checkpoint, AdaptedCheckpoint):  # (measured, and the routing here beside it)
        return checkpoint.outline.working + 2 * sources * checkpoint.size("hidden_size")
    if _is_inkling2(checkpoint):
        return _inkling2_working(checkpoint, sources)
    hidden, feed = checkpoint.size("hidden_size"), checkpoint.size("intermediate_size")
    return (sources + 8) * hidden + 4 * checkpoint.size("num_attention_heads") * checkpoint.size("head_dim") + 3 * feed


def _inkling2_working(checkpoint: Checkpoint, sources: int) -> int:
    """Sources are kept normalised, too; attention is computed with all its weights; a token has several experts."""
    hidden, experts = checkpoint.size("hidden_size"), checkpoint.size("num_experts_per_tok")
    kinds = [("num_attention_heads", "head_dim"), ("swa_num_attention_heads", "swa_head_dim")]
    attention = max(checkpoint.size(heads) * 12 * (checkpoint.size(width) + WINDOW) for heads, width in kinds)
    mixture = experts * (3 * hidden + 6 * checkpoint.size("moe_intermediate_size"))
    chosen = 2 * experts * (checkpoint.size("n_routed_experts") + 1)  # (whole numbers of 8 bytes)
    return (2 * sources + 16) * hidden + max(attention, mixture + chosen)
