"""Two claims about mass and effect: the effect of a drop is linear in the mass it removes; mass does not rank effects.

Over all sites and families, each dropped alone. The first is decided by the linear correlation, the second by the rank
correlation being small. Both can be refuted: mass may rank effects without being proportional to them. The first is
ours. Until 2026-11-29 it was attributed to a sparse-routing study by mistake: that study's figure relates the mass that
k sources hold to the gain of arms *retrained* with k sources, not to the effects of ablating single cells.
"""

import pytest

from attnres_core import ATTN, MLP, TRAINED, claim, mass_and_effect

OURS = "ours; formerly attributed to another study's figure by mistake"
PAPER = "arXiv:2606.13168, dissociation of mass and effect"
NEARLY_LINEAR = 0.8  # mass explains 64 % of the variance of effects
NO_RANKING = 0.3  # fewer than two pairs in three are in the order of their masses


@claim("effect is nearly linear in mass", cites=OURS)
@pytest.mark.parametrize(
    "linear", [pytest.param(mass_and_effect("pearson", sub).on(TRAINED), id=sub) for sub in (ATTN, MLP)]
)
def test_effect_is_nearly_linear_in_mass(linear):
    assert linear > NEARLY_LINEAR


@claim("mass does not rank effects", cites=PAPER)
@pytest.mark.parametrize(
    "rank", [pytest.param(mass_and_effect("spearman", sub).on(TRAINED), id=sub) for sub in (ATTN, MLP)]
)
def test_mass_does_not_rank_effects(rank):
    assert abs(rank) < NO_RANKING
