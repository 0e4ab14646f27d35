"""Margins held against the arithmetic's own error, before claims are registered."""

from __future__ import annotations

from attnres_core.claims.claim import CLAIM_ALPHA, claim_key
from attnres_core.judging.decisions import noise_gate
from attnres_core.judging.family_selection import needed_for
from attnres_core.planning.bundles import noise_bundles
from attnres_core.prompts import Split
from attnres_core.registration.registry import Standing
from attnres_core.statistics.sequential import ONLY
from attnres_core.suite.suite import Suite


def check_margins(suite: Suite, run: str) -> None:
    """Refuse claims whose margins this arithmetic cannot tell from its own error (measured on exploration prompts).

    Raises:
        ValueError: which claims, their margins and noise floors.
    """
    material, judge = suite.inputs.material, suite.judge
    standing = Standing(Split.EXPLORATION, CLAIM_ALPHA, "registering")
    with suite.executor(run) as executor:
        known = [quantity for claim in suite.claims for quantity in judge.known(claim)]
        choosing = suite.plan((Split.EXPLORATION, quantity) for quantity in needed_for(suite.claims))
        lost = executor.carry_out([*choosing, *noise_bundles(known, material)])
        prepared = [judge.prepare(claim, standing, lost) for claim in suite.claims]
        outcomes = [outcome for outcome in prepared if outcome.quantities]
        lost |= executor.carry_out(noise_bundles([q for o in outcomes for q in o.quantities], material))
    if lost:
        raise ValueError(next(iter(lost.values())))
    problems = []
    for outcome in outcomes:
        why = [noise_gate(question.statement, question.noise) for question in judge.questions(outcome, ONLY)]
        problems += [f"{claim_key(outcome.claim.node_id)}: {gate}" for gate in dict.fromkeys(why) if gate]
    if problems:
        raise ValueError("\n".join(["these claims cannot be registered:", *problems]))
