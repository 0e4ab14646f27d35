"""The arithmetic of each metric: a file of the metric's name each. Its row is in `quantities/metrics.py`.

A file has two functions, so that one can be held against the other. Of the next tokens they share nothing; answers
are read at one position, where both read the same logits, and only the runs behind them differ:

fast(clean) the sweep's, of one block of the clean run; returns what scores an ablated run's block plain(clean,
ablated) the plain path's, of one prompt's two runs, with all logits at hand

A metric of the next tokens is given a `CleanBlock` and `AblatedBlock`s, or two `PlainRun`s, and scores each position;
one that needs answers is given what stands at every prompt's end, `Answered`, and scores each prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from attnres_core.quantities.metrics import Metric
from attnres_core.shapes import Bool, Float, Int

Answers = Sequence[tuple[int, int | None]]
"""Token ids of each prompt's answer and, where it has one, its foil."""


@dataclass(frozen=True, slots=True)
class CleanBlock:
    """The clean run at some scored positions of a chunk of prompts."""

    state: Float[Tensor, "position d"]
    target: Int[Tensor, "position 1"]
    """The next tokens."""
    log_p: Float[Tensor, "position vocab"]
    nll: Float[Tensor, "position"]
    unembedding: Tensor | None
    """`[vocab, d]`, where logits are its product with a state; None where something else stands between them."""


@dataclass(frozen=True, slots=True)
class AblatedBlock:
    """An ablated run at the same positions."""

    state: Float[Tensor, "position d"]
    logits: Float[Tensor, "position vocab"]
    norm: Float[Tensor, "position"]
    """The logarithm of the sum of the logits' exponentials."""
    nll: Float[Tensor, "position"]


@dataclass(frozen=True)
class PlainRun:
    """One run of one prompt, at every position but the last."""

    log_p: Float[Tensor, "pos vocab"]
    target: Int[Tensor, "pos"]
    """The next tokens."""

    @cached_property
    def probability(self) -> Float[Tensor, "pos vocab"]:
        """The same, not as logarithms."""
        return self.log_p.exp()


@dataclass(frozen=True, slots=True)
class Answered:
    """One run at the position after each prompt's last token, where its answer would follow."""

    logits: Float[Tensor, "prompt vocab"]
    answer: Int[Tensor, "prompt"]
    foil: Int[Tensor, "prompt"]
    """The answer again where there is no foil."""
    unfoiled: Bool[Tensor, "prompt"]
    """Where there is none."""

    @classmethod
    def of(cls, logits: Float[Tensor, "prompt vocab"], answers: Answers) -> Answered:
        """A run's logits with what was asked of it."""

        def tensor(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, device=logits.device)

        foils = [answer if foil is None else foil for answer, foil in answers]
        unfoiled = tensor([foil is None for _, foil in answers])
        return cls(logits, tensor([answer for answer, _ in answers]), tensor(foils), unfoiled)

    def at(self, tokens: Int[Tensor, "prompt"]) -> tuple[Tensor, Tensor]:
        """Return where the logit of each prompt's token is."""
        return torch.arange(len(tokens), device=tokens.device), tokens


Fast = Callable[[Any], Callable[[Any], Tensor]]
Plain = Callable[[Any, Any], Tensor]


@cache
def fast(metric: Metric) -> Fast:
    """Return the sweep's way of computing a metric."""
    found: Fast = import_module(f"{__name__}.{metric}").fast
    return found


@cache
def plain(metric: Metric) -> Plain:
    """Return the plain path's way of computing it."""
    found: Plain = import_module(f"{__name__}.{metric}").plain
    return found
