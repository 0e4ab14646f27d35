"""What mixing parallel streams is worth, and how many of them are read, in models with hyper-connections.

NOT APPLICABLE to models without parallel streams, but for the claim about largest weights. The papers are known to us
from summaries (docs/limits.md), and these claims are theirs in form: bands, thirds of the layers here, and the number
of streams that a read draws on are our own. Margins are rises in perplexity, as published, in nats.
"""

from attnres_core import ALL_SITES, EARLY, LATE, TRAINED, average_mixing, claim, keep_top, no_mixing, streams_read

MIXERS = "arXiv:2609.05309, mixers of parallel streams (known from a summary)"
STREAMS = "arXiv:2609.05309, 2603.14833 and 2606.03483, streams in use (known from summaries)"
TWO_PERCENT = 0.01980262729617973  # nats per token: ln 1.02, published 1.9 % for late mixers
THIRD_OF_A_PERCENT = 0.002995508979798371  # ln 1.003, published .2 % for early mixers
THREE_PERCENT = 0.02955880224154443  # ln 1.03, published 2.7 % at most for three weights


@claim("late mixers can be the identity", effect=no_mixing(ALL_SITES, LATE).on(TRAINED), cites=MIXERS)
def test_late_mixers_can_be_the_identity(effect):
    assert effect < TWO_PERCENT


@claim("early mixers can be their means", effect=average_mixing(ALL_SITES, EARLY).on(TRAINED), cites=MIXERS)
def test_early_mixers_can_be_their_means(effect):
    assert effect < THIRD_OF_A_PERCENT


@claim("each read's three largest weights suffice", effect=keep_top(3, ALL_SITES).on(TRAINED), cites=MIXERS)
def test_three_largest_weights_suffice(effect):
    assert effect < THREE_PERCENT


@claim("about two of the parallel streams are read", drawn_on=streams_read(ALL_SITES).on(TRAINED), cites=STREAMS)
def test_about_two_streams_are_read(drawn_on):
    assert drawn_on > 1.5
    assert drawn_on < 2.5
