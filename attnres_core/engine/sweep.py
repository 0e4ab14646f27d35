"""A bundle of ablations -> batched forward passes -> units: the fast path (`plain` is the slow one).

Ablating at layer l changes nothing before l: the clean run leaves a snapshot of its depth stream at each layer where
some intervention starts, and ablated rows resume there. Interventions that start at the same layer are rows of one
batch. A sham (an intervention that takes nothing away) travels among those of one layer, another layer for every chunk
of prompts, and measures the engine's own noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnres_core.engine.columns import (
    NLL,
    ROUTING,
    TRACE,
    Columns,
    as_parts,
    field_of,
    interventions_for,
    record_of,
    values,
)
from attnres_core.models.dialects.schedule import DepthStream
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Reference
from attnres_core.models.networks.routing import Read, Source, mix
from attnres_core.planning.bundles import BATCH_TOKENS, CHUNK, LOGIT_BYTES, REFERENCE_PROMPTS, SCORE_ROWS
from attnres_core.prompts import PromptSet, token_rows
from attnres_core.quantities.intervention import SHAM, Intervention
from attnres_core.quantities.quantity import Quantity, Request
from attnres_core.quantities.vocabulary import Metric, Positions, SiteKey
from attnres_core.shapes import Float, Unit

Answers = Sequence[tuple[int, int | None]]
"""Token ids of each prompt's answer and, where it has one, its foil."""


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


def validated(model: AttnResModel, prompts: PromptSet | Sequence[Sequence[int]]) -> list[list[int]]:
    """Token ids that the model can read.

    Raises:
        ValueError: no prompts, a prompt of fewer than two tokens, beyond the context or outside the vocabulary.
    """
    names: Sequence[object] = range(len(prompts))
    if isinstance(prompts, PromptSet):
        names = [repr(prompt.id) for prompt in prompts.prompts]
        prompts = prompts.token_ids(model.checkpoint.tokenizer_file)
    limits = (model.network.vocabulary, model.checkpoint.context)
    return token_rows(prompts, "prompts", names, limits, "those, or load_prompts(...)")


@dataclass(slots=True)
class Batch:
    """A chunk of prompts, right-padded: padding comes after every scored position and changes none."""

    ids: Tensor  # (prompt, pos)
    scored: Tensor  # (prompt, pos) bool: positions whose next token is scored

    @property
    def last(self) -> Tensor:
        """The place of each prompt's last token, `[prompt]`: where an answer would follow."""
        return self.scored.sum(1)

    def where(self, at: Positions) -> Tensor:
        """The scored positions that an effect is averaged over, `[prompt, pos]` bool."""
        place, count = torch.arange(self.ids.shape[1], device=self.ids.device), self.scored.sum(1, keepdim=True)
        if at is Positions.FIRST_THIRD:
            return place < (count + 2) // 3
        return place == count - 1 if at is Positions.LAST else self.scored

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]], device: torch.device) -> Batch:
        """Token ids of each prompt as one padded batch."""
        width = max(map(len, token_ids))
        ids = torch.zeros(len(token_ids), width, dtype=torch.long)
        scored = torch.zeros(len(token_ids), width, dtype=torch.bool)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            scored[row, : len(tokens) - 1] = True
        return cls(ids, scored).to(device)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(self.ids.to(device), self.scored.to(device))

    def per_prompt(self, values: Tensor, at: Positions = Positions.ALL) -> np.ndarray:
        """Means over each prompt's scored positions of values `[..., prompt, pos]`."""
        chosen = self.where(at)
        weights = chosen / chosen.sum(1, keepdim=True)
        return (values.double() * weights).sum(-1).cpu().numpy()


