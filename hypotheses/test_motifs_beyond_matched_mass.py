"""The motifs against matched controls: does this family matter, or would as much mass of any other do?

The control takes, at every token, the mass that the family has there from other sources chosen at random. A motif that
is about its family costs more than that. Where the family holds so much that all others together have under nine tenths
of it, no control can be as large, and the claim stays INCONCLUSIVE.
"""

from attnres_core import (
    ATTN,
    CURRENT,
    EARLY,
    EMBEDDING,
    LATE,
    MLP,
    OLDER,
    TRAINED,
    claim,
    drop,
    matched_mass,
    resample,
)

PAPER = "arXiv:2606.13168, the motifs against as much mass of other sources"


def _against_its_mass(family, sublayer, band):
    motif = drop(family, sublayer, band)
    return {"effect": motif.on(TRAINED), "control": matched_mass(motif).on(TRAINED)}


@claim(**_against_its_mass(EMBEDDING, MLP, EARLY), under=[drop, resample], cites=PAPER)
def test_embedding_to_early_mlp_is_more_than_its_mass(effect, control):
    assert effect - control > 0


@claim(**_against_its_mass(CURRENT, ATTN, EARLY), under=[drop, resample], cites=PAPER)
def test_current_to_early_attention_is_more_than_its_mass(effect, control):
    assert effect - control > 0


@claim(**_against_its_mass(CURRENT, MLP, EARLY), under=[drop, resample], cites=PAPER)
def test_current_to_early_mlp_is_more_than_its_mass(effect, control):
    assert effect - control > 0


@claim(**_against_its_mass(OLDER, ATTN, LATE), under=[drop, resample], cites=PAPER)
def test_older_to_late_attention_is_more_than_its_mass(effect, control):
    assert effect - control > 0
