"""Dose and response: a pathway that is used loses more, the more its logits are turned down.

Each dose is added to the family's logits before the softmax; dropping it would be a dose of minus infinity.
"""

from attnres_core import ATTN, EARLY, EMBEDDING, LATE, MLP, OLDER, TRAINED, amplify, claim

PAPER = "arXiv:2606.13168, the motifs by dose"


def _doses(family, sublayer, band):
    names = {"by_one": -1, "by_two": -2, "by_four": -4}
    return {name: amplify(family, sublayer, band, by=by).on(TRAINED) for name, by in names.items()}


@claim(**_doses(EMBEDDING, MLP, EARLY), cites=PAPER)
def test_less_embedding_in_early_mlp_costs_more(by_one, by_two, by_four):
    assert by_one > 0
    assert by_two - by_one > 0
    assert by_four - by_two > 0


@claim(**_doses(OLDER, ATTN, LATE), cites=PAPER)
def test_less_of_older_blocks_in_late_attention_costs_more(by_one, by_two, by_four):
    assert by_one > 0
    assert by_two - by_one > 0
    assert by_four - by_two > 0
