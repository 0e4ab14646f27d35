"""A run's columns become outcomes: families are chosen, statements asked, looks taken. Outcomes go in and come out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attnres_core.claims.claim import CLAIM_ALPHA, Claim, claim_key
from attnres_core.claims.statements import Linear, Verdict
from attnres_core.engine.measurements import Measurements
from attnres_core.judging import gates, stored_decisions
from attnres_core.judging.additivity import excesses, partings
from attnres_core.judging.decisions import Question, Together
from attnres_core.judging.family_selection import by_mass, choose, filled, filled_statement
from attnres_core.judging.negation import negation
from attnres_core.judging.outcomes import Outcome
from attnres_core.planning.bundles import Bundle
from attnres_core.prompts import Split
from attnres_core.quantities.intervention import NotApplicable
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import Role
from attnres_core.registration.registry import Standing
from attnres_core.shapes import Column
from attnres_core.statistics.sequential import ONLY, Look

Outcomes = Mapping[str, Outcome]
"""By the claim's node id."""
AT_ONCE, LOOK_BY_LOOK = "at once", "look by look, every verdict"
WAYS = {
    AT_ONCE: ("at a fixed number of documents", "leave --attnres-sequential out, or "),
    LOOK_BY_LOOK: ("look by look", "add --attnres-sequential, or "),
    "look by look": ("look by look with SUPPORTED of `>` alone falling early", ""),
}
"""Ways of deciding a claim, as stores remember them: how each is told, and what goes back to it."""


