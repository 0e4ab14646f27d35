"""`measure`: columns of one model over prompts, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attnres_core.engine.columns import Columns, record_of, values
from attnres_core.engine.executors.in_memory import InMemory
from attnres_core.engine.sweep import validated
from attnres_core.models.model import AttnResModel
from attnres_core.planning.material import CHUNK
from attnres_core.planning.requests import resolved
from attnres_core.prompts import PromptSet, Split
from attnres_core.quantities.quantity import Quantity, Request
from attnres_core.registration.ledger import note_read, notes_folder
from attnres_core.registration.prompt_digests import scored_digests


def measure(
    model: AttnResModel,
    prompts: PromptSet | Sequence[Sequence[int]],
    wanted: Iterable[Any],
    *,
    reference: PromptSet | Sequence[Sequence[int]] | None = None,
    chunk: int = CHUNK,
    confirmation: bool = False,
) -> Columns:
    """Measure quantities, ablations (as delta_nll) and routing summaries over prompts, in memory.

    Args:
        model: from `load_model`; roles of quantities are not looked at.
        prompts: a `PromptSet`, tokenised with the checkpoint's own tokenizer, or lists of token ids.
        wanted: what to measure.
        reference: what `mean`, `resample`, `average` and `shuffle` take from, the first 64 of it; default: `prompts`.
        chunk: prompts swept together.
        confirmation: whether confirmation prompts may be read. It is noted in `claims.reads`, beside the nearest lock
            upward or in the working directory: claims about these quantities can then be registered post hoc only.

    Returns:
        A mapping from each thing asked for to its float64 column `[prompt]`, with `.record(thing)`.

    Raises:
        NotApplicable: the model has no site that a request speaks of.
        ValueError: malformed prompts, a request that makes no sense on this model, or confirmation prompts that were
            not asked for.
    """
    if isinstance(wanted, Quantity | Request):
        raise ValueError(f"`wanted` is {wanted}; give a list of what to measure")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"`chunk` is {chunk!r}; give a whole number of prompts, at least 1")
    asked = {what: resolved(what, model.checkpoint).check() for what in dict.fromkeys(wanted)}
    ids = validated(model, prompts)
    if isinstance(prompts, PromptSet):
        _note_confirmation(prompts, model, asked, confirmation=confirmation)
    answers = prompts.answer_ids(model.checkpoint.tokenizer_file) if isinstance(prompts, PromptSet) else None
    measured_by = InMemory(model, asked.values(), ids if reference is None else reference)
    chunks = []
    for start in range(0, len(ids), chunk):
        part = slice(start, start + chunk)
        chunks.append(measured_by.units(ids[part], None if answers is None else answers[part]))
    columns = {what: values(request, chunks) for what, request in asked.items()}
    return Columns(columns, {what: record_of(request, chunks) for what, request in asked.items()})


def _note_confirmation(prompts: PromptSet, model: AttnResModel, asked: Iterable[Any], *, confirmation: bool) -> None:
    """Refuse confirmation prompts that were not asked for; write down those that were.

    Raises:
        ValueError: they were not asked for, or the note cannot be written.
    """
    read = prompts.part(Split.CONFIRMATION)
    if not len(read):
        return
    if not confirmation:
        raise ValueError(
            f"{len(read)} of {len(prompts)} prompts are confirmation prompts, which are for registered claims; give "
            '`prompts.part("exploration")`, or `confirmation=True`: it is written to claims.reads, and claims about '
            "what you measure can then be registered post hoc only"
        )
    digests = scored_digests(read, model.checkpoint.tokenizer_file)
    note_read(notes_folder(Path.cwd()), Split.CONFIRMATION, digests, map(str, asked))
