"""Claim 6 of arXiv:2606.13168: the family with the largest mass is not the one with the largest effect.

Both families are chosen on the exploration split: the most massive one, and the most causal of the others. The
confirmation split then decides that the first does lead in mass, and that the second leads it in effect. Where one
family leads in both, the claim is refuted. A band's sites may have two, three or four families; the version for that
many applies, the others do not.
"""

import pytest

from attnres_core import ALL, ATTN, EARLY, LATE, MID, MLP, TRAINED, claim, drop, mass, most_causal, most_massive

PAPER = "arXiv:2606.13168, dissociation of mass and effect"


def _dissociation(sublayer, band, families):
    """Masses of all families present, largest first; then the drops of the first and of the most causal other one."""
    ranked = [most_massive(sublayer, band, rank=rank, of=families) for rank in range(families)]
    masses = [mass(family, sublayer, band).on(TRAINED) for family in ranked]
    effects = [drop(family, sublayer, band).on(TRAINED) for family in (ranked[0], most_causal(sublayer, band))]
    return pytest.param(*masses, *effects, id=f"{sublayer}-{band}")


@claim("the most massive of four families is not the most causal one", cites=PAPER)
@pytest.mark.parametrize(
    ("first", "second", "third", "fourth", "massive", "causal"),
    [_dissociation(sublayer, band, 4) for sublayer in (ATTN, MLP) for band in (EARLY, MID, LATE, ALL)],
)
def test_most_massive_of_four_families_is_not_the_most_causal(first, second, third, fourth, massive, causal):
    assert first - second > 0
    assert first - third > 0
    assert first - fourth > 0
    assert causal - massive > 0


@claim("the most massive of three families is not the most causal one", cites=PAPER)
@pytest.mark.parametrize(
    ("first", "second", "third", "massive", "causal"), [_dissociation(sublayer, EARLY, 3) for sublayer in (ATTN, MLP)]
)
def test_most_massive_of_three_families_is_not_the_most_causal(first, second, third, massive, causal):
    assert first - second > 0
    assert first - third > 0
    assert causal - massive > 0


@claim("the most massive of two families is not the most causal one", cites=PAPER)
@pytest.mark.parametrize(
    ("first", "second", "massive", "causal"), [_dissociation(sublayer, EARLY, 2) for sublayer in (ATTN, MLP)]
)
def test_most_massive_of_two_families_is_not_the_most_causal(first, second, massive, causal):
    assert first - second > 0
    assert causal - massive > 0
