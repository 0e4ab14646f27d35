"""Motif 1 of arXiv:2606.13168: the embedding source feeds early MLPs.

Localised means: the same drop costs more here than in every other band, and more than in the other sublayer.
"""

from attnres_core import ATTN, EARLY, EMBEDDING, LATE, MID, MLP, TRAINED, claim, drop, resample

PAPER = "arXiv:2606.13168, motif embedding -> early MLP"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED), under=[drop, resample], cites=PAPER)
def test_embedding_source_is_necessary_for_early_mlp(effect):
    assert effect > MIN_EFFECT


@claim(
    early=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    mid=drop(EMBEDDING, MLP, MID).on(TRAINED),
    late=drop(EMBEDDING, MLP, LATE).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_embedding_pathway_is_local_to_early_layers(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(
    mlp=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    attn=drop(EMBEDDING, ATTN, EARLY).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_embedding_pathway_is_stronger_in_mlp_than_in_attention(mlp, attn):
    assert mlp - attn > 0
