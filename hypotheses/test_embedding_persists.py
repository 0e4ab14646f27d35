"""Embedding persistence of arXiv:2603.15031: the embedding keeps mass at every depth, more before attention than MLP.

"Keeps" is stated as at least half of what counting sources gives it, in each third of the layers: under that, routing
has learned to leave the embedding rather than to keep it. "More" leaves the early third out: there the first attention
has no choice but the embedding, or reads it twice.
"""

import pytest

from attnres_core import ATTN, EARLY, EMBEDDING, LATE, MID, MLP, TRAINED, claim, mass, uniform_mass

PAPER = "arXiv:2603.15031, embedding persistence"
KEPT = 0.5  # of the uniform null


@claim("the embedding keeps half its uniform share of mass at every depth", cites=PAPER)
@pytest.mark.parametrize(
    ("early", "mid", "late", "early_null", "mid_null", "late_null"),
    [
        pytest.param(
            *(of(EMBEDDING, sub, band).on(TRAINED) for of in (mass, uniform_mass) for band in (EARLY, MID, LATE)),
            id=sub,
        )
        for sub in (ATTN, MLP)
    ],
)
def test_embedding_keeps_mass_throughout(early, mid, late, early_null, mid_null, late_null):
    assert early - KEPT * early_null > 0
    assert mid - KEPT * mid_null > 0
    assert late - KEPT * late_null > 0


@claim(
    mid_attention=mass(EMBEDDING, ATTN, MID).on(TRAINED),
    late_attention=mass(EMBEDDING, ATTN, LATE).on(TRAINED),
    mid_mlp=mass(EMBEDDING, MLP, MID).on(TRAINED),
    late_mlp=mass(EMBEDDING, MLP, LATE).on(TRAINED),
    cites=PAPER,
)
def test_embedding_has_more_mass_before_attention_than_before_mlp(mid_attention, late_attention, mid_mlp, late_mlp):
    assert mid_attention - mid_mlp > 0
    assert late_attention - late_mlp > 0
