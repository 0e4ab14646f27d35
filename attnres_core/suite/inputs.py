"""The inputs of a run: read once from its settings and claims, and frozen from then on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attnres_core.claims.claim import Claim
from attnres_core.engine.executors import check_executor, choose
from attnres_core.engine.resources import Asked, Resources, memory_words
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.adapted import AdaptedCheckpoint
from attnres_core.models.checkpoints.checkpoint import (
    Checkpoint,
    RetrofittedCheckpoint,
    Weights,
    earlier_step,
    inspect_checkpoint,
    kept_steps,
)
from attnres_core.models.checkpoints.retrofit import OWN_FUNCTION
from attnres_core.planning.material import Material, fitting_of, reference_of
from attnres_core.prompts import PromptSet, Split
from attnres_core.quantities.vocabulary import AnyRole, Role, Step
from attnres_core.registration.attestation import Attestation, attested
from attnres_core.registration.ledger import LOCK, read_rows
from attnres_core.registration.registry import Registry
from attnres_core.statistics import intervals
from attnres_core.suite.run_prompts import OWN, RunPrompts, named_set, read_run_prompts
from attnres_core.suite.settings import Settings

QUICK_PROMPTS = 64
"""Prompts of a `--attnres-quick` run, which is never confirmatory."""


@dataclass(frozen=True)
class Inputs:
    """A run's checkpoints, prompts, registrations, store and resources."""

    settings: Settings
    store: Store
    sets: Mapping[str, RunPrompts]
    """The run's own prompts, under OWN, and those that claims name."""
    registry: Registry
    checkpoints: Mapping[AnyRole, Checkpoint]
    """The model in every role; of the trained one's earlier steps those that claims name."""
    kept: Mapping[Step, Path]
    """Every earlier step that the trained checkpoint's folder holds."""
    resources: Resources

    @property
    def trained(self) -> Checkpoint:
        """The checkpoint that the claims are about."""
        return self.checkpoints[Role.TRAINED]

    @property
    def prompt_set(self) -> PromptSet:
        """The run's own prompt file, whole."""
        return self.sets[OWN].whole

    @property
    def prompts(self) -> Mapping[Split, PromptSet]:
        """The prompts that are read of it."""
        return self.sets[OWN].splits

    @cached_property
    def attestation(self) -> Attestation:
        """Return what stands behind the date of the lock."""
        return attested(self.registry.folder, self.registry.digest, read_rows(self.registry.folder))

    @property
    def material(self) -> Material:
        """The facts that the keys of stored units depend on, over the run's own prompts."""
        return self.materials[OWN]

    @cached_property
    def materials(self) -> Mapping[str, Material]:
        """The same over each prompt set."""
        return {
            name: Material(
                self.checkpoints,
                tuple(map(str, self.kept)),
                prompts.splits,
                self.resources.device_class,
                self.settings.dtype,
                reference_of(prompts.whole),
                fitting_of(prompts.whole),
            )
            for name, prompts in self.sets.items()
        }

    def lines(self, statuses: Iterable[str]) -> list[str]:
        """Return what a reader must know of a run whose claims have these statuses, in a few lines."""
        lines = [
            f"attnres: {role}: {c.name} ({c.architecture}, {c.num_layers} layers, {c.num_blocks} blocks"
            f"{'' if c.wrap is None else f', recency bias {c.wrap:g}'}), digest {c.digest[:12]}"
            for role, c in self.checkpoints.items()
            if c.weights is Weights.STORED
        ]
        used, registry = self.resources, self.registry
        digest, folder = registry.digest[:12], registry.folder
        lock = f"lock {digest} in {folder}, {self.attestation}" if digest else f"no lock in {folder}"
        return [
            *lines,
            *(prompts.line(quick=self.settings.quick) for prompts in self.sets.values()),
            f"attnres: device: {used}; seed {intervals.SEED}; store {self.settings.store}",
            f"attnres: memory: a slot needs up to {used.need}"
            + ("" if used.memory is None else f" beside the libraries; {memory_words(used.memory)}"),
            f"attnres: claims: {_tally(statuses)}; {lock}",
        ]


