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
    rows: dict[tuple[str, AnyRole, str], int] = {}
    splits = {name: prompts.splits[Split.CONFIRMATION] for name, prompts in inputs.sets.items()}
    shares: dict[int, float] = {}
    for count in (len(part.documents) for part in splits.values()):
        shares = {look.documents or count: look.share for look in looks(count, sequential=True)} | shares
    ended = Counter({documents: 0 for documents in shares})
    for outcome in outcomes:
        if outcome.standing.split is not Split.CONFIRMATION or not outcome.decisions:
            continue
        name = outcome.claim.prompts
        material = inputs.materials[name]
        ended[len(splits[name].head(outcome.documents).documents)] += 1
        measured = sum(map(len, material.chunks(Split.CONFIRMATION, outcome.documents)))
        for quantity in outcome.quantities:
            for key in material.resolved(quantity).keys | {ROUTING}:
                row = name, quantity.role, key
                rows[row] = max(rows.get(row, 0), measured)
    whole = sum(len(splits[name]) for name, _, _ in rows)
    return EarlyDeciding(shares, dict(ended), whole, sum(rows.values()))