@torch.inference_mode()
@exact_arithmetic()
def sweep_chunk(
    model: AttnResModel,
    token_ids: Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    batch_tokens: int = BATCH_TOKENS,
    reference: Reference | None = None,
    answers: Answers | None = None,
) -> dict[str, Unit]:
    """Units of one chunk of prompts: the clean run's and every intervention's (`SHAM` may be among them), by key.

    At most `batch_tokens` rows x positions of ablated runs are under way at once, or those of one intervention.

    Each effect unit holds, per prompt: every metric (`field_of`), `kept_mass`, `kept_mass_min`, `input_change`, and
    `TRACE`, each token's rise in loss. The clean unit (`ROUTING`): `nll`, and per site `entropy`, `peak` and per source
    `mean`, `low`, `high` depth weight.
    """
    network, batch = model.network, Batch.of(token_ids, model.device)
    inputs = network.prepare(batch.ids)
    wanted = list(dict.fromkeys(interventions))
    first = {i: i.first_layer if network.resumes else 0 for i in wanted if i != SHAM}
    starts = set(first.values()) or {0}
    first |= {SHAM: sorted(starts)[sum(map(sum, token_ids)) % len(starts)]}
    snapshots: dict[int, DepthStream[Source]] = {}

    def keep(layer: int, stream: DepthStream[Source]) -> None:
        if layer in starts:
            snapshots[layer] = stream.copy()

    routing = RoutingObserver(model, batch)
    clean = network.run(network.begin(batch.ids), inputs, observe=routing, before_layer=keep)
    hidden: dict[Intervention, Tensor] = {}
    effects: dict[Intervention, _EffectObserver] = {}
    rows_each = len(token_ids)
    places = torch.arange(batch.ids.shape[1], device=model.device).expand_as(batch.ids)
    together = max(1, batch_tokens // batch.ids.numel())
    for layer, stream in sorted(snapshots.items()):
        starting = [intervention for intervention in wanted if first[intervention] == layer]
        for start in range(0, len(starting), together):
            group = starting[start : start + together]
            observer = _EffectObserver(model, batch, group)
            index = torch.arange(rows_each, device=model.device).repeat(len(group))
            states = network.run(
                picked_rows(stream, index.to(network.device_of(layer))),
                inputs.rows(index),
                start=layer,
                overrides=Overrides(group, token_ids, places, reference),
                observe=observer,
            )
            for intervention, state in zip(group, states.split(rows_each), strict=True):
                hidden[intervention] = state
                effects[intervention] = observer
    scored = batch.to(clean.device)  # (where the head is)
    scores = _score(model, scored, clean, hidden)
    if answers is not None:
        for key, found in _answered(model, scored, clean, hidden, answers).items():
            scores[key] |= found
    units = {ROUTING: {**routing.unit(), NLL: scores[None]["nll"]}}
    for intervention in wanted:
        units[intervention.key] = {**scores[intervention], **effects[intervention].unit(intervention)}
    return units


def picked_rows(stream: DepthStream[Source], index: Tensor) -> DepthStream[Source]:
    """A snapshot for a batch of the given rows; a state that serves as two sources stays one tensor."""
    return stream.mapped(lambda source: source.rows(index))


@dataclass(slots=True)
class RoutingObserver:
    """Collects what routing summaries need from a clean run."""

    model: AttnResModel
    batch: Batch
    found: dict[SiteKey, Tensor] = field(default_factory=dict)

    def __call__(self, key: SiteKey, sources: list[Source], read: Read) -> None:
        """Keep the site's weights (they are small)."""
        self.found[key] = read.weights.to(self.batch.ids.device)

    def unit(self) -> Unit:
        """What the clean run's unit holds of the weights, per prompt, site and source."""
        sites = self.model.sites
        widest = max(len(site.sources) for site in sites)
        shape = (len(self.batch.ids), len(sites), widest)
        unit = {name: np.zeros(shape) for name in ("mean", "low", "high")}
        unit |= {name: np.zeros(shape[:2]) for name in ("entropy", "peak")}
        for row, site in enumerate(sites):
            weights = self.found[site.key]  # (source, prompt, pos)
            n = len(site.sources)
            hidden = ~self.batch.scored
            unit["mean"][:, row, :n] = self.batch.per_prompt(weights).T
            unit["low"][:, row, :n] = weights.masked_fill(hidden, torch.inf).amin(-1).double().cpu().numpy().T
            unit["high"][:, row, :n] = weights.masked_fill(hidden, -torch.inf).amax(-1).double().cpu().numpy().T
            unit["entropy"][:, row] = self.batch.per_prompt(torch.special.entr(weights).sum(0))
            unit["peak"][:, row] = self.batch.per_prompt(weights.amax(0))
        return unit


@dataclass(slots=True)
class _EffectObserver:
    """Watches what each intervention of a batch does at the sites it touches."""

    model: AttnResModel
    batch: Batch
    group: Sequence[Intervention]
    kept: dict[Intervention, list[Tensor]] = field(default_factory=dict)
    change: dict[Intervention, list[Tensor]] = field(default_factory=dict)

    def __call__(self, key: SiteKey, sources: list[Source], read: Read) -> None:
        """Kept mass and input change, for the rows whose intervention touches this site."""
        site, rows_each = self.model.site_at(key), len(self.batch.ids)
        for position, intervention in enumerate(self.group):
            if site not in dict(intervention.touched):
                continue
            rows = slice(position * rows_each, (position + 1) * rows_each)
            assert read.kept is not None, "a touched site has an override"
            natural, kept = read.natural[:, rows], read.kept[rows]
            own = [Source(source.state[rows], source.eps) for source in sources]
            moved = (read.mixture[rows] - mix(own, natural)).abs().amax(-1)  # (prompt, pos)
            for watched, found in ((self.kept, kept), (self.change, moved)):
                watched.setdefault(intervention, []).append(found.to(self.batch.ids.device))

    def unit(self, intervention: Intervention) -> Unit:
        if intervention not in self.kept:
            nothing = np.zeros(len(self.batch.ids))
            return {"kept_mass": nothing + 1, "kept_mass_min": nothing + 1, "input_change": nothing}
        kept, change = torch.stack(self.kept[intervention]), torch.stack(self.change[intervention])
        hidden = ~self.batch.scored
        return {
            "kept_mass": self.batch.per_prompt(kept).mean(0),
            "kept_mass_min": kept.masked_fill(hidden, torch.inf).amin((0, 2)).double().cpu().numpy(),
            "input_change": change.masked_fill(hidden, 0).amax((0, 2)).double().cpu().numpy(),
        }


def logsumexp(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
    """`torch.logsumexp` over the vocabulary in half its passes: the maximum is taken out only where it must be."""
    total = logits.exp().sum(-1)
    if bool(((total > 1e-30) & total.isfinite()).all()):  # no sum overflowed, none lost its terms to underflow
        return total.log()
    return logits.logsumexp(-1)


def _score(model: AttnResModel, batch: Batch, clean: Tensor, hidden: Mapping[Any, Tensor]) -> dict[Any, Unit]:
    """NLL rise and KL per prompt, unembedding scored positions only, in blocks of bounded size.

    Beside them each token's NLL rise, `[prompt, pos]`, of the prediction made at that position.

    KL(clean || ablated) = sum_v p_v log p_v - sum_v p_v l_v + logsumexp(l), with l the ablated logits. Where l = W h,
    the second sum is (sum_v p_v W_v) . h: as wide as a state, not as the vocabulary.
    """
    at = torch.nonzero(batch.scored, as_tuple=True)
    target = batch.ids[at[0], at[1] + 1][:, None]
    head, matrix = model.network.unembed, model.network.unembedding
    block = max(SCORE_ROWS, LOGIT_BYTES // (4 * model.network.vocabulary))
    states = {key: state[at] for key, state in hidden.items()}  # (scored, d)
    clean_states = clean[at]
    nll = torch.empty(len(target), device=clean.device)
    metrics = (Metric.DELTA_NLL, Metric.KL)
    found = {key: {metric: torch.empty_like(nll) for metric in metrics} for key in hidden}
    for start in range(0, len(target), block):
        rows = slice(start, start + block)
        logits = head(clean_states[rows])  # (block, vocab)
        norm = logsumexp(logits)
        nll[rows] = norm - logits.gather(1, target[rows])[:, 0]  # as below: the same state gives the same loss exactly
        log_p = logits - norm[:, None]
        p = log_p.exp()
        negentropy = torch.linalg.vecdot(p, log_p)
        expected = None if matrix is None else p @ matrix  # (block, d)
        for key, state in states.items():
            logits = head(state[rows])
            norm = logsumexp(logits)
            found[key][Metric.DELTA_NLL][rows] = norm - logits.gather(1, target[rows])[:, 0] - nll[rows]
            mean = torch.linalg.vecdot(p, logits) if expected is None else torch.linalg.vecdot(expected, state[rows])
            found[key][Metric.KL][rows] = negentropy - mean + norm

    def spread(values: Tensor) -> Tensor:
        placed = torch.zeros(batch.scored.shape, device=clean.device)
        placed[at] = values
        return placed

    def per_prompt(values: Tensor, where: Positions = Positions.ALL) -> np.ndarray:
        return batch.per_prompt(spread(values), where)

    scores = {
        key: {field_of(metric, where): per_prompt(each[metric], where) for metric in metrics for where in Positions}
        | {TRACE: spread(each[Metric.DELTA_NLL]).cpu().numpy()}
        for key, each in found.items()
    }
    return {**scores, None: {"nll": per_prompt(nll)}}


def _answered(
    model: AttnResModel, batch: Batch, clean: Tensor, hidden: Mapping[Any, Tensor], answers: Answers
) -> dict[Any, Unit]:
    """What is lost of the answer's lead over its foil, and of its probability, where it would follow the prompt."""
    at = (torch.arange(len(batch.ids), device=clean.device), batch.last)

    def read(state: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return answer_scores(model.network.unembed(state[at]), answers)

    lead, probability = read(clean)
    found: dict[Any, Unit] = {}
    for key, state in hidden.items():
        own_lead, own_probability = read(state)
        found[key] = {Metric.LOGIT_DIFFERENCE.value: lead - own_lead}
        found[key] |= {Metric.ANSWER_PROBABILITY.value: probability - own_probability}
    return found


def answer_scores(logits: Float[Tensor, "prompt vocab"], answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """The answer's logit minus the foil's (NaN where there is none), and the answer's probability, `[prompt]`."""
    rows = torch.arange(len(answers), device=logits.device)
    answer = torch.tensor([token for token, _ in answers], device=logits.device)
    foil = torch.tensor([token if foil is None else foil for token, foil in answers], device=logits.device)
    without = torch.tensor([foil is None for _, foil in answers], device=logits.device)
    lead = (logits[rows, answer] - logits[rows, foil]).masked_fill(without, torch.nan)
    return lead.double().cpu().numpy(), logits.softmax(-1)[rows, answer].double().cpu().numpy()
