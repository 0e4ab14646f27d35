"""The forwards that deciding early left unmeasured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attnres_core.judging.outcomes import EarlyDeciding, Outcome
from attnres_core.planning.requests import ROUTING
from attnres_core.prompts import Split
from attnres_core.quantities.vocabulary import AnyRole
from attnres_core.statistics.sequential import looks
from attnres_core.suite.inputs import Inputs


def forwards_saved(inputs: Inputs, outcomes: Iterable[Outcome]) -> EarlyDeciding | None:
    """Return what deciding early left unmeasured of the confirmation split; None where it was not asked for."""
    if not inputs.settings.sequential:
        return None
    split = inputs.prompts[Split.CONFIRMATION]
    rows: dict[tuple[AnyRole, str], int] = {}
    planned = looks(len(split.documents), sequential=True)
    shares = {look.documents or len(split.documents): look.share for look in planned}
    ended = Counter({documents: 0 for documents in shares})
    for outcome in outcomes:
        if outcome.standing.split is not Split.CONFIRMATION or not outcome.decisions:
            continue
        ended[len(split.head(outcome.documents).documents)] += 1
        measured = sum(map(len, inputs.material.chunks(Split.CONFIRMATION, outcome.documents)))
        for quantity in outcome.quantities:
            for key in inputs.material.resolved(quantity).keys | {ROUTING}:
                row = quantity.role, key
                rows[row] = max(rows.get(row, 0), measured)
    return EarlyDeciding(shares, dict(ended), len(rows) * len(split), sum(rows.values()))
