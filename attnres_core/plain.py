"""The same numbers the plain way, in float32: one full forward per ablation, all logits, nothing shared.

What the fast path is held against: by the noise floor of every claim's effects, and by tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attnres_core.columns import ROUTING
from attnres_core.intervention import Intervention
from attnres_core.models.model import AttnResModel, drop_overrides
from attnres_core.shapes import Unit
from attnres_core.sweep import Batch, RoutingObserver
from attnres_core.vocabulary import Metric


@torch.inference_mode()
def plain_chunk(
    model: AttnResModel, token_ids: Sequence[Sequence[int]], interventions: Sequence[Intervention]
) -> dict[str, Unit]:
    """Units of one chunk of prompts: `ROUTING` of the clean run, `delta_nll` and `kl` of every intervention, by key."""
    network, batch = model.network, Batch.of(token_ids, model.device)
    lengths = list(map(len, token_ids))
    mask = torch.tensor([[pos < length for pos in range(max(lengths))] for length in lengths], device=model.device)
    inputs = network.prepare(batch.ids, mask)
    routing = RoutingObserver(model, batch)
    clean = network.run(network.begin(batch.ids), inputs, observe=routing)
    units: dict[str, Unit] = {ROUTING: routing.unit()}
    for intervention in dict.fromkeys(interventions):
        overrides = drop_overrides([intervention], 1, model.device)
        ablated = network.run(network.begin(batch.ids), inputs, overrides=overrides)
        scores = [_scores(network.lm_head, *row) for row in zip(clean, ablated, token_ids, strict=True)]
        delta_nll, kl = np.array(scores).T
        units[intervention.key] = {Metric.DELTA_NLL: delta_nll, Metric.KL: kl}
    return units


def _scores(head: torch.nn.Module, clean: Tensor, ablated: Tensor, tokens: Sequence[int]) -> tuple[float, float]:
    """(NLL rise, KL(clean || ablated)) of one prompt, from all its logits."""
    scored = len(tokens) - 1
    target = torch.tensor(tokens[1:], device=clean.device)
    before, after = (head(state[:scored]).float().log_softmax(-1) for state in (clean, ablated))
    rise = functional.nll_loss(after, target) - functional.nll_loss(before, target)
    kl = functional.kl_div(after, before, log_target=True, reduction="batchmean")
    return float(rise), float(kl)
