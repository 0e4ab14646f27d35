"""The same numbers the plain way, in float32: one full forward per ablation, all logits, nothing shared.

What the fast path is held against: by the noise floor of every claim's effects, and by tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attnres_core.engine.scoring import Answers, Batch, answer_scores
from attnres_core.engine.sweep import RoutingObserver
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Reference
from attnres_core.planning.requests import NLL, ROUTING, field_of
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.vocabulary import Positions
from attnres_core.shapes import Unit


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
    ablated: dict[str, Tensor] = {}
    for intervention in dict.fromkeys(interventions):
        overrides = Overrides([intervention], token_ids, places, reference)
        ablated[intervention.key] = network.run(network.begin(batch.ids), inputs, overrides=overrides)
    losses: list[float] = []
    scores: dict[str, list[dict[str, float]]] = {key: [] for key in ablated}
    for row, tokens in enumerate(token_ids):  # (so that one prompt's logits exist at a time)
        target = torch.tensor(tokens[1:], device=clean.device)
        before = network.unembed(clean[row, : len(target)]).log_softmax(-1)
        probability = before.exp()
        losses.append(float(functional.nll_loss(before, target)))
        for key, states in ablated.items():
            after = network.unembed(states[row, : len(target)]).log_softmax(-1)
            scores[key].append(_scores(before, probability, after, target))
    units: dict[str, Unit] = {ROUTING: {**routing.unit(), NLL: np.array(losses)}}
    for key, found in scores.items():
        units[key] = {field: np.array([row[field] for row in found]) for field in found[0]}
    if answers is not None:
        last = torch.tensor(lengths, device=clean.device) - 1

        def ends(states: Tensor) -> tuple[np.ndarray, np.ndarray]:
            return answer_scores(network.unembed(states[torch.arange(len(states), device=clean.device), last]), answers)

        was = ends(clean)
        for key, states in ablated.items():
            changes = zip((Metric.LOGIT_DIFFERENCE, Metric.ANSWER_PROBABILITY), was, ends(states), strict=True)
            units[key] |= {metric.value: before - after for metric, before, after in changes}
    return units


def _scores(before: Tensor, probability: Tensor, after: Tensor, target: Tensor) -> dict[str, float]:
    """NLL rise and KL(clean || ablated) of one prompt, over each choice of positions.

    Args:
        before: the clean run's log-probabilities, `[pos, vocab]`.
        probability: the same, not as logarithms.
        after: the ablated run's.
        target: the next tokens, `[pos]`.
    """
    scored = len(target)
    rise = functional.nll_loss(after, target, reduction="none") - functional.nll_loss(before, target, reduction="none")
    kl = (probability * (before - after)).sum(-1)
    spans = {
        Positions.ALL: slice(None),
        Positions.FIRST_THIRD: slice(math.ceil(scored / 3)),
        Positions.LAST: slice(-1, None),
    }
    each = ((Metric.DELTA_NLL, rise), (Metric.KL, kl))
    return {field_of(name, at): float(found[span].mean()) for name, found in each for at, span in spans.items()}
