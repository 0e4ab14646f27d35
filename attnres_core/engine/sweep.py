"""A bundle of ablations -> batched forward passes -> units: the fast path (`plain_path` is the slow one).

Ablating at layer l changes nothing before l: the clean run leaves a snapshot of its depth stream at each layer where
some intervention starts, and ablated rows resume there. Interventions that start at the same layer are rows of one
batch. A sham (an intervention that takes nothing away) travels among those of one layer, another layer for every chunk
of prompts, and measures the engine's own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from attnres_core.engine.distances import CleanReads
from attnres_core.engine.metrics import Answers
from attnres_core.engine.resources import BATCH_TOKENS
from attnres_core.engine.scoring import Batch, answered, score
from attnres_core.models.dialects.schedule import DepthStream
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Donors, Reference
from attnres_core.models.networks.routing import Read, Source
from attnres_core.planning.requests import BEYOND, ROUTING, STREAMS, TURN
from attnres_core.prompts import Pairs, PromptSet, token_rows
from attnres_core.quantities.intervention import SHAM, Intervention
from attnres_core.quantities.metrics import TOGETHER, Metric
from attnres_core.quantities.vocabulary import Family, Site, SiteKey
from attnres_core.shapes import Unit


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


@torch.inference_mode()
@exact_arithmetic()
def sweep_chunk(
    model: AttnResModel,
    token_ids: Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    batch_tokens: int = BATCH_TOKENS,
    reference: Reference | None = None,
    answers: Answers | None = None,
    metrics: Sequence[Metric] = TOGETHER,
    pairs: Pairs | None = None,
    *,
    distances: bool = False,
) -> dict[str, Unit]:
    """Units of one chunk of prompts: the clean run's and every intervention's (`SHAM` may be among them), by key.

    At most `batch_tokens` rows x positions of ablated runs are under way at once, or those of one intervention.

    Each effect unit holds, per prompt: the metrics (`field_of`), `kept_mass`, `kept_mass_min`, `input_change`, and
    `TRACE`, each token's rise in loss; with `distances`, `BEYOND` (see `CleanReads`).

    The clean unit (`ROUTING`): `nll`, and per site `entropy`, `peak` and per source `mean`, `low`, `high` depth weight,
    and per family `TURN`; where sites read parallel streams, `STREAMS`, how many they draw on.
    """
    network, batch = model.network, Batch.of(token_ids, model.device)
    inputs = network.prepare(batch.ids)
    wanted = list(dict.fromkeys(interventions))
    donors = Donors(network, token_ids, pairs)
    first = {i: i.first_layer if network.resumes else 0 for i in wanted if i != SHAM and not i.spec.whole}
    starts = set(first.values()) or {0}
    first |= {SHAM: sorted(starts)[sum(map(sum, token_ids)) % len(starts)]}
    snapshots: dict[int, DepthStream[Source]] = {}

    def keep(layer: int, stream: DepthStream[Source]) -> None:
        if layer in starts:
            snapshots[layer] = stream.copy()

    routing = RoutingObserver(model, batch)
    reads = CleanReads(batch) if distances else None

    def observe(key: SiteKey, sources: list[Source], read: Read) -> None:
        routing(key, sources, read)
        if reads is not None:
            reads(key, sources, read)

    clean = network.run(network.begin(batch.ids), inputs, observe=observe, before_layer=keep)
    hidden: dict[Intervention, Tensor] = {}
    effects: dict[Intervention, _EffectObserver] = {}
    rows_each = len(token_ids)
    places = torch.arange(batch.ids.shape[1], device=model.device).expand_as(batch.ids)
    together = max(1, batch_tokens // batch.ids.numel())
    for layer, stream in sorted(snapshots.items()):
        starting = [intervention for intervention in wanted if first.get(intervention) == layer]
        for start in range(0, len(starting), together):
            group = starting[start : start + together]
            observer = _EffectObserver(model, batch, group, reads)
            index = torch.arange(rows_each, device=model.device).repeat(len(group))
            states = network.run(
                picked_rows(stream, index.to(network.device_of(layer))),
                inputs.rows(index),
                start=layer,
                overrides=Overrides(group, token_ids, places, reference, donors),
                observe=observer,
            )
            for intervention, state in zip(group, states.split(rows_each), strict=True):
                hidden[intervention] = state
                effects[intervention] = observer
    for intervention in wanted:
        if intervention.spec.whole:
            hidden[intervention] = donors.of(intervention.control).final
            effects[intervention] = _EffectObserver(model, batch, [])
    scored = batch.to(clean.device)  # (where the head is)
    scores = score(model, scored, clean, hidden, metrics)
    if answers is not None:
        for key, found in answered(model, scored, clean, hidden, answers, metrics).items():
            scores[key] |= found
    units = {ROUTING: {**routing.unit(), **scores[None]}}
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
    turns: dict[SiteKey, Tensor] = field(default_factory=dict)
    """By site, `[family, prompt, pos]`."""
    streams: dict[SiteKey, Tensor] = field(default_factory=dict)
    """By site that reads parallel streams, the effective number of them, `[prompt, pos]`."""

    def __call__(self, key: SiteKey, sources: list[Source], read: Read) -> None:
        """Keep the site's weights, and how far its read turns without each family (they are small)."""
        self.found[key] = read.weights.to(self.batch.ids.device)
        self.turns[key] = self._turned(self.model.site_at(key), sources, read).to(self.batch.ids.device)
        if read.streams is not None:
            self.streams[key] = (1 / read.streams.square().sum(0)).to(self.batch.ids.device)

    def _turned(self, site: Site, sources: list[Source], read: Read) -> Tensor:
        """1 - cos(h, h without a family), 0 for a family that the site lacks."""
        turned = torch.zeros(len(Family), *read.weights.shape[1:], device=read.weights.device)
        for place, family in enumerate(Family):
            others = [index for index, own in enumerate(site.sources) if own is not family]
            if len(others) < len(sources):
                without = read.of_some(sources, others)
                turned[place] = 1 - cosine_similarity(read.mixture.float(), without.float(), dim=-1)
        return turned

    def unit(self) -> Unit:
        """Return what the clean run's unit holds of the weights, per prompt, site and source."""
        sites = self.model.sites
        widest = max(len(site.sources) for site in sites)
        shape = (len(self.batch.ids), len(sites), widest)
        unit = {name: np.zeros(shape) for name in ("mean", "low", "high")}
        unit |= {name: np.zeros(shape[:2]) for name in ("entropy", "peak")}
        unit[TURN] = np.zeros((*shape[:2], len(Family)))
        for row, site in enumerate(sites):
            weights = self.found[site.key]  # (source, prompt, pos)
            n = len(site.sources)
            hidden = ~self.batch.scored
            unit["mean"][:, row, :n] = self.batch.per_prompt(weights).T
            unit["low"][:, row, :n] = weights.masked_fill(hidden, torch.inf).amin(-1).double().cpu().numpy().T
            unit["high"][:, row, :n] = weights.masked_fill(hidden, -torch.inf).amax(-1).double().cpu().numpy().T
            unit["entropy"][:, row] = self.batch.per_prompt(torch.special.entr(weights).sum(0))
            unit["peak"][:, row] = self.batch.per_prompt(weights.amax(0))
            unit[TURN][:, row] = self.batch.per_prompt(self.turns[site.key]).T
        if self.streams:
            drawn_on = [self.batch.per_prompt(self.streams[site.key]) for site in sites]
            unit[STREAMS] = np.stack(drawn_on, axis=1)
        return unit


