"""The loss of the answer's lead over its foil, in logits; NaN where a prompt has no foil."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnres_core.engine.metrics import Answered
from attnres_core.shapes import Float


def fast(clean: Answered) -> Callable[[Answered], Float[Tensor, "prompt"]]:
    """Subtract the ablated run's lead, in double precision."""
    before = _lead(clean).double()
    return lambda ablated: before - _lead(ablated).double()


def plain(clean: Answered, ablated: Answered) -> Float[Tensor, "prompt"]:
    """Subtract the ablated run's lead, in double precision."""
    return _lead(clean).double() - _lead(ablated).double()


def _lead(run: Answered) -> Float[Tensor, "prompt"]:
    lead = run.logits[run.at(run.answer)] - run.logits[run.at(run.foil)]
    return lead.masked_fill(run.unfoiled, torch.nan)
