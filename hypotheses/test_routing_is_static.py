"""A sparse-routing study's finding that depth weights are nearly static over tokens: averaging them costs nothing.

The opposite of test_weights_fit_their_tokens.py, as an equivalence: with the weights of every token replaced by their
average, the loss stays within a margin that no benefit of content-dependent mixing would fit into. The study speaks of
the weights; that what changes in them should cost nothing is our reading of "nearly static". We know the study from a
summary of the literature alone (ATTNRES.md, where it has no identifier) and have not read it.
"""

import pytest

from attnres_core import ATTN, MLP, TRAINED, average, claim

PAPER = "sparse-routing study of a 124M model: routing nearly static over tokens"
NO_COST = (
    0.003  # nats per token: the smallest difference between dynamic and static mixing that arXiv:2603.15031 reports
)


@claim("averaging the depth weights over tokens costs nothing", cites=PAPER)
@pytest.mark.parametrize("cost", [pytest.param(average(sub).on(TRAINED), id=sub) for sub in (ATTN, MLP)])
def test_averaged_weights_cost_nothing(cost):
    assert abs(cost) < NO_COST
