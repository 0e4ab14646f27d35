"""Every drop at once, to first order: one forward and one backward pass. An approximation, to look before measuring.

A drop of family f moves a position's depth weights from a to a / (1 - a_f) on the kept sources. To first order in the
weights, the loss rises by -(dL/db_f) / (1 - a_f), with b_f a bias added to the family's logits and a_f its weight.
Where a read adds to the running state and the family is all that is added, it rises by -dL/dc, with c a factor of the
mixture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as recomputed

from attnres_core.engine.resources import SCORE_ROWS, Resources
from attnres_core.engine.scoring import Batch
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.loading import load_checkpoint
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.network import Network
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.routing import Read, SiteOverride, Source
from attnres_core.planning.material import CHUNK
from attnres_core.prompts import PromptSet
from attnres_core.quantities.intervention import cells
from attnres_core.quantities.vocabulary import Family, Site, SiteKey
from attnres_core.shapes import Column

LEAST_KEPT = 1e-3
"""Less weight than this left on the kept sources is taken as this much: a first-order step has no meaning there."""


@exact_arithmetic()
def screen(model: AttnResModel, token_ids: Sequence[Sequence[int]]) -> dict[tuple[Site, Family], Column]:
    """Approximate delta_nll of dropping each family at each site alone, nats per token, `[prompt]`.

    Args:
        model: from `load_model`.
        token_ids: prompts that the model can read, together in memory (with all states of one backward pass).
    """
    network, batch = model.network, Batch.of(token_ids, model.device)
    network.requires_grad_(False)
    biases: dict[SiteKey, Tensor] = {}
    factors: dict[SiteKey, Tensor] = {}
    weights: dict[SiteKey, Tensor] = {}
    for site in model.sites:
        shape = (len(site.sources), *batch.ids.shape)
        biases[site.key] = torch.zeros(shape, device=model.device, requires_grad=True)
        if site.adds_to_state and len(set(site.sources)) == 1:
            factors[site.key] = torch.ones(shape[1:], device=model.device, requires_grad=True)

    def keep(key: SiteKey, sources: list[Source], read: Read) -> None:
        weights[key] = read.natural.detach()

    def override(key: SiteKey) -> SiteOverride:
        scaled = ((slice(None), lambda weights: weights.clone() * factors[key]),) if key in factors else ()
        return SiteOverride(logit_bias=biases[key], rewrites=scaled)

    overrides = {key: override(key) for key in biases}
    with torch.enable_grad():
        hidden = network.run(network.begin(batch.ids), network.prepare(batch.ids), overrides=overrides, observe=keep)
        scored = torch.nonzero(batch.scored, as_tuple=True)
        states, target = hidden[scored], batch.ids[scored[0], scored[1] + 1]
        share = 1 / batch.scored.sum(1)[scored[0]]  # of its prompt's mean
        blocks = zip(*(part.split(SCORE_ROWS) for part in (states, target, share)), strict=True)
        loss = torch.stack([_loss(network, *block) for block in blocks]).sum()
        moved = [*biases.values(), *factors.values()]
        slopes = torch.autograd.grad(loss, moved, allow_unused=True)
    grads, of_factors = dict(zip(biases, slopes, strict=False)), dict(zip(factors, slopes[len(biases) :], strict=True))
    found: dict[tuple[Site, Family], Column] = {}
    for site in model.sites:
        grad = grads[site.key]
        for family in dict.fromkeys(site.sources):
            if family is None:
                continue
            index = [place for place, member in enumerate(site.sources) if member is family]
            kept = (1 - weights[site.key][index].sum(0)).clamp(min=LEAST_KEPT)
            slope = of_factors[site.key] if site.key in factors else None if grad is None else grad[index].sum(0) / kept
            rise = torch.zeros_like(kept) if slope is None else -slope  # (prompt, pos)
            found[site, family] = np.asarray(rise.sum(1).double().cpu())
    return found


def _loss(network: Network, states: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """A block's share of the loss; the backward pass makes its logits anew, so that one block's are held at a time."""

    def weighted(states: Tensor) -> Tensor:
        return (functional.cross_entropy(network.unembed(states), target, reduction="none") * share).sum()

    found: Tensor = recomputed(weighted, states, use_reentrant=False)
    return found


def screened_map(checkpoint: Checkpoint, prompts: PromptSet, resources: Resources) -> list[float]:
    """Mean first-order effects of a map's cells, in its order, over the same prompts."""
    model = load_checkpoint(checkpoint, resources.slots[0], resources.dtype)
    ids = prompts.token_ids(checkpoint.tokenizer_file)
    found = [screen(model, ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
    columns = {cell: np.concatenate([part[cell] for part in found]) for cell in found[0]}
    return [float(prompts.by_document(columns[cell]).mean()) for cell in cells(checkpoint.sites)]
