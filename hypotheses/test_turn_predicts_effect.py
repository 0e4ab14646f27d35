"""How far a drop turns a read ranks effects better than the mass it removes: one clean run against the usual heuristic.

Over all sites and families, each dropped alone, on documents of packages that no reference checkpoint was trained on.
"""

from attnres_core import TRAINED, claim, mass_and_effect, turn_and_effect

OURS = "ours: what predicts effects, against the dissociation of mass and effect (arXiv:2606.13168)"
BETTER = 0.1  # of a rank correlation, which goes from -1 to 1


@claim(
    turn=turn_and_effect("spearman").on(TRAINED, prompts="unseen"),
    mass=mass_and_effect("spearman").on(TRAINED, prompts="unseen"),
    cites=OURS,
)
def test_turn_ranks_effects_better_than_mass(turn, mass):
    assert turn - mass > BETTER
