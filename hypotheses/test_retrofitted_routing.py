"""Claim 8 of arXiv:2606.13168 from its other side: what routing becomes that was trained after everything else.

The paper finds structure where routing was part of training. A retrofit trains the routing of a pretrained model and
none of its other weights (`python -m attnres_core train --retrofit`). NOT APPLICABLE to checkpoints that are no
retrofit. Its control, gains of the base's norms trained alone on the same text, goes in as `--attnres-vanilla`. On
documents of packages that are not in that text, read without an end-of-text mark before them, as all prompts are.
"""

from attnres_core import (
    ALL_SITES,
    ATTN,
    BASE,
    EARLY,
    EMBEDDING,
    GAINS,
    LATE,
    MLP,
    OLDER,
    TRAINED,
    average,
    claim,
    drop,
    loss,
    resample,
)

PAPER = "arXiv:2606.13168, trained against wrapped, turned round: routing trained after the fact"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim(
    "routing trained after the fact lowers the loss",
    base=loss().on(BASE, prompts="unseen"),
    routing=loss().on(TRAINED, prompts="unseen"),
    cites=PAPER,
)
def test_routing_lowers_the_loss(base, routing):
    assert base - routing > MIN_EFFECT


@claim(
    "gains of norms, trained alone, lower the loss by more than routing does",
    base=loss().on(BASE, prompts="unseen"),
    routing=loss().on(TRAINED, prompts="unseen"),
    gains=loss().on(GAINS, prompts="unseen"),
    cites=PAPER,
)
def test_gains_alone_lower_it_by_more(base, routing, gains):
    assert base - gains > MIN_EFFECT
    assert routing - gains > 0


@claim(
    "averaging the weights over tokens costs a quarter of what routing gains, or more",
    base=loss().on(BASE, prompts="unseen"),
    routing=loss().on(TRAINED, prompts="unseen"),
    averaged=average(ALL_SITES).on(TRAINED, prompts="unseen"),
    cites=PAPER,
)
def test_averaged_weights_lose_a_quarter_of_the_gain(base, routing, averaged):
    assert base - routing > MIN_EFFECT
    assert averaged - 0.25 * (base - routing) > 0


@claim(
    "the embedding motif does not appear, although routing trained after the fact lowers the loss",
    base_loss=loss().on(BASE, prompts="unseen"),
    routing_loss=loss().on(TRAINED, prompts="unseen"),
    base=drop(EMBEDDING, MLP, EARLY).on(BASE, prompts="unseen"),
    routing=drop(EMBEDDING, MLP, EARLY).on(TRAINED, prompts="unseen"),
    under=[drop, resample],
    contradicts="test_embedding_feeds_early_mlp.py::test_embedding_source_is_necessary_for_early_mlp",
    cites=PAPER,
)
def test_embedding_motif_does_not_appear(base_loss, routing_loss, base, routing):
    assert base_loss - routing_loss > MIN_EFFECT
    assert abs(routing - base) < MIN_EFFECT


@claim(
    "older blocks come to matter to late mlp, and more than to late attention, in routing trained after the fact",
    attn=drop(OLDER, ATTN, LATE).on(TRAINED, prompts="unseen"),
    mlp=drop(OLDER, MLP, LATE).on(TRAINED, prompts="unseen"),
    constant_attn=drop(OLDER, ATTN, LATE).on(GAINS, prompts="unseen"),
    constant_mlp=drop(OLDER, MLP, LATE).on(GAINS, prompts="unseen"),
    under=[drop, resample],
    contradicts="test_older_feeds_late_attention.py::test_older_pathway_is_stronger_in_attention_than_in_mlp",
    cites=PAPER,
)
def test_older_motif_is_not_of_attention_alone(attn, mlp, constant_attn, constant_mlp):
    assert mlp - constant_mlp > MIN_EFFECT
    assert (mlp - constant_mlp) - (attn - constant_attn) > 0
