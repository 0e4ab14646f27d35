"""Margins held against the arithmetic's own error, before claims are registered."""

from __future__ import annotations

from attnres_core.claims.claim import CLAIM_ALPHA, claim_key
from attnres_core.judging.decisions import noise_gate
from attnres_core.planning.bundles import Bundle, noise_bundles
from attnres_core.prompts import Split
from attnres_core.registration.registry import Standing
from attnres_core.statistics.sequential import ONLY
from attnres_core.suite.suite import Suite


def check_margins(suite: Suite, run: str) -> None:
    """Refuse claims whose margins this arithmetic cannot tell from its own error (measured on exploration prompts).

    Raises:
        ValueError: which claims, their margins and noise floors.
    """
    standing = Standing(Split.EXPLORATION, CLAIM_ALPHA, "registering")
    lost: dict[Bundle, str] = {}
    problems = []
    with suite.executor(run) as executor:
        lost |= suite.carried_out(executor, suite.choosing())
        for name, claims in suite.about.items():
            material, judge = suite.inputs.materials[name], suite.judges[name]
            lost |= suite.carried_out(
                executor, noise_bundles([q for claim in claims for q in judge.known(claim)], material)
            )
            outcomes = [found for claim in claims if (found := judge.prepare(claim, standing, lost)).quantities]
            lost |= suite.carried_out(executor, noise_bundles([q for o in outcomes for q in o.quantities], material))
            if lost:
                raise ValueError(next(iter(lost.values())))
            for outcome in outcomes:
                why = [noise_gate(question.statement, question.noise) for question in judge.questions(outcome, ONLY)]
                problems += [f"{claim_key(outcome.claim.node_id)}: {gate}" for gate in dict.fromkeys(why) if gate]
    if problems:
        raise ValueError("\n".join(["these claims cannot be registered:", *problems]))
