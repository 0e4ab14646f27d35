"""Keep-top-k retention of sparse depth routing: each token's two largest depth weights carry the loss, one does not.

The weights that are kept are chosen by each token for itself, at every site of a sublayer at once, and scaled up to
one. Sites with two sources, the first block's, keep both under the first claim: it is about the rest. We know the study
from a summary of the literature alone (ATTNRES.md, where it has no identifier) and have not read it: the two, the one
and the margin are ours.
"""

import pytest

from attnres_core import ATTN, MLP, TRAINED, claim, keep_top

PAPER = "sparse-routing study of a 124M model: keep-top-k retention"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim("each token's two largest depth weights carry the loss", cites=PAPER)
@pytest.mark.parametrize("cost", [pytest.param(keep_top(2, sub).on(TRAINED), id=sub) for sub in (ATTN, MLP)])
def test_two_largest_weights_suffice(cost):
    assert cost < MIN_EFFECT


@claim("each token's largest depth weight alone does not carry the loss", cites=PAPER)
@pytest.mark.parametrize("cost", [pytest.param(keep_top(1, sub).on(TRAINED), id=sub) for sub in (ATTN, MLP)])
def test_largest_weight_alone_does_not_suffice(cost):
    assert cost > MIN_EFFECT
