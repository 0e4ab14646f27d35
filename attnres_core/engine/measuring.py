"""`measure`: columns of one model over prompts, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attnres_core.engine.columns import Columns, record_of, values
from attnres_core.engine.sweep import sweep_chunk, validated
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.reference_states import Reference
from attnres_core.planning.material import CHUNK, REFERENCE_PROMPTS
from attnres_core.planning.requests import as_parts, interventions_for
from attnres_core.prompts import PromptSet
from attnres_core.quantities.quantity import Quantity, Request


def measure(
    model: AttnResModel,
    prompts: PromptSet | Sequence[Sequence[int]],
    wanted: Iterable[Any],
    *,
    reference: PromptSet | Sequence[Sequence[int]] | None = None,
    chunk: int = CHUNK,
) -> Columns:
    """Measure quantities, ablations (as delta_nll) and routing summaries over prompts, in memory.

    Args:
        model: from `load_model`; roles of quantities are not looked at.
        prompts: a `PromptSet`, tokenised with the checkpoint's own tokenizer, or lists of token ids.
        wanted: what to measure.
        reference: what `mean`, `resample`, `average` and `shuffle` take from, the first 64 of it; default: `prompts`.
        chunk: prompts swept together.

    Returns:
        A mapping from each thing asked for to its float64 column `[prompt]`, with `.record(thing)`.

    Raises:
        NotApplicable: the model has no site that a request speaks of.
        ValueError: malformed prompts, or a request that makes no sense on this model.
    """
    if isinstance(wanted, Quantity | Request):
        raise ValueError(f"`wanted` is {wanted}; give a list of what to measure")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"`chunk` is {chunk!r}; give a whole number of prompts, at least 1")
    asked = list(dict.fromkeys(wanted))
    interventions = [i for what in asked for i in interventions_for(as_parts(what)[0], model.checkpoint)]
    ids = validated(model, prompts)
    answers = prompts.answer_ids(model.checkpoint.tokenizer_file) if isinstance(prompts, PromptSet) else None
    given = None
    if any(intervention.needs_reference for intervention in interventions):
        given = Reference(
            model.network, (ids if reference is None else validated(model, reference))[:REFERENCE_PROMPTS]
        )
    chunks = []
    for start in range(0, len(ids), chunk):
        part = slice(start, start + chunk)
        answered = None if answers is None else answers[part]
        chunks.append(sweep_chunk(model, ids[part], interventions, reference=given, answers=answered))
    columns = {what: values(*as_parts(what), chunks, model.checkpoint) for what in asked}
    records = {what: record_of(as_parts(what)[0], chunks, model.checkpoint) for what in asked}
    return Columns(columns, records)
