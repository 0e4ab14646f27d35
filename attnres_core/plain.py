"""The same numbers the plain way, in float32: one full forward per ablation, all logits, nothing shared.

What the fast path is held against: by the noise floor of every claim's effects, and by tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attnres_core.columns import NLL, ROUTING, field_of
from attnres_core.intervention import Intervention
from attnres_core.models.model import AttnResModel
from attnres_core.models.overrides import Overrides
from attnres_core.models.precision import exact_arithmetic
from attnres_core.models.reference import Reference
from attnres_core.shapes import Unit
from attnres_core.sweep import Answers, Batch, RoutingObserver, answer_scores
from attnres_core.vocabulary import ANSWER_METRICS, Metric, Positions


@torch.inference_mode()
@exact_arithmetic()
def plain_chunk(
    model: AttnResModel,
    token_ids: Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    reference: Reference | None = None,
    answers: Answers | None = None,
) -> dict[str, Unit]:
    """Units of one chunk of prompts: `ROUTING` of the clean run, every metric of every intervention, by key."""
    network, batch = model.network, Batch.of(token_ids, model.device)
    lengths = list(map(len, token_ids))
    mask = torch.tensor([[pos < length for pos in range(max(lengths))] for length in lengths], device=model.device)
    inputs = network.prepare(batch.ids, mask)
    routing = RoutingObserver(model, batch)
    clean = network.run(network.begin(batch.ids), inputs, observe=routing)
    places = torch.arange(batch.ids.shape[1], device=model.device).expand_as(batch.ids)
    losses = [_losses(network.unembed, *row).mean() for row in zip(clean, token_ids, strict=True)]
    units: dict[str, Unit] = {ROUTING: {**routing.unit(), NLL: np.array(list(map(float, losses)))}}
    for intervention in dict.fromkeys(interventions):
        overrides = Overrides([intervention], token_ids, places, reference)
        ablated = network.run(network.begin(batch.ids), inputs, overrides=overrides)
        scores = [_scores(network.unembed, *row) for row in zip(clean, ablated, token_ids, strict=True)]
        unit = {field: np.array([found[field] for found in scores]) for field in scores[0]}
        if answers is not None:
            rows = range(len(token_ids))
            ends = ([state[row, lengths[row] - 1] for row in rows] for state in (clean, ablated))
            before, after = (answer_scores(network.unembed(torch.stack(states)), answers) for states in ends)
            unit |= {metric.value: was - now for metric, was, now in zip(ANSWER_METRICS, before, after, strict=True)}
        units[intervention.key] = unit
    return units


def _losses(head: Callable[[Tensor], Tensor], state: Tensor, tokens: Sequence[int]) -> Tensor:
    """Each predicted token's loss `[pos]` in nats, from all logits of one prompt."""
    target = torch.tensor(tokens[1:], device=state.device)
    return functional.cross_entropy(head(state[: len(target)]), target, reduction="none")


def _scores(
    head: Callable[[Tensor], Tensor], clean: Tensor, ablated: Tensor, tokens: Sequence[int]
) -> dict[str, float]:
    """NLL rise and KL(clean || ablated) of one prompt, from all its logits, over each choice of positions."""
    scored = len(tokens) - 1
    target = torch.tensor(tokens[1:], device=clean.device)
    before, after = (head(state[:scored]).log_softmax(-1) for state in (clean, ablated))
    rise = functional.nll_loss(after, target, reduction="none") - functional.nll_loss(before, target, reduction="none")
    kl = functional.kl_div(after, before, log_target=True, reduction="none").sum(-1)
    spans = {
        Positions.ALL: slice(None),
        Positions.FIRST_THIRD: slice(math.ceil(scored / 3)),
        Positions.LAST: slice(-1, None),
    }
    each = ((Metric.DELTA_NLL, rise), (Metric.KL, kl))
    return {field_of(name, at): float(found[span].mean()) for name, found in each for at, span in spans.items()}
