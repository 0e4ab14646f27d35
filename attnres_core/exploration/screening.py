"""Every drop at once, approximately: one forward and one backward pass, and one sublayer a cell. Looks, never decides.

A drop at one site changes what one sublayer reads, and so what it writes, from o to o'. The sublayer is run on the
ablated read, so that o' is exact. What follows is taken to first order: the loss of a prompt moves by (o' - o) . dL/do,
summed over its positions. (First order in the weights ranks effects badly: .19 and .14 on the reference checkpoints.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnres_core.engine.resources import Resources
from attnres_core.engine.scoring import Batch
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.loading import load_checkpoint
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.losses import summed_loss
from attnres_core.models.networks.network import LayeredNetwork, Network
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.routing import Read, SiteOverride, Source
from attnres_core.planning.material import CHUNK
from attnres_core.prompts import PromptSet
from attnres_core.quantities.intervention import cells
from attnres_core.quantities.vocabulary import Family, Site, SiteKey, Sublayer
from attnres_core.shapes import Column


@dataclass(frozen=True, slots=True)
class _Written:
    """The output of a sublayer of the clean run; where no sublayer is at hand, its read."""

    inputs: Any
    reads: list[Tensor]
    """What each of the sublayer's streams read, `[prompt, pos, d]`; none where there is no sublayer at hand."""
    output: Tensor


@exact_arithmetic()
def screen(model: AttnResModel, token_ids: Sequence[Sequence[int]]) -> dict[tuple[Site, Family], Column]:
    """Approximate delta_nll of dropping each family at each site alone, nats per token, `[prompt]`.

    Where the mean loss is stationary the numbers of single prompts cancel: rank cells by the mean of their sizes.

    Args:
        model: from `load_model` or `adapt`. Of an adapted model no sublayer is at hand, and of the read-out there is
            none: there the read itself is what is taken to first order.
        token_ids: prompts that the model can read, together in memory (with all states of one backward pass).
    """
    network, batch = model.network, Batch.of(token_ids, model.device)
    network.requires_grad_(False)
    reads: dict[SiteKey, tuple[list[Source], Read]] = {}
    writers: dict[SiteKey, _Written] = {}

    def keep(key: SiteKey, own: list[Source], read: Read) -> None:
        reads[key] = [Source(source.state.detach(), source.eps) for source in own], read.detached()
        writers[key] = _Written(None, [], read.mixture)

    def written(layer: int, sublayer: Sublayer, read: list[Tensor], inputs: Any, output: Source) -> None:
        assert isinstance(network, LayeredNetwork), "no other calls this"
        for name in network.dialect.streams(layer, sublayer):
            writers[SiteKey(layer, sublayer, name)] = _Written(inputs, [each.detach() for each in read], output.state)

    nothing = torch.zeros(1, 1, 1, device=model.device, requires_grad=True)  # (weights have none: gradients begin here)
    options: dict[str, Any] = {"overrides": {site.key: SiteOverride(logit_bias=nothing) for site in model.sites}}
    options |= {"after_write": written} if isinstance(network, LayeredNetwork) else {}
    with torch.enable_grad():
        hidden = network.run(network.begin(batch.ids), network.prepare(batch.ids), observe=keep, **options)
        loss = summed_loss(network, hidden, batch.ids, batch.scored)
        outputs = {key: own.output for key, own in writers.items() if own.output.requires_grad}
        found_slopes = torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)
        slopes = dict(zip(outputs, found_slopes, strict=True))  # (before the first site nothing has one)
    found: dict[tuple[Site, Family], Column] = {}
    with torch.inference_mode():
        for site in model.sites:
            writer, slope = writers[site.key], slopes[site.key]
            for family in dict.fromkeys(site.sources):
                if family is None:
                    continue
                rise = torch.zeros(len(batch.ids))
                if slope is not None and not site.unread:
                    others = [index for index, own in enumerate(site.sources) if own is not family]
                    own, read = reads[site.key]
                    moved = _rewritten(network, site, writer, read.of_some(own, others))
                    rise = ((moved - writer.output.detach()).float() * slope.float()).sum((1, 2))
                found[site, family] = np.asarray(rise.double().cpu())
    return found


def _rewritten(network: Network, site: Site, writer: _Written, read: Tensor) -> Tensor:
    """Return what the site's sublayer writes when one of its streams reads something else."""
    if not isinstance(network, LayeredNetwork) or not writer.reads:
        return read
    streams = network.dialect.streams(site.layer, site.sublayer)
    read = read.contiguous()  # (inkling2's experts want it so)
    reads = [read if name == site.stream else own for name, own in zip(streams, writer.reads, strict=True)]
    return network.write(site.layer, site.sublayer, reads, writer.inputs).state


def screened_map(checkpoint: Checkpoint, prompts: PromptSet, resources: Resources) -> list[float]:
    """Mean sizes of the screened effects of a map's cells, in its order, over the same prompts."""
    model = load_checkpoint(checkpoint, resources.slots[0], resources.dtype)
    ids = prompts.token_ids(checkpoint.tokenizer_file)
    found = [screen(model, ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
    columns = {cell: np.concatenate([np.abs(part[cell]) for part in found]) for cell in found[0]}
    return [float(prompts.by_document(columns[cell]).mean()) for cell in cells(checkpoint.sites)]
