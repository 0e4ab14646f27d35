"""Motif 2 of arXiv:2606.13168: the current state feeds early attention and early MLPs."""

from attnres_core import ATTN, CURRENT, EARLY, LATE, MID, MLP, TRAINED, claim, drop, resample

PAPER = "arXiv:2606.13168, motif current -> early attention and early MLP"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED), under=[drop, resample], cites=PAPER)
def test_current_source_is_necessary_for_early_attention(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(CURRENT, MLP, EARLY).on(TRAINED), under=[drop, resample], cites=PAPER)
def test_current_source_is_necessary_for_early_mlp(effect):
    assert effect > MIN_EFFECT


@claim(
    early=drop(CURRENT, ATTN, EARLY).on(TRAINED),
    mid=drop(CURRENT, ATTN, MID).on(TRAINED),
    late=drop(CURRENT, ATTN, LATE).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_current_to_attention_is_local_to_early_layers(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(
    early=drop(CURRENT, MLP, EARLY).on(TRAINED),
    mid=drop(CURRENT, MLP, MID).on(TRAINED),
    late=drop(CURRENT, MLP, LATE).on(TRAINED),
    under=[drop, resample],
    cites=PAPER,
)
def test_current_to_mlp_is_local_to_early_layers(early, mid, late):
    assert early - mid > 0
    assert early - late > 0
