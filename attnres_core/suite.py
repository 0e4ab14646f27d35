"""Claims in, decided claims out: choose families, measure columns, judge statements. Knows no pytest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from attnres_core import statistics
from attnres_core.claims import ALPHA, CLAIM_ALPHA, PROVISIONAL_CLAIMS
from attnres_core.columns import InterventionRecord, derive, interventions_for, unit_keys
from attnres_core.estimates import Decision, Linear, Statement
from attnres_core.intervention import SHAM, NotApplicable, family_sites
from attnres_core.judging import Question, combine, judge
from attnres_core.models.checkpoint import Checkpoint, Weights, inspect_checkpoint, kept_steps
from attnres_core.place import Place, choose_place, size
from attnres_core.plan import Bundle, Material, make_bundles
from attnres_core.prompts import PromptSet, Split, load_prompts
from attnres_core.run import Barrier, Crew
from attnres_core.statistics import Interval, Verdict
from attnres_core.store import Store
from attnres_core.vocabulary import MIN_PICK_MASS, AnyRole, Family, Pick, PickRule, Quantity, Role, Step, drop, mass

JUDGE_VERSION = 3
"""Raise when a change to the decision rules changes verdicts or limits."""
QUICK_PROMPTS = 64
"""Prompts of a `--attnres-quick` run, which is never confirmatory."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was asked for: the values of the `--attnres-*` options."""

    trained: str
    vanilla: str
    recency_bias: float
    num_blocks: int | None
    prompts: Path
    n_prompts: int | None
    device: str
    dtype: str
    store: Path
    quick: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as collected: what it is called and what its body states."""

    node_id: str
    title: str
    family: str
    cites: str | None
    quantities: tuple[Quantity, ...]
    statements: tuple[Statement, ...]


@dataclass(slots=True)
class Outcome:
    """What a run found about a claim."""

    claim: Claim
    verdict: Verdict
    decisions: tuple[Decision, ...] = ()
    reason: str = ""
    error: str = ""
    """Why it could not be decided at all; such a claim has no verdict worth reading."""
    chosen: Mapping[Pick, Family] = field(default_factory=dict)
    """The families that its picks came out as."""
    quantities: tuple[Quantity, ...] = ()
    """Its quantities with the picks filled in."""


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
        self.prompts: dict[Split, PromptSet] = {split: prompts.part(split, limit) for split in Split}
        self.prompts_name, self.prompts_digest = prompts.name, prompts.digest
        for split, part in self.prompts.items():
            if not len(part):
                raise ValueError(
                    f"{settings.prompts}: no prompt belongs to the {split} split; add some or name the split"
                )
        self.trained = inspect_checkpoint(settings.trained)
        blocks = settings.num_blocks or self.trained.dialect.num_blocks  # the wrapped baseline follows the trained one
        wrapped = inspect_checkpoint(settings.vanilla, wrap=settings.recency_bias, num_blocks=blocks)
        self.checkpoints: dict[AnyRole, Checkpoint] = {
            Role.TRAINED: self.trained,
            Role.WRAPPED: wrapped,
            Role.STOCK: dataclasses.replace(wrapped, weights=Weights.STOCK),
            Role.UNTRAINED: dataclasses.replace(self.trained, weights=Weights.UNTRAINED),
            **{Step(number): kept for number, kept in kept_steps(self.trained).items()},
        }
        self.place: Place = choose_place(settings.device, settings.dtype, workers, self.checkpoints.values())
        self.bundles_needed = 0
        """Known once the claims are decided."""
        self._derived: dict[tuple[Split, Quantity], tuple[np.ndarray, InterventionRecord]] = {}

    @cached_property
    def material(self) -> Material:
        """What the keys of stored units depend on."""
        return Material(self.checkpoints, self.prompts, self.place.device_class, self.settings.dtype)

    def header(self, collected: int) -> list[str]:
        """What a reader must know of a run of so many claims, in a few lines."""
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
            f"slot{'s' if len(place.slots) > 1 else ''} x {place.threads} threads; seed {statistics.SEED}; "
            f"store {self.settings.store}",
            f"attnres: memory: a slot needs up to {place.need}"
            + ("" if place.memory is None else f" beside the libraries; this machine has {size(place.memory)}"),
            *_budget_note(collected),
        ]

    def decide(self, collected: Sequence[Claim], run: str) -> dict[str, Outcome]:
        """Choose, measure and judge; every worker of the run calls this and gets the same outcomes."""
        barrier = Barrier(self.store, run)
        picks = {pick for claim in collected for quantity in claim.quantities for pick in quantity.picks}
        asked = [quantity for claim in collected for quantity in claim.quantities]
        bundles = make_bundles(_needed_for(picks), Split.EXPLORATION, self.material) if picks else []
        bundles += make_bundles([q for q in asked if not q.picks], Split.CONFIRMATION, self.material)
        barrier.announce([bundle for bundle in bundles if self.store.missing(bundle)], self.header(len(collected)))
        with Crew(self.checkpoints, barrier, self.place) as crew:
            crew.carry_out(bundles)
            lost = {bundle: why for bundle in bundles if (why := barrier.failure(bundle)) is not None}
            outcomes = {claim.node_id: self._prepared(claim, lost) for claim in collected}
            resolved = [quantity for outcome in outcomes.values() for quantity in outcome.quantities]
            rest = make_bundles(resolved, Split.CONFIRMATION, self.material)
            crew.carry_out(rest)
        lost |= {bundle: why for bundle in rest if (why := barrier.failure(bundle)) is not None}
        self._judge([outcome for outcome in outcomes.values() if outcome.quantities], lost)
        self.bundles_needed = len({bundle.id for bundle in (*bundles, *rest)})
        return outcomes

    def column(self, quantity: Quantity, split: Split = Split.CONFIRMATION) -> np.ndarray:
        """A measured column, `[prompt]`."""
        return self._measured(quantity, split)[0]

    def record(self, quantity: Quantity, split: Split = Split.CONFIRMATION) -> InterventionRecord:
        """What a measured column's intervention touched."""
        return self._measured(quantity, split)[1]

    def _measured(self, quantity: Quantity, split: Split) -> tuple[np.ndarray, InterventionRecord]:
        if (split, quantity) not in self._derived:
            chunks = self.store.chunks(self.material, quantity.role, split)
            found = derive(quantity.what, quantity.metric, chunks, self.checkpoints[quantity.role])
            self._derived[split, quantity] = found
        return self._derived[split, quantity]

    def noise_floor(self) -> float:
        """The largest |effect| of a sham that travelled with the ablated rows, over everything stored."""
        worst = 0.0
        for role in self.checkpoints:
            for split in self.prompts:
                for units in self.store.chunks(self.material, role, split):
                    if SHAM.key in units:
                        worst = max(worst, float(np.abs(units[SHAM.key]["delta_nll"]).max()))
        return worst

    def _prepared(self, claim: Claim, lost: Mapping[Bundle, str]) -> Outcome:
        """The claim with its picks filled in, or the reason why it cannot be decided."""
        try:
            chosen = {pick: self._choose(pick, lost) for q in claim.quantities for pick in q.picks}
            quantities = tuple(_filled(quantity, chosen) for quantity in claim.quantities)
            for quantity in quantities:
                interventions = interventions_for(quantity.what, self.material.checkpoint(quantity.role))
                if interventions and all(i.no_ops == i.sites for i in interventions):
                    where = ", ".join(site for i in interventions for site in i.sites)
                    raise NotApplicable(f"`{quantity.what}` is a no-op by construction: {where} read one tensor only")
        except NotApplicable as error:
            return Outcome(claim, Verdict.NOT_APPLICABLE, reason=str(error))
        except ValueError as error:
            return Outcome(claim, Verdict.INCONCLUSIVE, error=str(error))
        return Outcome(claim, Verdict.INCONCLUSIVE, chosen=chosen, quantities=quantities)

    def _choose(self, pick: Pick, lost: Mapping[Bundle, str]) -> Family:
        """The family a pick comes out as on the trained model's exploration split."""
        trained = self.checkpoints[Role.TRAINED]
        masses, effects = {}, {}
        for family in Family:
            try:
                family_sites(family, pick.sublayer, pick.layers, trained.sites, trained.num_layers)
            except NotApplicable:
                continue
            pair = _mass(family, pick), _effect(family, pick)
            if why := self._loss(pair, Split.EXPLORATION, lost):
                raise ValueError(why)
            masses[family], effects[family] = (float(self.column(q, Split.EXPLORATION).mean()) for q in pair)
        if pick.of is not None and pick.of != len(masses):
            raise NotApplicable(f"`{pick}`: {len(masses)} families are present there, not {pick.of}")
        ranked = sorted(masses, key=lambda family: -masses[family])
        if pick.rule is PickRule.MASSIVE:
            if pick.rank >= len(ranked):
                raise NotApplicable(f"`{pick}`: only {len(ranked)} families are present there")
            return ranked[pick.rank]
        if len(ranked) < 2:
            raise NotApplicable(f"`{pick}`: fewer than two families are present there")
        if pick.rule is PickRule.CAUSAL:
            return max(ranked[1:], key=lambda family: effects[family])
        eligible = [family for family in ranked if masses[family] >= MIN_PICK_MASS]
        return min(eligible, key=lambda family: abs(effects[family]))

    def _judge(self, outcomes: Sequence[Outcome], lost: Mapping[Bundle, str]) -> None:
        """Fill in decisions and verdicts; what was judged before is read from the store."""
        asked: dict[int, list[Question]] = {}
        for index, outcome in enumerate(outcomes):
            if why := self._loss(outcome.quantities, Split.CONFIRMATION, lost):
                outcome.error = why
                continue
            count = len(outcome.claim.statements)
            statements = [_filled_statement(statement, outcome.chosen) for statement in outcome.claim.statements]
            asked[index] = [Question(statement, CLAIM_ALPHA, count) for statement in statements]
        questions = list(dict.fromkeys(question for several in asked.values() for question in several))
        needed = {q for question in questions for q, _ in question.statement.form.terms}
        columns = {quantity: self.column(quantity) for quantity in needed}
        keys = {question: _question_key(question, columns) for question in questions}

        def known() -> dict[Question, Decision]:
            entries = {question: self.store.judged(keys[question]) for question in questions}
            return {question: _thaw(question, entry) for question, entry in entries.items() if entry is not None}

        decisions = known()
        if len(decisions) < len(questions):
            with self.store.held("judge", wait=True):
                decisions = known()
                fresh = judge([q for q in questions if q not in decisions], columns)
                for question, decision in fresh.items():
                    self.store.add_judged(keys[question], _freeze(decision))
                decisions |= fresh
        for index, several in asked.items():
            outcomes[index].decisions = tuple(decisions[question] for question in several)
            outcomes[index].verdict = combine(outcomes[index].decisions)

    def _loss(self, quantities: Iterable[Quantity], split: Split, lost: Mapping[Bundle, str]) -> str:
        """Why columns are missing; empty when they are all there."""
        for quantity in quantities:
            keys = unit_keys(quantity.what, self.checkpoints[quantity.role])
            for bundle, why in lost.items():
                if (bundle.role, bundle.split) == (quantity.role, split) and keys & self.store.missing(bundle):
                    return why
        return ""