@dataclass(slots=True)
class _EffectObserver:
    """Watches what each intervention of a batch does at the sites it touches."""

    model: AttnResModel
    batch: Batch
    group: Sequence[Intervention]
    reads: CleanReads | None = None
    """The clean reads that ablated ones are held against; None: they are not."""
    kept: dict[Intervention, list[Tensor]] = field(default_factory=dict)
    change: dict[Intervention, list[Tensor]] = field(default_factory=dict)
    beyond: dict[Intervention, list[Tensor]] = field(default_factory=dict)

    def __call__(self, key: SiteKey, sources: list[Source], read: Read) -> None:
        """Kept mass and input change, for the rows whose intervention touches this site."""
        site, rows_each = self.model.site_at(key), len(self.batch.ids)
        for position, intervention in enumerate(self.group):
            if site not in dict(intervention.touched):
                continue
            rows = slice(position * rows_each, (position + 1) * rows_each)
            assert read.kept is not None, "a touched site has an override"
            own, found_here = [Source(source.state[rows], source.eps) for source in sources], read.rows(rows)
            moved = (found_here.mixture - found_here.mixed(own, found_here.natural)).abs().amax(-1)  # (prompt, pos)
            watching = [(self.kept, read.kept[rows]), (self.change, moved)]
            if self.reads is not None:
                watching.append((self.beyond, self.reads.beyond(key, read.mixture[rows])))
            for watched, found in watching:
                watched.setdefault(intervention, []).append(found.to(self.batch.ids.device))

    def unit(self, intervention: Intervention) -> Unit:
        """What the intervention's unit holds beside its metrics, per prompt."""
        if intervention not in self.kept:
            nothing = np.zeros(len(self.batch.ids))
            return {"kept_mass": nothing + 1, "kept_mass_min": nothing + 1, "input_change": nothing}
        kept, change = torch.stack(self.kept[intervention]), torch.stack(self.change[intervention])
        hidden = ~self.batch.scored
        found = self.beyond.get(intervention)
        far = {} if found is None else {BEYOND: self.batch.per_prompt(torch.stack(found)).mean(0)}
        return far | {
            "kept_mass": self.batch.per_prompt(kept).mean(0),
            "kept_mass_min": kept.masked_fill(hidden, torch.inf).amin((0, 2)).double().cpu().numpy(),
            "input_change": change.masked_fill(hidden, 0).amax((0, 2)).double().cpu().numpy(),
        }
