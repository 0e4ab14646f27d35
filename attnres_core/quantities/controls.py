"""The words for matched controls: an ablation that takes as much elsewhere, to be set beside another."""

from __future__ import annotations

import dataclasses

from attnres_core.quantities.ablations import REMOVALS, checked_draws
from attnres_core.quantities.quantity import Ablation
from attnres_core.quantities.vocabulary import Control, Sublayer


def matched_mass(ablation: Ablation, *, draws: int = 1) -> Ablation:
    """Take, at every token, the mass that the family has there from other sources, chosen at random one after another.

    Estimand of `effect - control`: what this family's mass does beyond as much mass of any other family. Where the
    others together have less than the family, all they have is taken; a claim that sets the family against a control
    which took under nine tenths of its mass is INCONCLUSIVE and says so.
    """
    return _controlled(Control.MATCHED_MASS, ablation, draws)


def matched_count(ablation: Ablation, *, draws: int = 1) -> Ablation:
    """Take as many sources as the family has at a site, chosen at random from the others for every prompt.

    Where there are fewer others, all of them.
    """
    return _controlled(Control.MATCHED_COUNT, ablation, draws)


def random_sites(ablation: Ablation, *, draws: int = 1) -> Ablation:
    """Take the family at as many sites, chosen at random from the same sublayer's sites outside the ablated layers.

    Where there are fewer, all of them.
    """
    return _controlled(Control.RANDOM_SITES, ablation, draws)


def random_sources(ablation: Ablation, *, draws: int = 1) -> Ablation:
    """Take, at each site, as many sources as the family has there, drawn at random from all but the current state.

    Estimand of `effect - control`: what it matters that these sources are masked, not any as many. A draw's sources are
    the same for every prompt, so that the two sentences of a pair are read under one mask; they may be the family's
    own. Beside it `matched_count` takes others only, anew for every prompt.
    """
    return _controlled(Control.RANDOM_SOURCES, ablation, draws)


def placebo(ablation: Ablation) -> Ablation:
    """The same interchange with a donor that differs from the prompt as much but has the same answer.

    Estimand: how far the answer moves because something is swapped, not because of what is. Prompts name such a donor
    in their field `placebo`.
    """
    if not isinstance(ablation, Ablation) or ablation.part is None:
        raise ValueError(f"`ablation` is {ablation}; a placebo is of an interchange(...), without .on(...)")
    return dataclasses.replace(ablation, control=Control.PLACEBO)


def other_sublayer(ablation: Ablation) -> Ablation:
    """The same in the same layers of the other sublayer."""
    _must_remove(ablation)
    others = {Sublayer.ATTN: Sublayer.MLP, Sublayer.MLP: Sublayer.ATTN}
    if ablation.sublayer not in others:
        about = "the read-out" if ablation.sublayer is Sublayer.FINAL else "every site"
        raise ValueError(f"`{ablation}` is about {about}, which has no other sublayer")
    return dataclasses.replace(ablation, sublayer=others[ablation.sublayer])


def _controlled(control: Control, ablation: Ablation, draws: int) -> Ablation:
    _must_remove(ablation)
    if ablation.recomputed and control not in (Control.RANDOM_SITES, Control.RANDOM_SOURCES):
        raise ValueError(f"`{ablation}` computes weights anew, so nothing can be matched; leave `recomputed` out")
    if ablation.control is not None:
        raise ValueError(f"`{ablation}` is a control already; give the ablation it is to control")
    return dataclasses.replace(ablation, control=control, draws=max(checked_draws(draws), ablation.draws))


def _must_remove(ablation: Ablation) -> None:
    if not isinstance(ablation, Ablation) or ablation.kind not in REMOVALS:
        allowed = ", ".join(REMOVALS)
        raise ValueError(f"`ablation` is {ablation}; a matched control is one of {allowed}(...), without .on(...)")
