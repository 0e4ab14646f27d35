"""Where depth weights go, against the uniform null: the mass that a family gets merely by counting sources.

At b = 0 a 28-layer model in 8 blocks puts .587 of late mass on older blocks without having learned anything
(ATTNRES.md of the design), so a claim about mass says nothing until the null is taken off.
"""

import pytest

from attnres_core import (
    ATTN,
    CURRENT,
    EARLY,
    EMBEDDING,
    LATE,
    MID,
    MLP,
    OLDER,
    RECENT,
    TRAINED,
    claim,
    mass,
    uniform_mass,
)

PAPER = "arXiv:2606.13168 and arXiv:2603.15031, mass by family"
LOCAL = "arXiv:2603.15031, depth weights are local, with long skips"
MARGIN = 0.05  # depth weight: a twentieth of the read
SHARE = 0.5  # of the uniform null: a long skip that is read at least half as much as if nothing had been learned


def _against_null(family, sublayer, band):
    weight, null = mass(family, sublayer, band), uniform_mass(family, sublayer, band)
    return pytest.param(weight.on(TRAINED), null.on(TRAINED), id=f"{family}-{sublayer}-{band}")


MOTIFS = [(EMBEDDING, MLP, EARLY), (CURRENT, ATTN, EARLY), (CURRENT, MLP, EARLY), (OLDER, ATTN, LATE)]


@claim("the motif's family gets more mass than counting sources gives it", cites=PAPER)
@pytest.mark.parametrize(("weight", "null"), [_against_null(*motif) for motif in MOTIFS])
def test_motif_has_more_mass_than_the_uniform_null(weight, null):
    assert weight - null > MARGIN


@claim("reads are local: the current state and the newest block get more than counting sources gives them", cites=LOCAL)
@pytest.mark.parametrize(
    ("weight", "null"),
    [_against_null(CURRENT & RECENT, sublayer, band) for sublayer in (ATTN, MLP) for band in (MID, LATE)],
)
def test_nearby_sources_have_more_mass_than_the_uniform_null(weight, null):
    assert weight - null > MARGIN


@claim("reads keep long skips: embedding and older blocks get half of what counting sources gives them", cites=LOCAL)
@pytest.mark.parametrize(
    ("weight", "null"),
    [_against_null(EMBEDDING & OLDER, sublayer, band) for sublayer in (ATTN, MLP) for band in (MID, LATE)],
)
def test_long_skips_keep_half_their_uniform_share(weight, null):
    assert weight - SHARE * null > 0


@claim("the newest block alone gets more late mass than counting sources gives it", cites=LOCAL)
@pytest.mark.parametrize(("weight", "null"), [_against_null(RECENT, sublayer, LATE) for sublayer in (ATTN, MLP)])
def test_newest_block_has_more_late_mass_than_the_uniform_null(weight, null):
    assert weight - null > 0
