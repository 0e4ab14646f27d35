"""The motifs of arXiv:2606.13168 in every writing of a text: as written, rewrapped, in lower case, indented.

A motif that holds in one line wrapping alone is about line wrapping. Needed means here that a drop costs: what of that
is damage is another claim's question. On documents of packages that no reference checkpoint was trained on.
"""

import pytest

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, OLDER, TRAINED, claim, drop

PAPER = "arXiv:2606.13168, motifs, in every writing of a text"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing
MOTIFS = ((EMBEDDING, MLP, EARLY), (CURRENT, ATTN, EARLY), (CURRENT, MLP, EARLY), (OLDER, ATTN, LATE))


@claim("the motif's source is needed in every writing of a text", variants=True, cites=PAPER)
@pytest.mark.parametrize(
    "effect",
    [pytest.param(drop(*place).on(TRAINED, prompts="variants"), id="-".join(map(str, place))) for place in MOTIFS],
)
def test_motif_holds_in_every_variant(effect):
    assert effect > MIN_EFFECT
