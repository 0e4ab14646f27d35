"""Claim 8 of arXiv:2606.13168 from its other side: what routing becomes that was trained after everything else.

The paper finds structure where routing was part of training. A retrofit trains the routing of a pretrained model and
none of its other weights (`python -m attnres_core train --retrofit`). NOT APPLICABLE to checkpoints that are no
retrofit. The control goes in as `--attnres-vanilla`: the same base with the gains of its norms trained alone, on the
same text. What the base does is subtracted: it is wrapped, and computes its own function.
"""

from attnres_core import (
    ALL_SITES,
    ATTN,
    BASE,
    EARLY,
    EMBEDDING,
    LATE,
    MLP,
    OLDER,
    TRAINED,
    WRAPPED,
    average,
    claim,
    drop,
    loss,
    resample,
)

PAPER = "arXiv:2606.13168, trained against wrapped, turned round: routing trained after the fact"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing


@claim("routing trained after the fact lowers the loss", base=loss().on(BASE), routing=loss().on(TRAINED), cites=PAPER)
def test_routing_lowers_the_loss(base, routing):
    assert base - routing > MIN_EFFECT


@claim(
    "gains of norms, trained alone, lower the loss by more",
    base=loss().on(BASE),
    routing=loss().on(TRAINED),
    gains=loss().on(WRAPPED),
    cites=PAPER,
)
def test_gains_alone_lower_it_by_more(base, routing, gains):
    assert base - gains > MIN_EFFECT
    assert routing - gains > 0


@claim(
    "a quarter of what routing gains, or more, depends on content",
    base=loss().on(BASE),
    routing=loss().on(TRAINED),
    averaged=average(ALL_SITES).on(TRAINED),
    cites=PAPER,
)
def test_routing_depends_on_content(base, routing, averaged):
    assert base - routing > 0
    assert averaged - 0.25 * (base - routing) > 0


@claim(
    "the embedding motif does not appear in routing trained after the fact",
    routing=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    base=drop(EMBEDDING, MLP, EARLY).on(BASE),
    under=[drop, resample],
    contradicts="test_embedding_feeds_early_mlp.py::test_embedding_source_is_necessary_for_early_mlp",
    cites=PAPER,
)
def test_embedding_motif_does_not_appear(routing, base):
    assert abs(routing - base) < MIN_EFFECT


@claim(
    "older blocks matter more to late mlp than to late attention in routing trained after the fact",
    attn=drop(OLDER, ATTN, LATE).on(TRAINED),
    mlp=drop(OLDER, MLP, LATE).on(TRAINED),
    base_attn=drop(OLDER, ATTN, LATE).on(BASE),
    base_mlp=drop(OLDER, MLP, LATE).on(BASE),
    under=[drop, resample],
    contradicts="test_older_feeds_late_attention.py::test_older_pathway_is_stronger_in_attention_than_in_mlp",
    cites=PAPER,
)
def test_older_motif_is_not_local_to_late_attention(attn, mlp, base_attn, base_mlp):
    assert (mlp - base_mlp) - (attn - base_attn) > 0
