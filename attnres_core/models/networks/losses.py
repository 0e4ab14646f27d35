"""The loss of next tokens, with gradients, in blocks of bounded size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint as recomputed

from attnres_core.models.networks.network import Network
from attnres_core.shapes import Bool, Float, Int

ROWS = 512
"""Rows of logits that are held at a time."""


def summed_loss(
    network: Network,
    hidden: Float[Tensor, "batch pos d"],
    ids: Int[Tensor, "batch pos"],
    scored: Bool[Tensor, "batch pos"],
) -> Float[Tensor, ""]:
    """The prompts' mean losses of their scored positions, in nats per token, summed over prompts.

    Args:
        network: what unembeds.
        hidden: normalised final states.
        ids: token ids.
        scored: the positions whose next token is scored.
    """
    at = torch.nonzero(scored, as_tuple=True)
    states, target = hidden[at], ids[at[0], at[1] + 1]
    share = 1 / scored.sum(1)[at[0]]  # of its prompt's mean
    blocks = zip(
        *(part.split(ROWS) for part in (states, target.to(states.device), share.to(states.device))), strict=True
    )
    return torch.stack([_block(network, *block) for block in blocks]).sum()


def _block(network: Network, states: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """A block's part of the loss; the backward pass makes its logits anew, so that one block's are held at a time."""

    def weighted(states: Tensor) -> Tensor:
        return (functional.cross_entropy(network.unembed(states), target, reduction="none") * share).sum()

    if not torch.is_grad_enabled():
        return weighted(states)
    found: Tensor = recomputed(weighted, states, use_reentrant=False)
    return found
