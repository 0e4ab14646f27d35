"""The loss of the answer's probability."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attnres_core.engine.metrics import Answered
from attnres_core.shapes import Float


def fast(clean: Answered) -> Callable[[Answered], Float[Tensor, "prompt"]]:
    """Subtract the ablated run's probability, in double precision."""
    before = _probability(clean)
    return lambda ablated: before - _probability(ablated)


def plain(clean: Answered, ablated: Answered) -> Float[Tensor, "prompt"]:
    """Subtract the ablated run's probability, in double precision."""
    return _probability(clean) - _probability(ablated)


def _probability(run: Answered) -> Float[Tensor, "prompt"]:
    return run.logits.softmax(-1)[run.at(run.answer)].double()