@dataclass(frozen=True)
class Judge:
    """The facts that judging a run depends on."""

    measurements: Measurements
    prompts_digest: str
    """Of the whole prompt set."""
    sequential: bool
    """True if claims are looked at early."""
    whole: bool
    """True if the confirmation split is read whole: on a part, nothing is decided for good."""
    unfit: str = ""
    """Why the trained model cannot be asked with these prompts; empty where it can."""

    def dtype(self, claim: Claim) -> str | None:
        """Return the dtype that a claim's columns need: float32 where it says that an effect is small; None: any."""
        null = any(statement.bounds_above for statement in claim.statements)
        return "float32" if null and self.measurements.material.dtype != "float32" else None

    def applies(self, claim: Claim) -> bool:
        """Whether the run has all that a claim is about, but for families that the data choose."""
        resolved = self.measurements.material.resolved
        return not self.unfit and not any(resolved(q).not_applicable for q in claim.quantities if not q.picks)

    def known(self, claim: Claim) -> list[Quantity]:
        """The quantities of a claim that applies whose families need no choice, as they must be measured."""
        if not self.applies(claim):
            return []
        return [filled(quantity, {}, self.dtype(claim)) for quantity in claim.quantities if not quantity.picks]

    def prepare(self, claim: Claim, standing: Standing, lost: Mapping[Bundle, str]) -> Outcome:
        """The claim with its families chosen, or the reason why it cannot be decided."""
        open_claim = Outcome(claim, standing, Verdict.INCONCLUSIVE)
        if standing.error:
            return dataclasses.replace(open_claim, error=standing.error)
        if self.unfit:
            return dataclasses.replace(open_claim, verdict=Verdict.NOT_APPLICABLE, reason=self.unfit)
        try:
            picks = dict.fromkeys(pick for quantity in claim.quantities for pick in quantity.picks)
            trained = self.measurements.material.checkpoint(Role.TRAINED)
            chosen = {pick: choose(pick, trained, lambda q: self._explored(q, lost)) for pick in picks}
            ranked = {pick: by_mass(pick, trained, lambda q: self._explored(q, lost)) for pick in picks}
            step, dtype = claim.by_kind, self.dtype(claim)
            groups = [claim.statements[i : i + step] for i in range(0, len(claim.statements), step)]
            negations = tuple(negation(group, chosen, ranked, dtype) for group in groups)
            own = [filled(quantity, chosen, dtype) for quantity in claim.quantities]
            every = [q for made in negations for s in made.statements for q, _ in s.form.terms]
            quantities = tuple(dict.fromkeys([*own, *every]))
            for quantity in quantities:
                self.measurements.check_answers(quantity, standing.split)
            for statement in claim.statements:
                self.measurements.check_tokens(statement)
            for quantity in own:
                asked = self.measurements.material.resolved(quantity).check()
                if asked.no_op:
                    raise NotApplicable(
                        f"`{asked.what}` is a no-op by construction: {asked.no_op} read one tensor only"
                    )
        except NotApplicable as error:
            return dataclasses.replace(open_claim, verdict=Verdict.NOT_APPLICABLE, reason=str(error))
        except ValueError as error:
            return dataclasses.replace(open_claim, error=str(error))
        return dataclasses.replace(open_claim, chosen=chosen, quantities=quantities, negations=negations)

    def questions(self, outcome: Outcome, look: Look) -> list[Question]:
        """A claim's statements, then what else its refutation takes; with what each may spend at this look."""
        alpha = outcome.standing.alpha
        own = look if outcome.may_end_early else ONLY
        dtype = self.dtype(outcome.claim)
        own_statements = [filled_statement(s, outcome.chosen, dtype) for s in outcome.claim.statements]
        needed = dict.fromkeys(s for made in outcome.negations for s in made.statements)
        statements = [*own_statements, *(s for s in needed if s not in own_statements)]
        count = sum(made.refuters for made in outcome.negations)  # (one kind's refutation may refute the claim)
        floors = [
            0.0 if s.takes_worst else self.measurements.noise_floor(s.form, alpha or CLAIM_ALPHA) for s in statements
        ]
        return [Question(s, alpha, count, floor, own) for s, floor in zip(statements, floors, strict=True)]

    def at_look(self, outcomes: Outcomes, lost: Mapping[Bundle, str], look: Look) -> dict[str, Outcome]:
        """The outcomes after a look; claims that cannot end early have only the last."""
        return {
            node_id: outcome
            for split in Split
            for node_id, outcome in self._of_split(outcomes, lost, look, split).items()
        }

    def _of_split(self, outcomes: Outcomes, lost: Mapping[Bundle, str], look: Look, split: Split) -> dict[str, Outcome]:
        """The same, of the claims that are decided on one split: they share one resampling of its documents."""
        judged = {node_id: outcome for node_id, outcome in outcomes.items() if outcome.standing.split is split}
        documents = look.documents if split is Split.CONFIRMATION else None
        which = (split, documents)
        asked: dict[str, list[Question]] = {}
        for node_id, outcome in judged.items():
            if not (look.final or outcome.may_end_early):
                continue
            if why := self.measurements.loss(outcome.quantities, split, lost, documents):
                judged[node_id] = dataclasses.replace(outcome, error=why, decisions=())
                continue
            asked[node_id] = [
                dataclasses.replace(
                    question,
                    bias=gates.bias(self.measurements, question.statement.form, *which),
                    gate=gates.gate(self.measurements, question.statement.form, *which),
                )
                for question in self.questions(outcome, look)
            ]
        every = [question for questions in asked.values() for question in questions]
        columns = self._columns((question.statement.form for question in every), split, documents)
        # The shares of the strata are fixed in the whole split alone: a first part of it has drawn them.
        strata = self.measurements.material.prompts[split].strata if look.final else ("",) * (look.documents or 0)
        decided = stored_decisions.decisions(every, columns, strata, self.measurements.store)
        for node_id, questions in asked.items():
            decisions = tuple(decided[question] for question in questions)
            judged[node_id] = judged[node_id].decided(decisions, documents)
        return judged

    def without_second_chances(self, outcomes: Outcomes) -> dict[str, Outcome]:
        """A claim found INCONCLUSIVE at a fixed number of documents is not tried look by look, nor the reverse."""
        return {
            node_id: dataclasses.replace(outcome, error=self._second_chance(outcome))
            if self.whole and outcome.quantities and outcome.standing.split is Split.CONFIRMATION
            else outcome
            for node_id, outcome in outcomes.items()
        }

    def remember_open(self, outcomes: Iterable[Outcome]) -> None:
        """Remember which claims came out INCONCLUSIVE (a run on fewer prompts takes no chance away)."""
        for outcome in outcomes:
            confirmed = outcome.standing.split is Split.CONFIRMATION
            if outcome.verdict is Verdict.INCONCLUSIVE and confirmed and self.whole:
                way = self._way(outcome, self._own_way(outcome))
                stored_decisions.remember_open(way, self.measurements.store)

    def _own_way(self, outcome: Outcome) -> str:
        """This run's way of deciding a claim, among WAYS."""
        return LOOK_BY_LOOK if self.sequential and outcome.may_end_early else AT_ONCE

    def _second_chance(self, outcome: Outcome) -> str:
        """Return why a claim may not be decided in this run's way; empty: it may."""
        store = self.measurements.store
        for way, (before, remedy) in WAYS.items():
            if way != self._own_way(outcome) and stored_decisions.was_open(self._way(outcome, way), store):
                return (
                    f"this claim was found INCONCLUSIVE before, decided {before}; deciding it in another way on the "
                    f"same prompts would be a second chance at its alpha: {remedy}register it on fresh prompts"
                )
        return ""

    def _way(self, outcome: Outcome, way: str) -> list[str]:
        """Identifies a claim, its models and prompts, and the way of deciding it; not dtype or device."""
        checkpoint = self.measurements.material.checkpoint
        models = sorted({checkpoint(quantity.role).digest for quantity in outcome.quantities})
        return [claim_key(outcome.claim.node_id), *outcome.claim.texts, *models, self.prompts_digest, way]

    def with_excesses(self, outcomes: Outcomes) -> dict[str, Outcome]:
        """The outcomes, null effects among them with what costs more than the sum of its parts."""
        found = partings((q for o in outcomes.values() if o.decisions for q in o.quantities), self.measurements)
        return {
            node_id: dataclasses.replace(outcome, excesses=excesses(outcome, found, self.measurements))
            for node_id, outcome in outcomes.items()
        }

    def together(self, outcomes: Iterable[Outcome]) -> Together:
        """The decisions of confirmed claims with their columns, to be adjusted over all that were registered."""
        claims = {outcome.claim.node_id: outcome.decisions for outcome in outcomes}
        forms = [decision.statement.form for found in claims.values() for decision in found]
        strata = self.measurements.material.prompts[Split.CONFIRMATION].strata
        return Together(claims, self._columns(forms, Split.CONFIRMATION), strata)

    def _explored(self, quantity: Quantity, lost: Mapping[Bundle, str]) -> float:
        """A quantity's mean on the exploration split."""
        if why := self.measurements.loss([quantity], Split.EXPLORATION, lost):
            raise ValueError(why)
        return float(self.measurements.column(quantity, Split.EXPLORATION).mean())

    def _columns(self, forms: Iterable[Linear], split: Split, documents: int | None = None) -> dict[Quantity, Column]:
        quantities = {quantity for form in forms for quantity, _ in form.terms}
        return {quantity: self.measurements.column(quantity, split, documents) for quantity in quantities}


def still_open(outcomes: Outcomes) -> dict[str, Outcome]:
    """The claims that another look may decide."""
    return {n: o for n, o in outcomes.items() if not o.error and o.verdict is Verdict.INCONCLUSIVE}
