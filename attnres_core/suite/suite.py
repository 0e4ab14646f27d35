"""Claims in, decided claims out: choose families, measure columns, judge statements. Knows no pytest."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from attnres_core.claims.claim import CLAIM_ALPHA, Claim, claim_key
from attnres_core.claims.statements import Linear, Operator, Verdict
from attnres_core.engine.executors.local import Barrier, Crew
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.resources import Place, choose_place, memory_words
from attnres_core.engine.store import Store
from attnres_core.judging import gates, stored_decisions
from attnres_core.judging.decisions import Adjusted, Question, noise_gate
from attnres_core.judging.family_selection import choose, filled, filled_statement, needed_for
from attnres_core.judging.outcomes import EarlyDeciding, Outcome
from attnres_core.judging.redundancy import redundant
from attnres_core.judging.registry import LOCK, Registry, Standing
from attnres_core.models.checkpoints.checkpoint import (
    Checkpoint,
    Weights,
    earlier_step,
    inspect_checkpoint,
    kept_steps,
)
from attnres_core.planning.bundles import Bundle, make_bundles, noise_bundles
from attnres_core.planning.material import Material, reference_of
from attnres_core.planning.requests import ROUTING, interventions_for, unit_keys
from attnres_core.prompts import PromptSet, Split, check_tokens, load_prompts
from attnres_core.quantities.intervention import NotApplicable
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole, Role, Step
from attnres_core.statistics import intervals
from attnres_core.statistics.sequential import ONLY, Look, looks
from attnres_core.suite.settings import Settings

QUICK_PROMPTS = 64
"""Prompts of a `--attnres-quick` run, which is never confirmatory."""


class Suite:
    """One run's material and its way from claims to outcomes.

    Raises:
        ValueError: a checkpoint, prompt file, device or store that cannot be used, with the remedy.
    """

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.settings = settings
        self.store = Store(settings.store)
        prompts = load_prompts(settings.prompts)
        limits = [settings.n_prompts, QUICK_PROMPTS if settings.quick else None]
        limit = min((limit for limit in limits if limit is not None), default=None)
        self.reference = reference_of(prompts)
        self.prompts: dict[Split, PromptSet] = {split: prompts.part(split, limit) for split in Split}
        self.registry = Registry(settings.registrations)
        if settings.sequential and self.registry.entries and not self.registry.has_looks:
            raise ValueError(
                f"--attnres-sequential: {self.registry.folder / LOCK} holds no looks; --attnres-register writes them"
            )
        self.prompts_name, self.prompts_digest = prompts.name, prompts.digest
        confirmation = prompts.part(Split.CONFIRMATION)
        self.confirmation_digests = tuple(prompt.digest[:12] for prompt in confirmation.prompts)
        """The confirmation prompts, all of them, as the ledger names them."""
        used = len(self.prompts[Split.CONFIRMATION])
        self.part = f"{used} of {len(confirmation)} confirmation prompts" if used < len(confirmation) else ""
        """How much of the registered prompts this run reads, where it is not all."""
        for split, part in self.prompts.items():
            if not len(part):
                raise ValueError(
                    f"{settings.prompts}: no prompt belongs to the {split} split; add some or name the split"
                )
        self.trained = inspect_checkpoint(settings.trained, revision=settings.revision)
        blocks = settings.num_blocks or self.trained.dialect.num_blocks  # the wrapped baseline follows the trained one
        wrapped = inspect_checkpoint(
            settings.vanilla, settings.recency_bias, blocks, revision=settings.vanilla_revision
        )
        self.checkpoints: dict[AnyRole, Checkpoint] = {
            Role.TRAINED: self.trained,
            Role.WRAPPED: wrapped,
            Role.STOCK: dataclasses.replace(wrapped, weights=Weights.STOCK),
            Role.UNTRAINED: dataclasses.replace(self.trained, weights=Weights.UNTRAINED),
        }
        self.kept = {Step(number): folder for number, folder in kept_steps(self.trained).items()}
        """Earlier steps of the trained checkpoint's run; only those that claims name are read."""
        given = (workers, self.checkpoints.values(), settings.memory, settings.device_map)
        self.place: Place = choose_place(settings.device, settings.dtype, *given)

    def _read_steps(self, collected: Iterable[Claim]) -> None:
        """Recognise the kept steps that claims name."""
        steps = {q.role for c in collected for q in c.quantities if isinstance(q.role, Step)}
        for role in sorted(steps, key=lambda step: step.number):
            if role in self.kept and role not in self.checkpoints:
                self.checkpoints[role] = earlier_step(self.trained, self.kept[role])

    @cached_property
    def material(self) -> Material:
        """What the keys of stored units depend on."""
        return Material(
            self.checkpoints,
            tuple(map(str, self.kept)),
            self.prompts,
            self.place.device_class,
            self.settings.dtype,
            self.reference,
        )

    @cached_property
    def measurements(self) -> Measurements:
        """What the store holds of this run's columns."""
        return Measurements(self.store, self.material)

    def header(self, collected: Sequence[Claim]) -> list[str]:
        """What a reader must know of a run of these claims, in a few lines."""
        self._read_steps(collected)
        lines = [
            f"attnres: {role}: {c.name} ({c.dialect.name}, {c.num_layers} layers, {c.dialect.num_blocks} blocks"
            f"{'' if c.wrap is None else f', recency bias {c.wrap:g}'}), digest {c.digest[:12]}"
            for role, c in self.checkpoints.items()
            if c.weights is Weights.STORED
        ]
        counts = ", ".join(f"{len(part)} {split}" for split, part in self.prompts.items())
        quick = "; quick, never confirmatory" if self.settings.quick else ""
        place = self.place
        return [
            *lines,
            f"attnres: prompts: {self.prompts_name} ({counts}{quick}), digest {self.prompts_digest[:12]}",
            f"attnres: device: {place.device_class}, {place.dtype}, {len(place.slots)} measuring "
            f"slot{'s' if len(place.slots) > 1 else ''} x {place.threads} threads"
            f"{f' over {len(place.spread)} devices' if place.spread else ''}; seed {intervals.SEED}; "
            f"store {self.settings.store}",
            f"attnres: memory: a slot needs up to {place.need}"
            + ("" if place.memory is None else f" beside the libraries; {memory_words(place.memory)}"),
            f"attnres: claims: {_tally(self.standing(claim).status for claim in collected)}; "
            f"lock {self.registry.digest[:12] or 'none'} in {self.registry.folder}",
        ]

    def decide(
        self, collected: Sequence[Claim], run: str, standings: Mapping[str, Standing] | None = None
    ) -> dict[str, Outcome]:
        """Choose, measure and judge, look by look; every worker of the run calls this and gets the same outcomes.

        Args:
            collected: the claims.
            run: the run's name, the same in all its workers.
            standings: what each verdict may rest on, by node id; default: what the registry says.
        """
        self._read_steps(collected)
        barrier = Barrier(self.store, run)
        standings = standings or {c.node_id: self.standing(c) for c in collected}
        planned = looks(len(self.prompts[Split.CONFIRMATION].documents), sequential=self.settings.sequential)
        with Crew(self.checkpoints, barrier, self.place) as crew:
            # Everything whose families are known already, so that a model is loaded once for most of it.
            asked = [
                (standings[c.node_id].split, filled(q, {}, self._dtype(c)))
                for c in collected
                for q in c.quantities
                if not q.picks
            ]
            picks = {pick for claim in collected for quantity in claim.quantities for pick in quantity.picks}
            asked += [(Split.EXPLORATION, quantity) for quantity in needed_for(picks)]
            bundles = self._bundles(asked, planned[0].documents)
            missing = [bundle for bundle in bundles if self.store.missing(bundle)]
            barrier.announce(len(missing), len(bundles) - len(missing), self.header(collected))
            if missing:
                self._check_prompts({bundle.role for bundle in bundles})
            lost = crew.carry_out(bundles)
            outcomes = {c.node_id: self._prepared(c, standings[c.node_id], lost) for c in collected}
            waiting = [outcome for outcome in outcomes.values() if outcome.quantities]
            self._refuse_second_chances(waiting)
            for look in planned:
                waiting = [outcome for outcome in waiting if not outcome.error]
                rest = self._bundles([(o.standing.split, q) for o in waiting for q in o.quantities], look.documents)
                lost |= crew.carry_out(rest)
                self._judge(waiting, lost, look)
                waiting = [o for o in waiting if not o.error and o.verdict is not Verdict.SUPPORTED]
        for outcome in outcomes.values():
            outcome.redundancy = redundant(outcome, outcomes.values(), self.measurements)
        for outcome in waiting:  # (a run on fewer prompts decides nothing, and takes no chance away)
            if outcome.verdict is Verdict.INCONCLUSIVE and outcome.may_end_early and not self.part:
                stored_decisions.remember_open(self._way(outcome, sequential=self.settings.sequential), self.store)
        return outcomes

    def standing(self, claim: Claim) -> Standing:
        """What a claim's verdict may rest on."""
        return self.registry.standing(claim, self.prompts_digest, quick=self.settings.quick, part=self.part)

    def _bundles(self, asked: Iterable[tuple[Split, Quantity]], documents: int | None) -> list[Bundle]:
        """What is to be measured, model by model: exploration whole, the first `documents` of confirmation."""
        wanted = {split: [q for part, q in asked if part is split] for split in Split}
        every = [quantity for quantities in wanted.values() for quantity in quantities]
        found = [
            *make_bundles(wanted[Split.EXPLORATION], Split.EXPLORATION, self.material),
            *make_bundles(wanted[Split.CONFIRMATION], Split.CONFIRMATION, self.material, documents),
            *noise_bundles(every, self.material),
        ]
        return sorted(found, key=lambda bundle: bundle.loading)

    def check_margins(self, collected: Sequence[Claim], run: str) -> None:
        """Refuse claims whose margins this arithmetic cannot tell from its own error (measured on exploration prompts).

        Raises:
            ValueError: which claims, their margins and noise floors.
        """
        self._read_steps(collected)
        picks = {pick for claim in collected for quantity in claim.quantities for pick in quantity.picks}
        standing = Standing(Split.EXPLORATION, CLAIM_ALPHA, "registering")
        with Crew(self.checkpoints, Barrier(self.store, run), self.place) as crew:
            known = [filled(q, {}, self._dtype(c)) for c in collected for q in c.quantities if not q.picks]
            asked = [(Split.EXPLORATION, quantity) for quantity in needed_for(picks)]
            lost = crew.carry_out([*self._bundles(asked, None), *noise_bundles(known, self.material)])
            outcomes = [outcome for c in collected if (outcome := self._prepared(c, standing, lost)).quantities]
            lost |= crew.carry_out(noise_bundles([q for o in outcomes for q in o.quantities], self.material))
        if lost:
            raise ValueError(next(iter(lost.values())))
        problems = []
        for outcome in outcomes:
            why = [noise_gate(question.statement, question.noise) for question in self._questions(outcome, ONLY)]
            problems += [f"{claim_key(outcome.claim.node_id)}: {gate}" for gate in dict.fromkeys(why) if gate]
        if problems:
            raise ValueError("\n".join(["these claims cannot be registered:", *problems]))

    def saved(self, outcomes: Iterable[Outcome]) -> EarlyDeciding | None:
        """What deciding early left unmeasured of the confirmation split; None where it was not asked for."""
        if not self.settings.sequential:
            return None
        split = self.prompts[Split.CONFIRMATION]
        rows: dict[tuple[AnyRole, str], int] = {}
        planned = looks(len(split.documents), sequential=True)
        shares = {look.documents or len(split.documents): look.share for look in planned}
        ended = Counter({documents: 0 for documents in shares})
        for outcome in outcomes:
            if outcome.standing.split is not Split.CONFIRMATION or not outcome.decisions:
                continue
            ended[len(split.head(outcome.documents).documents)] += 1
            measured = sum(map(len, self.material.chunks(Split.CONFIRMATION, outcome.documents)))
            for quantity in outcome.quantities:
                for key in unit_keys(quantity.what, self.material.checkpoint(quantity.role)) | {ROUTING}:
                    row = quantity.role, key
                    rows[row] = max(rows.get(row, 0), measured)
        return EarlyDeciding(shares, dict(ended), len(rows) * len(split), sum(rows.values()))

    def adjusted(self, outcomes: Iterable[Outcome]) -> dict[str, Adjusted]:
        """p-values adjusted over the registered set, by node id; empty unless the whole set was decided together."""
        confirmed = [o for o in outcomes if o.standing.split is Split.CONFIRMATION and not o.error]
        whole = {claim_key(outcome.claim.node_id) for outcome in confirmed} == self.registry.entries.keys()
        if not whole or self.settings.sequential:  # looks differ: there are no joint columns
            return {}
        claims = {outcome.claim.node_id: outcome.decisions for outcome in confirmed if outcome.decisions}
        forms = [decision.statement.form for found in claims.values() for decision in found]
        columns = self._columns(forms, Split.CONFIRMATION)
        return stored_decisions.adjusted(claims, columns, self.prompts[Split.CONFIRMATION].strata, self.store)

    def _explored(self, quantity: Quantity, lost: Mapping[Bundle, str]) -> float:
        """A quantity's mean on the exploration split."""
        if why := self.measurements.loss([quantity], Split.EXPLORATION, lost):
            raise ValueError(why)
        return float(self.measurements.column(quantity, Split.EXPLORATION).mean())

    def _columns(
        self, forms: Iterable[Linear], split: Split, documents: int | None = None
    ) -> dict[Quantity, np.ndarray]:
        quantities = {quantity for form in forms for quantity, _ in form.terms}
        return {quantity: self.measurements.column(quantity, split, documents) for quantity in quantities}

    def _check_prompts(self, roles: Iterable[AnyRole]) -> None:
        """Refuse prompts that a model cannot read before anything is loaded."""
        for tokenizer, context, vocab in {
            (c.tokenizer_file, c.context, c.vocabulary) for c in map(self.material.checkpoint, roles)
        }:
            for part in self.prompts.values():
                check_tokens(part.token_ids(tokenizer), [repr(p.id) for p in part.prompts], vocab, context)

    def _prepared(self, claim: Claim, standing: Standing, lost: Mapping[Bundle, str]) -> Outcome:
        """The claim with its picks filled in, or the reason why it cannot be decided."""
        if standing.error:
            return Outcome(claim, standing, Verdict.INCONCLUSIVE, error=standing.error)
        try:
            picks = dict.fromkeys(pick for quantity in claim.quantities for pick in quantity.picks)
            chosen = {pick: choose(pick, self.trained, lambda q: self._explored(q, lost)) for pick in picks}
            quantities = tuple(filled(quantity, chosen, self._dtype(claim)) for quantity in claim.quantities)
            for quantity in quantities:
                self.measurements.check_answers(quantity, standing.split)
                interventions = interventions_for(quantity.what, self.material.checkpoint(quantity.role))
                if interventions and all(i.no_ops == i.sites for i in interventions):
                    where = ", ".join(site for i in interventions for site in i.sites)
                    raise NotApplicable(f"`{quantity.what}` is a no-op by construction: {where} read one tensor only")
        except NotApplicable as error:
            return Outcome(claim, standing, Verdict.NOT_APPLICABLE, reason=str(error))
        except ValueError as error:
            return Outcome(claim, standing, Verdict.INCONCLUSIVE, error=str(error))
        return Outcome(claim, standing, Verdict.INCONCLUSIVE, chosen=chosen, quantities=quantities)

    def _questions(self, outcome: Outcome, look: Look) -> list[Question]:
        """A claim's statements, with what each may spend at this look (all of alpha where there is only one)."""
        count, alpha = len(outcome.claim.statements), outcome.standing.alpha
        own = look if outcome.may_end_early else ONLY
        dtype = self._dtype(outcome.claim)
        statements = [filled_statement(statement, outcome.chosen, dtype) for statement in outcome.claim.statements]
        floors = [0.0 if s.takes_worst else self.measurements.noise_floor(s.form, alpha) for s in statements]
        return [Question(s, alpha, count, floor, own) for s, floor in zip(statements, floors, strict=True)]

    def _judge(self, outcomes: Sequence[Outcome], lost: Mapping[Bundle, str], look: Look) -> None:
        """Fill in decisions and verdicts of one look; claims that cannot end early have only the last."""
        for split in Split:
            documents = look.documents if split is Split.CONFIRMATION else None
            found, which = self.measurements, (split, documents)
            asked: dict[int, list[Question]] = {}
            for index, outcome in enumerate(outcomes):
                if outcome.standing.split is not split or not (look.final or outcome.may_end_early):
                    continue
                if why := self.measurements.loss(outcome.quantities, split, lost, documents):
                    outcome.error, outcome.decisions = why, ()
                    continue
                asked[index] = [
                    dataclasses.replace(
                        question, bias=gates.bias(found, form, *which), gate=gates.gate(found, form, *which)
                    )
                    for question in self._questions(outcome, look)
                    for form in [question.statement.form]
                ]
            every = [question for several in asked.values() for question in several]
            columns = self._columns((question.statement.form for question in every), split, documents)
            # The shares of the strata are fixed in the whole split alone: a first part of it has drawn them.
            strata = self.prompts[split].strata if look.final else ("",) * (look.documents or 0)
            decided = stored_decisions.decisions(every, columns, strata, self.store)
            for index, several in asked.items():
                outcomes[index].decisions = tuple(decided[question] for question in several)
                outcomes[index].verdict, outcomes[index].disagreement = outcomes[index].agreed
                outcomes[index].documents = documents

    def _dtype(self, claim: Claim) -> str | None:
        """What a claim's columns must be measured in: float32 where it says that an effect is small; None: any."""
        null = any(statement.operator is not Operator.ABOVE for statement in claim.statements)
        return "float32" if null and self.settings.dtype != "float32" else None

    def _refuse_second_chances(self, outcomes: Iterable[Outcome]) -> None:
        """A claim found INCONCLUSIVE at a fixed number of documents is not tried look by look, nor the reverse."""
        sequential = self.settings.sequential
        for outcome in outcomes:
            if self.part or not outcome.may_end_early:
                continue
            if stored_decisions.was_open(self._way(outcome, sequential=not sequential), self.store):
                before, remedy = "look by look", "add --attnres-sequential"
                if sequential:
                    before, remedy = "at a fixed number of documents", "leave --attnres-sequential out"
                outcome.error = (
                    f"this claim was decided {before} before and found INCONCLUSIVE; deciding it in another way on the "
                    f"same prompts would be a second chance at its alpha: {remedy}, or register it on fresh prompts"
                )

    def _way(self, outcome: Outcome, *, sequential: bool) -> list[str]:
        """Identifies a claim, its models and prompts, and the way of deciding it; not dtype or device."""
        models = sorted({self.material.checkpoint(quantity.role).digest for quantity in outcome.quantities})
        how = "look by look" if sequential else "at once"
        return [claim_key(outcome.claim.node_id), *outcome.claim.texts, *models, self.prompts_digest, how]


def _tally(words: Iterable[str]) -> str:
    """`51 registered, 2 exploratory`."""
    counts = Counter(words)
    return ", ".join(f"{count} {word}" for word, count in counts.items())
