"""The number of documents that each claim needs, from the exploration split alone."""

from __future__ import annotations

import dataclasses

from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Decision
from attnres_core.judging.decisions import planned_units
from attnres_core.judging.outcomes import Outcome
from attnres_core.prompts import Split
from attnres_core.suite.suite import Suite


def documents_needed(suite: Suite, run: str) -> list[tuple[Claim, Outcome, int | None]]:
    """Every claim as its exploration columns have it, with the documents it needs for 80 % power at its alpha.

    None: no number of documents would decide it, or it cannot be measured.
    """
    explored = {
        claim.node_id: dataclasses.replace(suite.standing(claim), split=Split.EXPLORATION, error="")
        for claim in suite.claims
    }
    outcomes = suite.decide(run, explored)

    def needed(claim: Claim, decision: Decision) -> int | None:
        form, measured = decision.statement.form, suite.measured(claim)
        columns = {q: measured.column(q, Split.EXPLORATION) for q, _ in form.terms}
        return planned_units(decision, form.of(columns))

    planned = []
    for claim in suite.claims:
        outcome = outcomes[claim.node_id]
        counts = [needed(claim, decision) for decision in outcome.decisions]
        enough = None if not counts or None in counts else max(n for n in counts if n is not None)
        planned.append((claim, outcome, enough))
    return planned
