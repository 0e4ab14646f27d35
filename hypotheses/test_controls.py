"""Controls: claims whose truth is known. Where one fails, no other verdict of the run is worth reading."""

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, OLDER, UNTRAINED, WRAPPED, claim, drop, mass

BREAKS = 1.0  # nats per token: the model is broken
NO_ROLE = 0.01  # nats per token


@claim(effect=drop(CURRENT, ATTN).on(WRAPPED), family="control")
def test_wrapped_model_breaks_without_the_current_source_in_attention(effect):
    assert effect > BREAKS


@claim(effect=drop(CURRENT, MLP).on(WRAPPED), family="control")
def test_wrapped_model_breaks_without_the_current_source_in_mlp(effect):
    assert effect > BREAKS


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
