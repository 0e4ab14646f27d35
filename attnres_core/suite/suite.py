"""The conductor of a run: inputs, plan, measure, judge. Claims go in, outcomes come out. Knows no pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.engine.executors import Executor, announce, open_executor
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.decisions import Adjusted
from attnres_core.judging.family_selection import needed_for
from attnres_core.judging.judge import Judge, still_open
from attnres_core.judging.outcomes import Outcome
from attnres_core.judging.stored_decisions import adjusted
from attnres_core.planning.bundles import Bundle, bundles_for
from attnres_core.planning.shards import Shard
from attnres_core.prompts import Split
from attnres_core.registration.ledger import explored, move_notes, note_read
from attnres_core.registration.registry import Standing
from attnres_core.statistics.sequential import Look, looks
from attnres_core.suite.inputs import read_inputs
from attnres_core.suite.run_prompts import OWN, RunPrompts
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
        self.inputs.store.settled = True

    @property
    def measurements(self) -> Measurements:
        """The columns of this run that are in the store, over its own prompts."""
        return self.judges[OWN].measurements

    @cached_property
    def judges(self) -> Mapping[str, Judge]:
        """Those that turn this run's columns into outcomes, one for each prompt set."""
        inputs = self.inputs
        return {
            name: Judge(
                Measurements(inputs.store, inputs.materials[name]),
                prompts.whole.digest,
                inputs.settings.sequential,
                whole=not prompts.part,
                unfit=prompts.unfit,
            )
            for name, prompts in inputs.sets.items()
        }

    def measured(self, claim: Claim) -> Measurements:
        """The columns over the prompts that a claim is about."""
        return self.judges[claim.prompts].measurements

    def prompts(self, claim: Claim) -> RunPrompts:
        """The prompts that a claim is about."""
        return self.inputs.sets[claim.prompts]

    @cached_property
    def about(self) -> Mapping[str, list[Claim]]:
        """The claims about each prompt set."""
        return {name: [claim for claim in self.claims if claim.prompts == name] for name in self.inputs.sets}

    def standing(self, claim: Claim) -> Standing:
        """Return the standing of a claim."""
        quick, prompts = self.inputs.settings.quick, self.prompts(claim)
        return self.inputs.registry.standing(claim, prompts.whole.digest, quick=quick, part=prompts.part)

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
        folder, root = self.inputs.registry.folder, self.inputs.store.root
        if self.claims:  # what jobs of an array read, whose stores were merged into this one
            move_notes(root, folder)
        self.note_reads(standings, folder)
        outcomes: dict[str, Outcome] = {}
        with self.executor(run) as executor:
            bundles = self._known(standings, first=True)
            if announce(bundles, self.inputs.store, run, self.header()):
                self._check_prompts(bundles)
            lost = self.carried_out(executor, bundles)
            for name, claims in self.about.items():
                outcomes |= self._decided(name, claims, standings, executor, lost)
        return {claim.node_id: outcomes[claim.node_id] for claim in self.claims}

    def carried_out(self, executor: Executor, bundles: Sequence[Bundle]) -> dict[Bundle, str]:
        """Measure what the store lacks of some bundles; returns those that failed.

        Before and after, the store is taken as it was found: this run needs nothing that others add to it meanwhile.
        """
        self.inputs.store.settled = False
        lost = executor.carry_out(bundles)
        self.inputs.store.settled = True
        return lost

    def _decided(
        self,
        name: str,
        claims: Sequence[Claim],
        standings: Mapping[str, Standing],
        executor: Executor,
        lost: dict[Bundle, str],
    ) -> dict[str, Outcome]:
        """The outcomes of the claims about one prompt set; what else they need is measured, or added to `lost`."""
        judge = self.judges[name]
        outcomes = {c.node_id: judge.prepare(c, standings[c.node_id], lost) for c in claims}
        outcomes = judge.without_second_chances(outcomes)
        waiting = still_open({node_id: outcome for node_id, outcome in outcomes.items() if outcome.quantities})
        for look in self._looks(name):
            asked = [(o.standing.split, quantity) for o in waiting.values() for quantity in o.quantities]
            lost |= self.carried_out(executor, bundles_for(asked, self.inputs.materials[name], look.documents))
            found = judge.at_look(waiting, lost, look)
            outcomes |= found
            waiting = still_open(found)
        judge.remember_open(waiting.values())
        return judge.with_excesses(outcomes)

    def _looks(self, name: str) -> tuple[Look, ...]:
        documents = self.inputs.sets[name].splits[Split.CONFIRMATION].documents
        return looks(len(documents), sequential=self.inputs.settings.sequential)

    def measure(self, run: str, shard: Shard) -> dict[Bundle, str]:
        """Measure one part of the plan, all documents of it; returns the bundles that failed, with the reason.

        Every part's process plans the same: families that are chosen by what was measured are left to `decide`.

        Raises:
            StoreError: the store cannot be read or written.
        """
        standings = {claim.node_id: self.standing(claim) for claim in self.claims}
        # Other jobs of an array, on other machines, would write to the claims' folder at once.
        self.note_reads(standings, self.inputs.store.root if shard.count > 1 else self.inputs.registry.folder)
        bundles = shard.of(self._known(standings))
        with self.executor(run) as executor:
            if announce(bundles, self.inputs.store, run, self.header()):
                self._check_prompts(bundles)
            return self.carried_out(executor, bundles)

    def _check_prompts(self, bundles: Iterable[Bundle]) -> None:
        """Refuse prompts that a model cannot read, before anything is loaded."""
        roles = {bundle.role for bundle in bundles}
        for name, prompts in self.inputs.sets.items():
            if not prompts.unfit:
                prompts.check(map(self.inputs.materials[name].checkpoint, roles))

    def note_reads(self, standings: Mapping[str, Standing], folder: Path) -> None:
        """Write down which prompts this run reads outside of a registration, before it reads them.

        Exploration prompts; confirmation prompts of claims that are registered for others; and those of a lock that
        is not committed.

        Args:
            standings: what each verdict may rest on, by node id.
            folder: where the notes go.

        Raises:
            ValueError: two prompts are the same, or the note cannot be written.
        """
        if not self.claims:
            return
        inputs, registry = self.inputs, self.inputs.registry
        known = explored(registry.ledger)
        registered = {key: entry.prompts for key, entry in registry.entries.items()}
        for name, claims in self.about.items():
            prompts = inputs.sets[name]
            if not claims or prompts.unfit:
                continue
            digests = prompts.digests
            if not set(digests.exploration) <= known.keys():
                note_read(folder, Split.EXPLORATION, digests.exploration)
            applies = self.judges[name].applies
            confirmed = [c for c in claims if standings[c.node_id].split is Split.CONFIRMATION and applies(c)]
            own = prompts.whole.digest
            others = [c for c in confirmed if registered.get(claim_key(c.node_id), own) != own]
            if others:
                quantities = {str(quantity) for claim in others for quantity in claim.quantities}
                note_read(folder, Split.CONFIRMATION, digests.confirmation, quantities)
            if confirmed and registry.digest and not inputs.attestation.commit:
                note_read(folder, Split.CONFIRMATION, digests.confirmation, lock=registry.digest)

    def _known(self, standings: Mapping[str, Standing], *, first: bool = False) -> list[Bundle]:
        """What measures all whose families are known already, and what choosing the others takes.

        Model by model, so that each is loaded once for most; confirmation whole, or of the `first` look alone.
        """
        found = []
        for name, claims in self.about.items():
            judge = self.judges[name]
            asked = [(standings[c.node_id].split, quantity) for c in claims for quantity in judge.known(c)]
            asked += [(Split.EXPLORATION, quantity) for quantity in needed_for(claims)]
            documents = self._looks(name)[0].documents if first else None
            found += bundles_for(asked, self.inputs.materials[name], documents)
        return sorted(found, key=lambda bundle: bundle.loading)

    def choosing(self) -> list[Bundle]:
        """Return what must be measured before the families that claims leave to the data can be chosen."""
        return [
            bundle
            for name, claims in self.about.items()
            for asked in [[(Split.EXPLORATION, quantity) for quantity in needed_for(claims)]]
            for bundle in bundles_for(asked, self.inputs.materials[name])
        ]

    def adjusted(self, outcomes: Iterable[Outcome]) -> dict[str, Adjusted]:
        """p-values adjusted over the registered set, by node id; empty unless the whole set was decided together."""
        confirmed = [o for o in outcomes if o.standing.split is Split.CONFIRMATION and not o.error]
        whole = {claim_key(outcome.claim.node_id) for outcome in confirmed} == set(self.inputs.registry.entries)
        if not whole or self.inputs.settings.sequential:  # looks differ: there are no joint columns
            return {}
        decided = [outcome for outcome in confirmed if outcome.decisions]
        return adjusted(
            [
                judge.together([outcome for outcome in decided if outcome.claim.prompts == name])
                for name, judge in self.judges.items()
            ],
            self.inputs.store,
        )
