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

from attnres_core.engine.metrics import Answered, Answers, PlainRun, plain
from attnres_core.engine.scoring import Batch
from attnres_core.engine.sweep import RoutingObserver
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Donors, Reference
from attnres_core.planning.requests import NLL, ROUTING, field_of
from attnres_core.prompts import Pairs
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.metrics import TOGETHER, Metric
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
    metrics: Sequence[Metric] = TOGETHER,
    pairs: Pairs | None = None,
) -> dict[str, Unit]:
    """Units of one chunk of prompts: `ROUTING` of the clean run, the metrics of every intervention, by key."""
    network, batch = model.network, Batch.of(token_ids, model.device)
    lengths = list(map(len, token_ids))
    mask = torch.tensor([[pos < length for pos in range(max(lengths))] for length in lengths], device=model.device)
    inputs = network.prepare(batch.ids, mask)
    routing = RoutingObserver(model, batch)
    clean = network.run(network.begin(batch.ids), inputs, observe=routing)
    places = torch.arange(batch.ids.shape[1], device=model.device).expand_as(batch.ids)
    ablated: dict[str, Tensor] = {}
    donors = Donors(network, token_ids, pairs)
    for intervention in dict.fromkeys(interventions):
        if intervention.spec.whole:
            ablated[intervention.key] = donors.of(intervention.control).final
            continue
        overrides = Overrides([intervention], token_ids, places, reference, donors)
        ablated[intervention.key] = network.run(network.begin(batch.ids), inputs, overrides=overrides)
    losses: list[float] = []
    scores: dict[str, list[dict[str, float]]] = {key: [] for key in ablated}
    for row, tokens in enumerate(token_ids):  # (so that one prompt's logits exist at a time)
        target = torch.tensor(tokens[1:], device=clean.device)

        def run_of(states: Tensor, row: int = row, target: Tensor = target) -> PlainRun:
            return PlainRun(network.unembed(states[row, : len(target)]).log_softmax(-1), target)

        before = run_of(clean)
        losses.append(float(functional.nll_loss(before.log_p, target)))
        for key, states in ablated.items():
            scores[key].append(_scores(before, run_of(states), metrics))
    units: dict[str, Unit] = {ROUTING: {**routing.unit(), NLL: np.array(losses)}}
    for key, found in scores.items():
        units[key] = {field: np.array([row[field] for row in found]) for field in found[0]}
    if answers is not None:
        ends = torch.arange(len(token_ids), device=clean.device), torch.tensor(lengths, device=clean.device) - 1
        was = Answered.of(network.unembed(clean[ends]), answers)
        for key, states in ablated.items():
            now = Answered.of(network.unembed(states[ends]), answers)
            asked = [metric for metric in metrics if metric.spec.needs]
            units[key] |= {field_of(metric): plain(metric)(was, now).cpu().numpy() for metric in asked}
    return units


def _scores(before: PlainRun, after: PlainRun, metrics: Sequence[Metric]) -> dict[str, float]:
    """Metrics of the next tokens of one prompt, over each choice of positions."""
    scored = len(before.target)
    spans = {
        Positions.ALL: slice(None),
        Positions.FIRST_THIRD: slice(math.ceil(scored / 3)),
        Positions.LAST: slice(-1, None),
    }
    each = [(metric, plain(metric)(before, after)) for metric in metrics if not metric.spec.needs]
    return {field_of(name, at): float(found[span].mean()) for name, found in each for at, span in spans.items()}
