"""Claim 7 of arXiv:2606.13168: a family carries appreciable mass and has no detectable causal role.

An equivalence claim: failing to find an effect is not enough, the interval must lie inside the margin. The family is
chosen on the exploration split. "No role" takes two metrics, since a mean loss can stay put while single tokens move.
"""

import pytest

from attnres_core import ATTN, KL, LATE, MID, MLP, TRAINED, claim, drop, least_causal, mass

PAPER = "arXiv:2606.13168, mass without causal role"
APPRECIABLE = 0.10  # depth weight: about half of what a uniform read of five sources gives each
NO_ROLE = 0.01  # nats per token: half of MIN_EFFECT; the gap between is undecided on purpose
NO_SHIFT = 0.01  # nats per token of KL: single predictions do not move either


def _idle(sublayer, band):
    family = least_causal(sublayer, band)
    return pytest.param(
        mass(family, sublayer, band).on(TRAINED),
        drop(family, sublayer, band).on(TRAINED),
        drop(family, sublayer, band).on(TRAINED, metric=KL),
        id=f"{sublayer}-{band}",
    )


@claim("a family carries appreciable mass and no causal role", cites=PAPER)
@pytest.mark.parametrize(
    ("weight", "effect", "shift"), [_idle(sublayer, band) for sublayer in (ATTN, MLP) for band in (MID, LATE)]
)
def test_family_with_mass_has_no_role(weight, effect, shift):
    assert weight > APPRECIABLE
    assert abs(effect) < NO_ROLE
    assert shift < NO_SHIFT
