"""The conductor of a run: inputs, plan, measure, judge. Claims go in, outcomes come out. Knows no pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.engine.executors import Executor, announce, open_executor
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.decisions import Adjusted
from attnres_core.judging.family_selection import needed_for
from attnres_core.judging.judge import Judge, still_open
from attnres_core.judging.outcomes import Outcome
from attnres_core.planning.bundles import Bundle, bundles_for
from attnres_core.planning.shards import Shard
from attnres_core.prompts import Split
from attnres_core.quantities.quantity import Quantity
from attnres_core.registration.ledger import explored, note_read
from attnres_core.registration.registry import Standing
from attnres_core.statistics.sequential import looks
from attnres_core.suite.inputs import read_inputs
from attnres_core.suite.settings import Settings


class Suite:
    """One run of some claims.

    Args:
        settings: what to work on.
        claims: what to decide.
        workers: processes that may measure.
        notes: what its header says beside what it works on.

    Raises:
        ValueError: a checkpoint, prompt file, device or store that cannot be used, with the remedy.
    """

    def __init__(
        self, settings: Settings, claims: Sequence[Claim] = (), workers: int = 1, notes: Sequence[str] = ()
    ) -> None:
        self.claims, self.notes = claims, notes
        self.inputs = read_inputs(settings, claims, workers)

    @cached_property
    def measurements(self) -> Measurements:
        """The columns of this run that are in the store."""
        return Measurements(self.inputs.store, self.inputs.material)

    @cached_property
    def judge(self) -> Judge:
        """The judge that turns this run's columns into outcomes."""
        digest, sequential = self.inputs.prompt_set.digest, self.inputs.settings.sequential
        return Judge(self.measurements, digest, sequential, whole=not self.inputs.part)

    def standing(self, claim: Claim) -> Standing:
        """Return the standing of a claim."""
        inputs = self.inputs
        quick, digest = inputs.settings.quick, inputs.prompt_set.digest
        return inputs.registry.standing(claim, digest, quick=quick, part=inputs.part)

    def header(self) -> list[str]:
        """Return what a reader must know of this run, in a few lines."""
        return [*self.inputs.lines(self.standing(claim).status for claim in self.claims), *self.notes]

    def executor(self, run: str) -> Executor:
        """Return the executor that measures; `run` is the run's name, the same in all its processes."""
        inputs = self.inputs
        return open_executor(inputs.settings.executor, inputs.checkpoints, inputs.store, run, inputs.resources)

    def decide(self, run: str, standings: Mapping[str, Standing] | None = None) -> dict[str, Outcome]:
        """Plan, measure and judge, look by look; every process of the run calls this and gets the same outcomes.

        Args:
            run: the run's name, the same in all its processes.
            standings: what each verdict may rest on, by node id; default: what the registry says.
        """
        standings = standings or {claim.node_id: self.standing(claim) for claim in self.claims}
        self.note_reads(standings)
        planned = looks(
            len(self.inputs.prompts[Split.CONFIRMATION].documents), sequential=self.inputs.settings.sequential
        )
        with self.executor(run) as executor:
            bundles = self.plan(self._known(standings), planned[0].documents)
            if announce(bundles, self.inputs.store, run, self.header()):
                self.inputs.check_prompts({bundle.role for bundle in bundles})
            lost = executor.carry_out(bundles)
            outcomes = {c.node_id: self.judge.prepare(c, standings[c.node_id], lost) for c in self.claims}
            outcomes = self.judge.without_second_chances(outcomes)
            waiting = still_open({node_id: outcome for node_id, outcome in outcomes.items() if outcome.quantities})
            for look in planned:
                asked = [(o.standing.split, quantity) for o in waiting.values() for quantity in o.quantities]
                lost |= executor.carry_out(self.plan(asked, look.documents))
                found = self.judge.at_look(waiting, lost, look)
                outcomes |= found
                waiting = still_open(found)
        self.judge.remember_open(waiting.values())
        return self.judge.with_excesses(outcomes)

    def measure(self, run: str, shard: Shard) -> dict[Bundle, str]:
        """Measure one part of the plan, all documents of it; returns the bundles that failed, with the reason.

        Every part's process plans the same: families that are chosen by what was measured are left to `decide`.

        Raises:
            StoreError: the store cannot be read or written.
        """
        standings = {claim.node_id: self.standing(claim) for claim in self.claims}
        self.note_reads(standings)
        bundles = shard.of(self.plan(self._known(standings)))
        with self.executor(run) as executor:
            if announce(bundles, self.inputs.store, run, self.header()):
                self.inputs.check_prompts({bundle.role for bundle in bundles})
            return executor.carry_out(bundles)

    def note_reads(self, standings: Mapping[str, Standing]) -> None:
        """Write down which prompts this run reads outside of a registration, before it reads them.

        Exploration prompts; confirmation prompts of claims that are registered for others; and those of a lock that
        is not committed.

        Raises:
            ValueError: two prompts are the same, or the note cannot be written.
        """
        if not self.claims:
            return
        inputs, digests = self.inputs, self.inputs.prompt_digests
        registry, folder = inputs.registry, inputs.registry.folder
        known = explored(registry.ledger)
        if not set(digests.exploration) <= known.keys():
            note_read(folder, Split.EXPLORATION, digests.exploration)
        confirmed = [c for c in self.claims if standings[c.node_id].split is Split.CONFIRMATION]
        registered = {key: entry.prompts for key, entry in registry.entries.items()}
        own = inputs.prompt_set.digest
        others = [c for c in confirmed if registered.get(claim_key(c.node_id), own) != own]
        if others:
            quantities = {str(quantity) for claim in others for quantity in claim.quantities}
            note_read(folder, Split.CONFIRMATION, digests.confirmation, quantities)
        if confirmed and inputs.attestation.label == "self-attested" and not inputs.attestation.commit:
            note_read(folder, Split.CONFIRMATION, digests.confirmation, lock=registry.digest)

    def plan(self, asked: Iterable[tuple[Split, Quantity]], documents: int | None = None) -> list[Bundle]:
        """Return what is to be measured: exploration whole, the first `documents` of confirmation (None: all)."""
        return bundles_for(asked, self.inputs.material, documents)

    def _known(self, standings: Mapping[str, Standing]) -> list[tuple[Split, Quantity]]:
        """All whose families are known already, so that a model is loaded once for most; what the others need."""
        known = [(standings[c.node_id].split, quantity) for c in self.claims for quantity in self.judge.known(c)]
        return [*known, *((Split.EXPLORATION, quantity) for quantity in needed_for(self.claims))]

    def adjusted(self, outcomes: Iterable[Outcome]) -> dict[str, Adjusted]:
        """p-values adjusted over the registered set, by node id; empty unless the whole set was decided together."""
        return self.judge.adjusted(outcomes, self.inputs.registry.entries)
