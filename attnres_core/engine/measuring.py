"""`measure`: columns of one model over prompts, in memory or through a store."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from attnres_core.engine.columns import Columns, record_of, values
from attnres_core.engine.executors.in_memory import InMemory
from attnres_core.engine.executors.local import LocalExecutor
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.metrics import Answers
from attnres_core.engine.resources import choose_resources, threads_for
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.engine.sweep import validated
from attnres_core.engine.worker import Worker
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.model import AttnResModel
from attnres_core.planning.bundles import make_bundles
from attnres_core.planning.material import (
    CHUNK,
    FITTING_PROMPTS,
    NOISE_CHUNKS,
    REFERENCE_PROMPTS,
    Material,
    fitting_of,
    reference_of,
)
from attnres_core.planning.requests import resolved
from attnres_core.prompts import Pairs, PromptSet, Split, check_pairs, token_rows
from attnres_core.quantities.quantity import Quantity, Request
from attnres_core.quantities.vocabulary import Role
from attnres_core.registration.ledger import note_read, notes_folder
from attnres_core.registration.prompt_digests import scored_digests


def measure(
    model: AttnResModel,
    prompts: PromptSet | Sequence[Sequence[int]],
    wanted: Iterable[Any],
    *,
    reference: PromptSet | Sequence[Sequence[int]] | None = None,
    donors: Sequence[Sequence[int]] | None = None,
    chunk: int = CHUNK,
    confirmation: bool = False,
    store: str | Path | None = None,
    progress: bool = True,
) -> Columns:
    """Measure quantities, ablations (as delta_nll) and routing summaries over prompts.

    Args:
        model: from `load_model`; roles of quantities are not looked at.
        prompts: a `PromptSet`, tokenised with the checkpoint's own tokenizer, or lists of token ids.
        wanted: what to measure.
        reference: what `mean`, `resample`, `average` and `shuffle` take from, the first 64 of it, and what constants
            are fitted to for `optimal`, the first 256; default: `prompts`.
        donors: token ids that `interchange` takes from, one for each of `prompts`; a prompt set names its own.
        chunk: prompts swept together.
        confirmation: whether confirmation prompts may be read: claims on them can then be registered post hoc only.
            Which prompts of a set are read is noted in `claims.reads`, beside the nearest lock upward or in the
            working directory.
        store: a folder of measured columns, such as pytest's ".attnres": what is there is not measured again, and what
            is measured stays. It takes a checkpoint and one split of a prompt set; default: nothing is kept.
        progress: whether a bar is shown once measuring takes more than a second.

    Returns:
        A mapping from each thing asked for to its float64 column `[prompt]`, with `.record(thing)`.

    Raises:
        NotApplicable: the model has no site that a request speaks of.
        ValueError: malformed prompts, a request that makes no sense on this model, confirmation prompts that were not
            asked for, or something that a store cannot keep.
    """
    if isinstance(wanted, Quantity | Request):
        raise ValueError(f"`wanted` is {wanted}; give a list of what to measure")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"`chunk` is {chunk!r}; give a whole number of prompts, at least 1")
    asked = {what: resolved(what, model.checkpoint).check() for what in dict.fromkeys(wanted)}
    ids = validated(model, prompts)
    if isinstance(prompts, PromptSet):
        _note_prompts(prompts, model, asked, confirmation=confirmation)
    if store is not None:
        return _through_store(model, prompts, list(asked), reference, Store(Path(store)), progress=progress)
    answers, pairs = _asked_of(prompts, model, ids, donors)
    chunks = []
    with _own_threads(model):
        measured_by = InMemory(model, asked.values(), prompts if reference is None else reference, progress=progress)
    with _own_threads(model), _bar(len(ids), "prompt", shown=progress) as bar:
        for start in range(0, len(ids), chunk):
            part = slice(start, start + chunk)
            own = None if answers is None else answers[part]
            donated, first = pairs and pairs.part(part), start < NOISE_CHUNKS * chunk
            chunks.append(measured_by.units(ids[part], own, donated, distances=first))
            bar.update(len(ids[part]))
    pairs_of = prompts.sentences(model.checkpoint.tokenizer_file) if isinstance(prompts, PromptSet) else None
    columns = {what: values(request, chunks, sentences=pairs_of) for what, request in asked.items()}
    return Columns(columns, {what: record_of(request, chunks) for what, request in asked.items()})


def _asked_of(
    prompts: PromptSet | Sequence[Sequence[int]],
    model: AttnResModel,
    ids: list[list[int]],
    donors: Sequence[Sequence[int]] | None,
) -> tuple[Answers | None, Pairs | None]:
    """Return what prompts ask for, and what interchanges take from.

    Raises:
        ValueError: donors that cannot stand in for their prompts.
    """
    if isinstance(prompts, PromptSet):
        if donors is not None:
            raise ValueError("`donors` go with token ids; prompts of a set name theirs in the field `donor`")
        file = model.checkpoint.tokenizer_file
        return prompts.answer_ids(file), prompts.pair_ids(file)
    if donors is None:
        return None, None
    rows = token_rows(donors, "donors", range(len(donors)), (model.network.vocabulary, model.checkpoint.context))
    check_pairs(ids, rows, range(len(ids)))
    return None, Pairs(rows)


def _bar(total: int, unit: str, *, shown: bool) -> Any:
    """A progress bar that quick work never shows."""
    return tqdm(total=total, desc="measuring", unit=unit, delay=1, leave=False, disable=not shown)


@contextlib.contextmanager
def _own_threads(model: AttnResModel) -> Iterator[None]:
    """As many threads as a run of pytest gives this model; afterwards the caller's."""
    before = torch.get_num_threads()
    if isinstance(model.checkpoint, Checkpoint):
        torch.set_num_threads(threads_for(model.checkpoint.size("hidden_size")))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _through_store(
    model: AttnResModel,
    prompts: PromptSet | Sequence[Sequence[int]],
    wanted: Sequence[Any],
    reference: PromptSet | Sequence[Sequence[int]] | None,
    store: Store,
    *,
    progress: bool,
) -> Columns:
    """Columns as a run of pytest measures and keeps them.

    Raises:
        ValueError: the model is no checkpoint, the prompts or the reference prompts are no prompt set or hold both
            splits, or measuring failed.
    """
    checkpoint, given = model.checkpoint, prompts if reference is None else reference
    if not isinstance(checkpoint, Checkpoint):
        raise ValueError("`store` keeps what is known of a checkpoint, and this model is none; leave `store` out")
    if not model.is_as_loaded:
        raise ValueError(
            f"`store` keeps what is known of {checkpoint.folder}, whose files or weights changed since the model was "
            "loaded; load it again, or leave `store` out"
        )
    if not isinstance(prompts, PromptSet) or not isinstance(given, PromptSet):
        raise ValueError("`store` keeps columns over prompt sets; give `load_prompts(...)`, or leave `store` out")
    splits = {prompt.split for prompt in prompts.prompts}
    if len(splits) > 1:
        raise ValueError('`store` keeps splits apart; give `prompts.part("exploration")` or the other part')
    (split,), role = splits, Role.TRAINED
    dtype = str(next(model.network.parameters()).dtype).removeprefix("torch.")
    device = model.device.type
    from_these = reference_of(given) or given.prompts[:REFERENCE_PROMPTS]
    fitting = fitting_of(given) or given.prompts[:FITTING_PROMPTS]
    material = Material({role: checkpoint}, (), {split: prompts}, device, dtype, from_these, fitting)
    quantities = {what: _in_role(what, role) for what in wanted}
    bundles = make_bundles(quantities.values(), split, material)
    resources = choose_resources(device, dtype, 1, [checkpoint])
    folder = RunFolder(store.root, uuid.uuid4().hex, store.writing).open()
    worker = Worker({role: checkpoint}, resources, str(model.device), ((role, dtype), model))
    try:
        with (
            _own_threads(model),
            _bar(len(bundles), "bundle", shown=progress) as bar,
            LocalExecutor({role: checkpoint}, store, folder, resources, worker) as executor,
        ):
            lost = executor.carry_out(bundles, lambda settled: bar.update(settled - bar.n))
    finally:
        folder.remove()
    if lost:
        raise ValueError(next(iter(lost.values())))
    found = Measurements(store, material)
    for quantity in quantities.values():
        found.check_answers(quantity, split)
    columns = {what: found.by_prompt(quantity, split) for what, quantity in quantities.items()}
    return Columns(columns, {what: found.record(quantity, split) for what, quantity in quantities.items()})


def _in_role(what: Any, role: Role) -> Quantity:
    """A request as a quantity of the one model that there is."""
    return dataclasses.replace(what, role=role) if isinstance(what, Quantity) else what.on(role)


def _note_prompts(prompts: PromptSet, model: AttnResModel, asked: Iterable[Any], *, confirmation: bool) -> None:
    """Refuse confirmation prompts that were not asked for; write down which prompts are read.

    Raises:
        ValueError: they were not asked for, or the note cannot be written.
    """
    parts = {split: prompts.part(split) for split in Split}
    if (count := len(parts[Split.CONFIRMATION])) and not confirmation:
        raise ValueError(
            f"{count} of {len(prompts)} prompts are confirmation prompts, which are for registered claims; give "
            '`prompts.part("exploration")`, or `confirmation=True`: it is written to claims.reads, and claims on these '
            "prompts can then be registered post hoc only"
        )
    folder, told = notes_folder(Path.cwd()), list(map(str, asked))
    for split, read in parts.items():
        if len(read):
            note_read(folder, split, scored_digests(read, model.checkpoint.tokenizer_file), told)