def _budget_note(collected: int) -> list[str]:
    if collected <= PROVISIONAL_CLAIMS:
        return []
    bound = ALPHA * collected / PROVISIONAL_CLAIMS
    return [
        f"attnres: {collected} claims share a budget meant for {PROVISIONAL_CLAIMS}: "
        f"P(any wrong verdict) is bounded by {bound:.3f}, not {ALPHA}"
    ]


def _mass(family: Family, pick: Pick) -> Quantity:
    return mass(family, pick.sublayer, pick.layers).on(Role.TRAINED)


def _effect(family: Family, pick: Pick) -> Quantity:
    return drop(family, pick.sublayer, pick.layers).on(Role.TRAINED)


def _needed_for(picks: Iterable[Pick]) -> list[Quantity]:
    return [make(family, pick) for pick in picks for family in Family for make in (_mass, _effect)]


def _filled(quantity: Quantity, chosen: Mapping[Pick, Family]) -> Quantity:
    if not quantity.picks:
        return quantity
    return dataclasses.replace(quantity, what=dataclasses.replace(quantity.what, family=chosen[quantity.picks[0]]))


def _filled_statement(statement: Statement, chosen: Mapping[Pick, Family]) -> Statement:
    terms = tuple((_filled(quantity, chosen), coefficient) for quantity, coefficient in statement.form.terms)
    return dataclasses.replace(statement, form=Linear(terms, statement.form.constant))


def _question_key(question: Question, columns: Mapping[Quantity, np.ndarray]) -> str:
    """Identifies a decision by everything it depends on, the data included."""
    statement = question.statement
    parts = [
        *(JUDGE_VERSION, statistics.SEED, str(statement.operator), statement.threshold.hex()),
        *(question.alpha.hex(), question.refuters, statement.takes_worst, statement.is_routing),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode())
    digest.update(statement.form.of(columns).tobytes())
    return digest.hexdigest()


def _freeze(decision: Decision) -> dict[str, object]:
    interval = dataclasses.asdict(decision.interval)
    verdict = {"verdict": decision.verdict.value, "reason": decision.reason, "p_value": decision.p_value}
    return {**verdict, "interval": interval}


def _thaw(question: Question, entry: Mapping[str, object]) -> Decision:
    interval = Interval(**entry["interval"])  # type: ignore[arg-type]
    p_value: float | None = entry["p_value"]  # type: ignore[assignment]
    return Decision(question.statement, Verdict(str(entry["verdict"])), interval, str(entry["reason"]), p_value)
