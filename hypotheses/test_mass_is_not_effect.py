"""Claim 6 of arXiv:2606.13168: the family with the largest mass is not the one with the largest effect.

Both families are chosen on the exploration split: the most massive one, and the most causal of the others. The
confirmation split then decides that the first does lead in mass, and that the second leads it in effect. Where one
family leads in both, the claim is refuted.
"""

import pytest

from attnres_core import ALL, ATTN, EARLY, LATE, MID, MLP, TRAINED, claim, drop, mass, most_causal, most_massive

PAPER = "arXiv:2606.13168, dissociation of mass and effect"


def _dissociation(sublayer, band):
    return pytest.param(
        *(mass(most_massive(sublayer, band, rank=rank), sublayer, band).on(TRAINED) for rank in range(4)),
        drop(most_massive(sublayer, band), sublayer, band).on(TRAINED),
        drop(most_causal(sublayer, band), sublayer, band).on(TRAINED),
        id=f"{sublayer}-{band}",
    )


@claim("the most massive family is not the most causal one", cites=PAPER)
@pytest.mark.parametrize(
    ("first", "second", "third", "fourth", "massive", "causal"),
    [_dissociation(sublayer, band) for sublayer in (ATTN, MLP) for band in (EARLY, MID, LATE, ALL)],
)
def test_most_massive_family_is_not_the_most_causal(first, second, third, fourth, massive, causal):
    assert first - second > 0
    assert first - third > 0
    assert first - fourth > 0
    assert causal - massive > 0


def _early_dissociation(sublayer):
    """Early sites of a checkpoint with few blocks have three families; the test above is then not applicable there."""
    masses = (mass(most_massive(sublayer, EARLY, rank=rank), sublayer, EARLY).on(TRAINED) for rank in range(3))
    effects = (drop(pick(sublayer, EARLY), sublayer, EARLY).on(TRAINED) for pick in (most_massive, most_causal))
    return pytest.param(*masses, *effects, id=str(sublayer))


@claim("the most massive early family is not the most causal one", cites=PAPER)
@pytest.mark.parametrize(
    ("first", "second", "third", "massive", "causal"), [_early_dissociation(sublayer) for sublayer in (ATTN, MLP)]
)
def test_most_massive_early_family_is_not_the_most_causal(first, second, third, massive, causal):
    assert first - second > 0
    assert first - third > 0
    assert causal - massive > 0
