"""Depth weights a fourth sharper or flatter cost little: a temperature of 0.8 or 1.25 at every site."""

from attnres_core import ALL_SITES, TRAINED, claim, sharpen

OURS = "ours: how exactly weights must be tempered"
LITTLE = 0.05  # nats per token: 2.5 times the margin of the motifs


@claim(
    sharper=sharpen(ALL_SITES, by=1.25).on(TRAINED, prompts="unseen"),
    flatter=sharpen(ALL_SITES, by=0.8).on(TRAINED, prompts="unseen"),
    cites=OURS,
)
def test_a_temperature_near_one_costs_little(sharper, flatter):
    assert sharper < LITTLE
    assert flatter < LITTLE
