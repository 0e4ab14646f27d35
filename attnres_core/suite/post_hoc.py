"""Reads before a claim was registered, which make it post hoc."""

from __future__ import annotations

from attnres_core.planning.requests import ROUTING
from attnres_core.prompts import Split
from attnres_core.suite.suite import Suite


def seen_before(suite: Suite) -> dict[str, str]:
    """Return why claims come after their confirmation data, by node id: the store holds their columns on a checkpoint.

    A lock names no checkpoint, so what was seen of one was seen. (Of checkpoints whose sites are others, nothing is
    known: their columns are of other ablations.)
    """
    found = {}
    for claim in suite.claims:
        checkpoints: set[str] = set()
        measured = suite.measured(claim)
        if any(quantity.role not in measured.material.checkpoints for quantity in claim.quantities):
            continue  # (the claim does not apply to these models: nothing that was seen of them is about it)
        for quantity in claim.quantities:
            keys = {ROUTING} if quantity.picks else measured.material.resolved(quantity).keys
            if keys:  # (what does not apply has none)
                checkpoints |= measured.touched(quantity.role, keys, Split.CONFIRMATION)
        if checkpoints:
            found[claim.node_id] = f"confirmation columns of {', '.join(sorted(checkpoints))} were measured before"
    return found
