"""States become scores: losses, divergences and answers, on scored positions only, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnres_core.engine.metrics import AblatedBlock, Answered, Answers, CleanBlock, fast
from attnres_core.engine.resources import LOGIT_BYTES, SCORE_ROWS
from attnres_core.models.model import AttnResModel
from attnres_core.planning.requests import NLL, TRACE, field_of
from attnres_core.quantities.metrics import TOGETHER, Metric
from attnres_core.quantities.vocabulary import Positions
from attnres_core.shapes import Float, Unit


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


def logsumexp(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
    """`torch.logsumexp` over the vocabulary, on the CPU in half its passes: the maximum is taken out where it must be.

    On a GPU that question would wait for all that was asked of it before.
    """
    if logits.device.type != "cpu":
        return logits.logsumexp(-1)
    total = logits.exp().sum(-1)
    if bool(((total > 1e-30) & total.isfinite()).all()):  # no sum overflowed, none lost its terms to underflow
        return total.log()
    return logits.logsumexp(-1)


def score(
    model: AttnResModel,
    batch: Batch,
    clean: Tensor,
    hidden: Mapping[Any, Tensor],
    metrics: Iterable[Metric] = TOGETHER,
) -> dict[Any, Unit]:
    """Metrics of the next tokens, per prompt, unembedding scored positions only, in blocks of bounded size.

    Beside them each token's rise in loss, `[prompt, pos]`, of the prediction made at that position; under None the
    clean run's loss.
    """
    wanted = [metric for metric in metrics if not metric.spec.needs]
    at = torch.nonzero(batch.scored, as_tuple=True)
    target = batch.ids[at[0], at[1] + 1][:, None]
    head, matrix = model.network.unembed, model.network.unembedding
    block = max(SCORE_ROWS, LOGIT_BYTES // (4 * model.network.vocabulary))
    states = {key: state[at] for key, state in hidden.items()}  # (scored, d)
    clean_states = clean[at]
    nll = torch.empty(len(target), device=clean.device)
    found = {key: {metric: torch.empty_like(nll) for metric in wanted} for key in hidden}
    for start in range(0, len(target), block):
        rows = slice(start, start + block)
        logits = head(clean_states[rows])  # (block, vocab)
        norm = logsumexp(logits)
        nll[rows] = norm - logits.gather(1, target[rows])[:, 0]  # as below: the same state gives the same loss exactly
        own = CleanBlock(clean_states[rows], target[rows], logits - norm[:, None], nll[rows], matrix)
        scorers = [(metric, fast(metric)(own)) for metric in wanted]
        for key, state in states.items():
            logits = head(state[rows])
            norm = logsumexp(logits)
            loss = norm - logits.gather(1, target[rows])[:, 0]
            ablated = AblatedBlock(state[rows], logits, norm, loss)
            for metric, scorer in scorers:
                found[key][metric][rows] = scorer(ablated)

    names = [(key, metric) for key in found for metric in wanted]
    placed = torch.zeros(1 + len(names), *batch.scored.shape, device=clean.device)  # (all together: few transfers)
    placed[:, at[0], at[1]] = torch.stack([nll, *(found[key][metric] for key, metric in names)])
    means = {where: batch.per_prompt(placed, where) for where in Positions}
    traces = placed.cpu().numpy()
    scores: dict[Any, Unit] = {key: {} for key in found}
    for row, (key, metric) in enumerate(names, start=1):
        scores[key] |= {field_of(metric, where): means[where][row] for where in Positions}
    for key in found:
        scores[key][TRACE] = traces[1 + names.index((key, Metric.DELTA_NLL))]
    return {**scores, None: {NLL: means[Positions.ALL][0]}}


def answered(
    model: AttnResModel,
    batch: Batch,
    clean: Tensor,
    hidden: Mapping[Any, Tensor],
    answers: Answers,
    metrics: Iterable[Metric] = TOGETHER,
) -> dict[Any, Unit]:
    """Metrics of answers, per prompt, where an answer would follow."""
    at = (torch.arange(len(batch.ids), device=clean.device), batch.last)

    def read(state: Tensor) -> Answered:
        return Answered.of(model.network.unembed(state[at]), answers)

    own = read(clean)
    scorers = [(metric, fast(metric)(own)) for metric in metrics if metric.spec.needs]
    found: dict[Any, Unit] = {}
    for key, state in hidden.items():
        ablated = read(state)
        found[key] = {field_of(metric): scorer(ablated).cpu().numpy() for metric, scorer in scorers}
    return found
