"""What each kind of ablation does to a site's routing: a file of the kind's name each, with a function `act`.

Its facts and its words are in `quantities/ablations.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.routing import SiteOverride

Act = Callable[[Acting], SiteOverride]


@cache
def act_of(kind: str) -> Act:
    """Return what a kind does."""
    act: Act = import_module(f"{__name__}.{kind}").act
    return act
