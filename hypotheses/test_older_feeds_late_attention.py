"""Motif 3 of arXiv:2606.13168: older blocks feed late attention.

With few blocks the family does not exist in the early band, so it is set against the middle band alone.
"""

from attnres_core import ATTN, LATE, MID, MLP, OLDER, TRAINED, claim, drop, resample

PAPER = "arXiv:2606.13168, motif older -> late attention"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim(effect=drop(OLDER, ATTN, LATE).on(TRAINED), under=[drop, resample], cites=PAPER)
def test_older_blocks_are_necessary_for_late_attention(effect):
    assert effect > MIN_EFFECT


@claim(
    late=drop(OLDER, ATTN, LATE).on(TRAINED),
    mid=drop(OLDER, ATTN, MID).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_older_pathway_is_local_to_late_layers(late, mid):
    assert late - mid > 0


@claim(
    attn=drop(OLDER, ATTN, LATE).on(TRAINED),
    mlp=drop(OLDER, MLP, LATE).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_older_pathway_is_stronger_in_attention_than_in_mlp(attn, mlp):
    assert attn - mlp > 0
