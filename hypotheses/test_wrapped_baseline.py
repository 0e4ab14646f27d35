"""Claims 1 and 2 of arXiv:2606.13168: the wrapped baseline's depth weights are constants known in closed form.

The wrapped baseline has no learned routing: queries zero, one recency bias b. All of its routing follows from the
schedule, so these claims are decided exactly, over every prompt, position and site.
"""

from attnres_core import ATTN, CURRENT, MLP, WRAPPED, claim, closed_form_error, mass, spread

PAPER = "arXiv:2606.13168, wrapped Qwen3"
ROUNDING = 1e-6  # float32 softmax over a handful of sources
MOST = 0.5  # more than every other source together


@claim(spread=spread(ATTN).on(WRAPPED), cites=PAPER)
def test_attention_routing_does_not_depend_on_content(spread):
    assert spread < ROUNDING


@claim(spread=spread(MLP).on(WRAPPED), cites=PAPER)
def test_mlp_routing_does_not_depend_on_content(spread):
    assert spread < ROUNDING


@claim(error=closed_form_error(ATTN).on(WRAPPED), cites=PAPER)
def test_attention_routing_follows_the_closed_form(error):
    assert error < ROUNDING


@claim(error=closed_form_error(MLP).on(WRAPPED), cites=PAPER)
def test_mlp_routing_follows_the_closed_form(error):
    assert error < ROUNDING


@claim(current=mass(CURRENT, ATTN).on(WRAPPED), cites=PAPER)
def test_most_attention_mass_sits_on_the_current_source(current):
    assert current > MOST


@claim(current=mass(CURRENT, MLP).on(WRAPPED), cites=PAPER)
def test_most_mlp_mass_sits_on_the_current_source(current):
    assert current > MOST
