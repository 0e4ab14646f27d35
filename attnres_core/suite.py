"""Claims in, decided claims out: choose families, measure columns, judge statements. Knows no pytest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from attnres_core import statistics
from attnres_core.claims import Claim, claim_key
from attnres_core.columns import ROUTING, InterventionRecord, derive, interventions_for, unit_keys
from attnres_core.estimates import Decision
from attnres_core.intervention import SHAM, NotApplicable
from attnres_core.judging import Adjusted, Question, adjust, combine, judge, planned_units
from attnres_core.models.checkpoint import Checkpoint, Weights, earlier_step, inspect_checkpoint, kept_steps
from attnres_core.picks import choose, filled, filled_statement, needed_for
from attnres_core.place import Place, choose_place, memory_words
from attnres_core.plan import Bundle, Material, make_bundles
from attnres_core.prompts import PromptSet, Split, check_tokens, load_prompts
from attnres_core.registry import Registry, Standing
from attnres_core.run import Barrier, Crew
from attnres_core.statistics import Interval, Verdict
from attnres_core.store import Store
from attnres_core.vocabulary import AnyRole, Family, Pick, Quantity, Role, Step

JUDGE_VERSION = 4
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
    registrations: Path
    """The folder of the claims' lock and ledger."""


@dataclass(slots=True)
class Outcome:
    """What a run found about a claim."""

    claim: Claim
    standing: Standing
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
        self.registry = Registry(settings.registrations)
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
        }
        self.kept = {Step(number): folder for number, folder in kept_steps(self.trained).items()}
        """Earlier steps of the trained checkpoint's run; only those that claims name are read."""
        self.place: Place = choose_place(settings.device, settings.dtype, workers, self.checkpoints.values())
        self.bundles_needed = 0
        """Known once the claims are decided."""
        self._derived: dict[tuple[Split, Quantity], tuple[np.ndarray, InterventionRecord]] = {}

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
            self.checkpoints, tuple(map(str, self.kept)), self.prompts, self.place.device_class, self.settings.dtype
        )

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
            f"slot{'s' if len(place.slots) > 1 else ''} x {place.threads} threads; seed {statistics.SEED}; "
            f"store {self.settings.store}",
            f"attnres: memory: a slot needs up to {place.need}"
            + ("" if place.memory is None else f" beside the libraries; {memory_words(place.memory)}"),
            f"attnres: claims: {_tally(self.standing(claim).status for claim in collected)}; "
            f"lock {self.registry.digest[:12] or 'none'} in {self.registry.folder}",
        ]

    def decide(
        self, collected: Sequence[Claim], run: str, standings: Mapping[str, Standing] | None = None
    ) -> dict[str, Outcome]:
        """Choose, measure and judge; every worker of the run calls this and gets the same outcomes.

        Args:
            collected: the claims.
            run: the run's name, the same in all its workers.
            standings: what each verdict may rest on, by node id; default: what the registry says.
        """
        self._read_steps(collected)
        barrier = Barrier(self.store, run)
        picks = {pick for claim in collected for quantity in claim.quantities for pick in quantity.picks}
        standings = standings or {c.node_id: self.standing(c) for c in collected}
        asked = [(standings[c.node_id].split, q) for c in collected for q in c.quantities if not q.picks]
        bundles = self._bundles([*asked, *((Split.EXPLORATION, quantity) for quantity in needed_for(picks))])
        barrier.announce([bundle for bundle in bundles if self.store.missing(bundle)], self.header(collected))
        if any(self.store.missing(bundle) for bundle in bundles):
            self._check_prompts({bundle.role for bundle in bundles})
        with Crew(self.checkpoints, barrier, self.place) as crew:
            crew.carry_out(bundles)
            lost = {bundle: why for bundle in bundles if (why := barrier.failure(bundle)) is not None}
            outcomes = {c.node_id: self._prepared(c, standings[c.node_id], lost) for c in collected}
            rest = self._bundles([(o.standing.split, q) for o in outcomes.values() for q in o.quantities])
            crew.carry_out(rest)
        lost |= {bundle: why for bundle in rest if (why := barrier.failure(bundle)) is not None}
        self._judge([outcome for outcome in outcomes.values() if outcome.quantities], lost)
        self.bundles_needed = len({bundle.id for bundle in (*bundles, *rest)})
        return outcomes

    def standing(self, claim: Claim) -> Standing:
        """What a claim's verdict may rest on."""
        return self.registry.standing(claim, self.prompts_digest, quick=self.settings.quick)

    def confirmation_seen(self, claim: Claim) -> bool:
        """Whether the store holds any confirmation data of this claim's own quantities already."""
        for quantity in claim.quantities:
            try:
                chunks = self.store.chunks(self.material, quantity.role, Split.CONFIRMATION)
                keys = {ROUTING} if quantity.picks else unit_keys(quantity.what, self.checkpoints[quantity.role])
            except (NotApplicable, KeyError, ValueError):
                continue
            if any(keys & chunk.keys() for chunk in chunks):
                return True
        return False

    def _bundles(self, asked: Iterable[tuple[Split, Quantity]]) -> list[Bundle]:
        """What is to be measured, split by split."""
        wanted = list(asked)
        parts = [[q for split, q in wanted if split is part] for part in Split]
        return [b for part, qs in zip(Split, parts, strict=True) if qs for b in make_bundles(qs, part, self.material)]

    def plan(self, collected: Sequence[Claim], run: str) -> list[tuple[Claim, Outcome, int | None]]:
        """Every claim as its exploration columns have it, with the documents it needs for 80 % power at its alpha.

        None: no number of documents would decide it, or it cannot be measured.
        """
        explored = {
            claim.node_id: dataclasses.replace(self.standing(claim), split=Split.EXPLORATION, error="")
            for claim in collected
        }
        outcomes = self.decide(collected, run, explored)
        planned = []
        for claim in collected:
            outcome = outcomes[claim.node_id]
            needed = [planned_units(decision, self._form_column(decision)) for decision in outcome.decisions]
            enough = None if not needed or None in needed else max(n for n in needed if n is not None)
            planned.append((claim, outcome, enough))
        return planned

    def _form_column(self, decision: Decision) -> np.ndarray:
        form = decision.statement.form
        return form.of({quantity: self.column(quantity, Split.EXPLORATION) for quantity, _ in form.terms})

    def column(self, quantity: Quantity, split: Split = Split.CONFIRMATION) -> np.ndarray:
        """A measured column, `[document]`: the mean over each document's prompts."""
        return self.prompts[split].by_document(self._measured(quantity, split)[0])

    def record(self, quantity: Quantity, split: Split = Split.CONFIRMATION) -> InterventionRecord:
        """What a measured column's intervention touched."""
        return self._measured(quantity, split)[1]

    def _measured(self, quantity: Quantity, split: Split) -> tuple[np.ndarray, InterventionRecord]:
        if (split, quantity) not in self._derived:
            chunks = self.store.chunks(self.material, quantity.role, split)
            found = derive(quantity.what, quantity.metric, chunks, self.checkpoints[quantity.role])
            self._derived[split, quantity] = found
        return self._derived[split, quantity]

    def adjusted(self, outcomes: Iterable[Outcome]) -> dict[str, Adjusted]:
        """p-values adjusted over the registered set, by node id; empty unless the whole set was decided together."""
        confirmed = [o for o in outcomes if o.standing.split is Split.CONFIRMATION and not o.error]
        if {claim_key(outcome.claim.node_id) for outcome in confirmed} != self.registry.entries.keys():
            return {}
        claims = {outcome.claim.node_id: outcome.decisions for outcome in confirmed if outcome.decisions}
        forms = [decision.statement.form for found in claims.values() for decision in found]
        columns = {quantity: self.column(quantity) for form in forms for quantity, _ in form.terms}
        labels = self.prompts[Split.CONFIRMATION].strata
        questions = (Question(d.statement, d.interval.alpha) for found in claims.values() for d in found)
        parts = "".join(_question_key(question, columns, labels) for question in questions)
        key = "adjusted-" + hashlib.sha256(parts.encode()).hexdigest()
        with self.store.held("judge", wait=True):
            entry = self.store.judged(key)
            if entry is None:
                found = adjust(claims, columns, statistics.strata_of(labels))
                entry = {name: dataclasses.asdict(values) for name, values in found.items()}
                self.store.add_judged(key, entry)
        return {name: Adjusted(**values) for name, values in entry.items()}

    def noise_floor(self) -> float:
        """The largest |effect| of a sham that travelled with the ablated rows, over everything stored."""
        worst = 0.0
        for role in self.checkpoints:
            for split in self.prompts:
                for units in self.store.chunks(self.material, role, split):
                    if SHAM.key in units:
                        worst = float(np.maximum(worst, np.abs(units[SHAM.key]["delta_nll"]).max()))  # keeps NaN
        return worst

    def _explored(self, quantity: Quantity, lost: Mapping[Bundle, str]) -> float:
        """A quantity's mean on the exploration split."""
        if why := self._loss([quantity], Split.EXPLORATION, lost):
            raise ValueError(why)
        return float(self.column(quantity, Split.EXPLORATION).mean())

    def _check_prompts(self, roles: Iterable[AnyRole]) -> None:
        """Refuse prompts that a model cannot read before anything is loaded."""
        for tokenizer, context, vocab in {
            (c.tokenizer_file, c.context, c.size("vocab_size")) for c in map(self.material.checkpoint, roles)
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
            quantities = tuple(filled(quantity, chosen) for quantity in claim.quantities)
            for quantity in quantities:
                interventions = interventions_for(quantity.what, self.material.checkpoint(quantity.role))
                if interventions and all(i.no_ops == i.sites for i in interventions):
                    where = ", ".join(site for i in interventions for site in i.sites)
                    raise NotApplicable(f"`{quantity.what}` is a no-op by construction: {where} read one tensor only")
        except NotApplicable as error:
            return Outcome(claim, standing, Verdict.NOT_APPLICABLE, reason=str(error))
        except ValueError as error:
            return Outcome(claim, standing, Verdict.INCONCLUSIVE, error=str(error))
        return Outcome(claim, standing, Verdict.INCONCLUSIVE, chosen=chosen, quantities=quantities)

    def _judge(self, outcomes: Sequence[Outcome], lost: Mapping[Bundle, str]) -> None:
        """Fill in decisions and verdicts; what was judged before is read from the store."""
        for split in Split:
            asked: dict[int, list[Question]] = {}
            for index, outcome in enumerate(outcomes):
                if outcome.standing.split is not split:
                    continue
                if why := self._loss(outcome.quantities, split, lost):
                    outcome.error = why
                    continue
                count, alpha = len(outcome.claim.statements), outcome.standing.alpha
                statements = [filled_statement(statement, outcome.chosen) for statement in outcome.claim.statements]
                asked[index] = [Question(statement, alpha, count) for statement in statements]
            decisions = self._decisions([question for several in asked.values() for question in several], split)
            for index, several in asked.items():
                outcomes[index].decisions = tuple(decisions[question] for question in several)
                outcomes[index].verdict = combine(outcomes[index].decisions)

    def _decisions(self, asked: Iterable[Question], split: Split) -> dict[Question, Decision]:
        """Statements judged over one split's documents, together; each is computed by one worker, once."""
        questions = list(dict.fromkeys(asked))
        needed = {q for question in questions for q, _ in question.statement.form.terms}
        columns = {quantity: self.column(quantity, split) for quantity in needed}
        labels = self.prompts[split].strata
        keys = {question: _question_key(question, columns, labels) for question in questions}

        def known() -> dict[Question, Decision]:
            entries = {question: self.store.judged(keys[question]) for question in questions}
            return {question: _thaw(question, entry) for question, entry in entries.items() if entry is not None}

        decisions = known()
        if len(decisions) < len(questions):
            with self.store.held("judge", wait=True):
                decisions = known()
                fresh = judge([q for q in questions if q not in decisions], columns, statistics.strata_of(labels))
                for question, decision in fresh.items():
                    self.store.add_judged(keys[question], _freeze(decision))
                decisions |= fresh
        return decisions

    def _loss(self, quantities: Iterable[Quantity], split: Split, lost: Mapping[Bundle, str]) -> str:
        """Why columns are missing; empty when they are all there."""
        for quantity in quantities:
            keys = unit_keys(quantity.what, self.checkpoints[quantity.role])
            for bundle, why in lost.items():
                if (bundle.role, bundle.split) == (quantity.role, split) and keys & self.store.missing(bundle):
                    return why
        return ""


def _tally(words: Iterable[str]) -> str:
    """`51 registered, 2 exploratory`."""
    counts = Counter(words)
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _question_key(question: Question, columns: Mapping[Quantity, np.ndarray], strata: Sequence[str]) -> str:
    """Identifies a decision by everything it depends on, the data included."""
    statement = question.statement
    parts = [
        *(JUDGE_VERSION, statistics.SEED, str(statement.operator), statement.threshold.hex()),
        *(question.alpha.hex(), question.refuters, statement.takes_worst, statement.is_routing, *strata),
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
