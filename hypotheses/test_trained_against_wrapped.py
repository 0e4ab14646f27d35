"""Claim 8 of arXiv:2606.13168: structure appears only when routing was trained; the motifs are absent when wrapped.

A motif's contrast is the drop's effect where the motif is said to be, minus its effect in the late (or middle) band. It
must be larger than the wrapped model's by an effect that matters, and the wrapped model's own must be none at all.
"""

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MID, MLP, OLDER, TRAINED, WRAPPED, claim, drop, spread

PAPER = "arXiv:2606.13168, trained against wrapped"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing
NO_ROLE = 0.01  # nats per token: half of MIN_EFFECT; the gap between is undecided on purpose
DEPENDS = 0.05  # depth weight: the routing moves with content by at least this somewhere


@claim(
    here=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    elsewhere=drop(EMBEDDING, MLP, LATE).on(TRAINED),
    wrapped_here=drop(EMBEDDING, MLP, EARLY).on(WRAPPED),
    wrapped_elsewhere=drop(EMBEDDING, MLP, LATE).on(WRAPPED),
    cites=PAPER,
)
def test_embedding_motif_is_absent_when_wrapped(here, elsewhere, wrapped_here, wrapped_elsewhere):
    assert (here - elsewhere) - (wrapped_here - wrapped_elsewhere) > MIN_EFFECT
    assert abs(wrapped_here - wrapped_elsewhere) < NO_ROLE


@claim(
    here=drop(CURRENT, ATTN, EARLY).on(TRAINED),
    elsewhere=drop(CURRENT, ATTN, LATE).on(TRAINED),
    wrapped_here=drop(CURRENT, ATTN, EARLY).on(WRAPPED),
    wrapped_elsewhere=drop(CURRENT, ATTN, LATE).on(WRAPPED),
    cites=PAPER,
)
def test_current_to_attention_motif_is_absent_when_wrapped(here, elsewhere, wrapped_here, wrapped_elsewhere):
    assert (here - elsewhere) - (wrapped_here - wrapped_elsewhere) > MIN_EFFECT
    assert abs(wrapped_here - wrapped_elsewhere) < NO_ROLE


@claim(
    here=drop(CURRENT, MLP, EARLY).on(TRAINED),
    elsewhere=drop(CURRENT, MLP, LATE).on(TRAINED),
    wrapped_here=drop(CURRENT, MLP, EARLY).on(WRAPPED),
    wrapped_elsewhere=drop(CURRENT, MLP, LATE).on(WRAPPED),
    cites=PAPER,
)
def test_current_to_mlp_motif_is_absent_when_wrapped(here, elsewhere, wrapped_here, wrapped_elsewhere):
    assert (here - elsewhere) - (wrapped_here - wrapped_elsewhere) > MIN_EFFECT
    assert abs(wrapped_here - wrapped_elsewhere) < NO_ROLE


@claim(
    here=drop(OLDER, ATTN, LATE).on(TRAINED),
    elsewhere=drop(OLDER, ATTN, MID).on(TRAINED),
    wrapped_here=drop(OLDER, ATTN, LATE).on(WRAPPED),
    wrapped_elsewhere=drop(OLDER, ATTN, MID).on(WRAPPED),
    cites=PAPER,
)
def test_older_motif_is_absent_when_wrapped(here, elsewhere, wrapped_here, wrapped_elsewhere):
    assert (here - elsewhere) - (wrapped_here - wrapped_elsewhere) > MIN_EFFECT
    assert abs(wrapped_here - wrapped_elsewhere) < NO_ROLE


@claim(trained=spread(ATTN).on(TRAINED), cites=PAPER)
def test_trained_attention_routing_depends_on_content_somewhere(trained):
    assert trained > DEPENDS


@claim(trained=spread(MLP).on(TRAINED), cites=PAPER)
def test_trained_mlp_routing_depends_on_content_somewhere(trained):
    assert trained > DEPENDS
