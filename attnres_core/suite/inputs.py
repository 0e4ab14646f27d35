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
from attnres_core.models.checkpoints.checkpoint import Checkpoint, Weights, earlier_step, inspect_checkpoint, kept_steps
from attnres_core.planning.material import Material, reference_of
from attnres_core.prompts import SHORT, PromptSet, Split, check_tokens, load_prompts
from attnres_core.quantities.vocabulary import AnyRole, Role, Step
from attnres_core.registration.attestation import Attestation, attested
from attnres_core.registration.ledger import LOCK, PromptDigests, read_rows
from attnres_core.registration.prompt_digests import check_distinct, scored_digests
from attnres_core.registration.registry import Registry
from attnres_core.statistics import intervals
from attnres_core.suite.settings import Settings

QUICK_PROMPTS = 64
"""Prompts of a `--attnres-quick` run, which is never confirmatory."""


@dataclass(frozen=True)
class Inputs:
    """A run's checkpoints, prompts, registrations, store and resources."""

    settings: Settings
    store: Store
    prompt_set: PromptSet
    """The prompt file, whole."""
    prompts: Mapping[Split, PromptSet]
    """The prompts that are read of it."""
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
    def part(self) -> str:
        """Return how much of the registered prompts this run reads, where it is not all; empty where it is."""
        used, whole = len(self.prompts[Split.CONFIRMATION]), len(self.prompt_set.part(Split.CONFIRMATION))
        return f"{used} of {whole} confirmation prompts" if used < whole else ""

    @cached_property
    def prompt_digests(self) -> PromptDigests:
        """The prompts of the file, all of them, as the ledger names them.

        Raises:
            ValueError: two prompts are the same, or the trained checkpoint has no readable tokenizer.
        """
        tokenizer = self.trained.tokenizer_file
        check_distinct(self.prompt_set, tokenizer)
        named = list(zip(self.prompt_set.prompts, scored_digests(self.prompt_set, tokenizer), strict=True))
        confirmation, exploration = (
            tuple(digest for prompt, digest in named if prompt.split is split)
            for split in (Split.CONFIRMATION, Split.EXPLORATION)
        )
        formerly = tuple(p.digest[:12] for p in self.prompt_set.part(Split.CONFIRMATION).prompts)
        return PromptDigests(confirmation, exploration, formerly)

    @cached_property
    def attestation(self) -> Attestation:
        """What stands behind the date of the lock."""
        return attested(self.registry.folder, self.registry.digest, read_rows(self.registry.folder))

    @cached_property
    def material(self) -> Material:
        """The facts that the keys of stored units depend on."""
        return Material(
            self.checkpoints,
            tuple(map(str, self.kept)),
            self.prompts,
            self.resources.device_class,
            self.settings.dtype,
            reference_of(self.prompt_set),
        )

    def check_prompts(self, roles: Iterable[AnyRole]) -> None:
        """Refuse prompts that a model cannot read, before anything is loaded.

        Raises:
            ValueError: which prompt, and what is wrong with it.
        """
        for tokenizer, context, vocabulary in {
            (c.tokenizer_file, c.context, c.vocabulary) for c in map(self.material.checkpoint, roles)
        }:
            for part in self.prompts.values():
                check_tokens(part.token_ids(tokenizer), [repr(p.id) for p in part.prompts], vocabulary, context)

    def lines(self, statuses: Iterable[str]) -> list[str]:
        """Return what a reader must know of a run whose claims have these statuses, in a few lines."""
        lines = [
            f"attnres: {role}: {c.name} ({c.architecture}, {c.num_layers} layers, {c.num_blocks} blocks"
            f"{'' if c.wrap is None else f', recency bias {c.wrap:g}'}), digest {c.digest[:12]}"
            for role, c in self.checkpoints.items()
            if c.weights is Weights.STORED
        ]
        counts = ", ".join(f"{len(part)} {split}" for split, part in self.prompts.items())
        quick = "; quick, never confirmatory" if self.settings.quick else ""
        used, registry = self.resources, self.registry
        return [
            *lines,
            f"attnres: prompts: {self.prompt_set.name} ({counts}{quick}), digest {self.prompt_set.digest[:12]}"
            + self._short(),
            f"attnres: device: {used}; seed {intervals.SEED}; store {self.settings.store}",
            f"attnres: memory: a slot needs up to {used.need}"
            + ("" if used.memory is None else f" beside the libraries; {memory_words(used.memory)}"),
            f"attnres: claims: {_tally(statuses)}; lock {registry.digest[:12] or 'none'} in {registry.folder}"
            + (f", {self.attestation}" if registry.digest else ""),
        ]

    def _short(self) -> str:
        """Return how many prompts have few tokens; empty: none has."""
        rows = [row for part in self.prompts.values() for row in part.token_ids(self.trained.tokenizer_file)]
        short = sum(len(row) < SHORT for row in rows)
        return f"; {short} have fewer than {SHORT} tokens and count as much as longer ones" if short else ""


def read_inputs(settings: Settings, claims: Sequence[Claim] = (), workers: int = 1) -> Inputs:
    """Read what a run of these claims was asked to work on.

    Raises:
        ValueError: a checkpoint, prompt file, device or store that cannot be used, with the remedy.
    """
    check_executor(settings.executor)
    store = Store(settings.store, shared=settings.shard is None or settings.shard.count == 1)
    whole = load_prompts(settings.prompts)
    limits = [settings.n_prompts, QUICK_PROMPTS if settings.quick else None]
    limit = min((limit for limit in limits if limit is not None), default=None)
    prompts = {split: whole.part(split, limit) for split in Split}
    registry = Registry(settings.registrations, settings.roots)
    if settings.sequential and registry.entries and not registry.has_looks:
        raise ValueError(
            f"--attnres-sequential: {registry.folder / LOCK} does not say that SUPPORTED and REFUTED may fall at each "
            f"look; type `pytest {registry.folder} -n 0 --attnres-register` once, with the options of your runs. Every "
            "mark and every share of alpha stays"
        )
    for split, part in prompts.items():
        if not len(part):
            raise ValueError(f"{settings.prompts}: no prompt belongs to the {split} split; add some or name the split")
    trained = inspect_checkpoint(settings.trained, revision=settings.revision, adapter=settings.adapter)
    if trained.adapter and settings.device_map:
        told = f"and {trained.name} is read by the adapter {trained.adapter}"
        raise ValueError(f"--attnres-device-map is for models that the library computes, {told}; leave it out")
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
    models = tuple(checkpoints.values())
    asked = Asked(
        settings.device, settings.dtype, models, workers, settings.memory, settings.device_map, settings.ray_address
    )
    resources = choose(settings.executor, asked)
    kept = {Step(number): folder for number, folder in kept_steps(trained).items()}
    named = {q.role for claim in claims for q in claim.quantities if isinstance(q.role, Step)} & kept.keys()
    for step in sorted(named, key=lambda step: step.number):
        checkpoints[step] = earlier_step(trained, kept[step])
    return Inputs(settings, store, whole, prompts, registry, checkpoints, kept, resources)


def _tally(words: Iterable[str]) -> str:
    """`51 registered, 2 exploratory`."""
    counts = Counter(words)
    return ", ".join(f"{count} {word}" for word, count in counts.items())