def read_inputs(settings: Settings, claims: Sequence[Claim] = (), workers: int = 1) -> Inputs:
    """Read what a run of these claims was asked to work on.

    Raises:
        ValueError: a checkpoint, prompt file, device or store that cannot be used, with the remedy.
    """
    check_executor(settings.executor)
    store = Store(settings.store, shared=settings.shard is None or settings.shard.count == 1)
    limits = [settings.n_prompts, QUICK_PROMPTS if settings.quick else None]
    limit = min((limit for limit in limits if limit is not None), default=None)
    registry = Registry(settings.registrations, settings.roots)
    if settings.sequential and registry.entries and not registry.has_looks:
        raise ValueError(
            f"--attnres-sequential: {registry.folder / LOCK} does not say that SUPPORTED and REFUTED may fall at each "
            f"look; type `pytest {registry.folder} -n 0 --attnres-register` once, with the options of your runs. Every "
            "mark and every share of alpha stays"
        )
    trained = inspect_checkpoint(settings.trained, revision=settings.revision, adapter=settings.adapter)
    if trained.adapter and settings.device_map:
        told = f"and {trained.name} is read by the adapter {trained.adapter}"
        raise ValueError(f"--attnres-device-map is for models that the library computes, {told}; leave it out")
    own = read_run_prompts(settings.prompts, trained, limit)
    # The wrapped baseline follows the trained one, whose blocks may be single sublayers; its own are layers at least.
    blocks = settings.num_blocks or min(trained.num_blocks, trained.num_layers)
    wrapped = inspect_checkpoint(settings.vanilla, settings.recency_bias, blocks, revision=settings.vanilla_revision)
    checkpoints: dict[AnyRole, Checkpoint] = {
        Role.TRAINED: trained,
        Role.WRAPPED: wrapped,
        Role.STOCK: dataclasses.replace(wrapped, weights=Weights.STOCK),
    }
    if not isinstance(trained, AdaptedCheckpoint) or trained.makes_untrained:
        checkpoints[Role.UNTRAINED] = dataclasses.replace(trained, weights=Weights.UNTRAINED)
    if isinstance(trained, RetrofittedCheckpoint) and trained.wrap is None:  # (not a control)
        checkpoints[Role.BASE] = dataclasses.replace(trained.base, wrap=OWN_FUNCTION)
        if isinstance(wrapped, RetrofittedCheckpoint) and wrapped.base.weights_digest == trained.base.weights_digest:
            checkpoints[Role.GAINS] = wrapped
    models = tuple(checkpoints.values())
    asked = Asked(
        settings.device, settings.dtype, models, workers, settings.memory, settings.device_map, settings.ray_address
    )
    resources = choose(settings.executor, asked)
    if settings.device == "auto" and resources.device_class == "cpu" and _only_on_cuda(store, trained, settings.dtype):
        raise ValueError(
            f"{settings.store} was measured on GPUs, and none is here: give --attnres-device cuda to judge what it "
            "holds, or --attnres-device cpu to measure again on the CPU"
        )
    kept = {Step(number): folder for number, folder in kept_steps(trained).items()}
    named = {q.role for claim in claims for q in claim.quantities if isinstance(q.role, Step)} & kept.keys()
    for step in sorted(named, key=lambda step: step.number):
        checkpoints[step] = earlier_step(trained, kept[step])
    if settings.prompt_sets is not None and not settings.prompt_sets.is_dir():
        raise ValueError(f"--attnres-prompt-sets: {settings.prompt_sets} is no folder; give one that holds NAME.jsonl")
    sets = {OWN: own}
    for name in sorted({claim.prompts for claim in claims} - {OWN}):
        file, remedy = named_set(name, settings.prompt_sets, settings.root)
        sets[name] = read_run_prompts(file, trained, limit, remedy)
    return Inputs(settings, store, sets, registry, checkpoints, kept, resources)


def _only_on_cuda(store: Store, trained: Checkpoint, dtype: str) -> bool:
    """Whether a store holds units of a checkpoint that were measured on CUDA, and none that were on a CPU."""
    role = Role.TRAINED
    keys = {device: Material({role: trained}, (), {}, device, dtype).model_key(role) for device in ("cuda", "cpu")}
    return store.holds(keys["cuda"]) and not store.holds(keys["cpu"])


def _tally(words: Iterable[str]) -> str:
    """`51 registered, 2 exploratory`."""
    counts = Counter(words)
    return ", ".join(f"{count} {word}" for word, count in counts.items())
