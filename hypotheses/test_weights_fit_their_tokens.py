"""Content-dependence of arXiv:2603.15031: weights that do not depend on the token cost.

The paper's gain of input-dependent over static mixing is .003 to .020 nats per token, of models trained for it. Here a
trained model's weights are replaced: by their average over tokens, and by those of random other tokens.
"""

from attnres_core import ATTN, MLP, TRAINED, average, claim, shuffle

PAPER = "arXiv:2603.15031, input-dependent against static mixing"
STATIC = "test_routing_is_static.py::test_averaged_weights_cost_nothing"
MIN_COST = 0.003  # nats per token: the smallest difference that the paper reports


@claim(cost=average(ATTN).on(TRAINED), cites=PAPER, contradicts=f"{STATIC}[attn]")
def test_averaged_attention_weights_cost(cost):
    assert cost > MIN_COST


@claim(cost=average(MLP).on(TRAINED), cites=PAPER, contradicts=f"{STATIC}[mlp]")
def test_averaged_mlp_weights_cost(cost):
    assert cost > MIN_COST


@claim(cost=shuffle(ATTN).on(TRAINED), cites=PAPER)
def test_shuffled_attention_weights_cost(cost):
    assert cost > MIN_COST


@claim(cost=shuffle(MLP).on(TRAINED), cites=PAPER)
def test_shuffled_mlp_weights_cost(cost):
    assert cost > MIN_COST
