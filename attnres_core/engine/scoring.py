"""States become scores: losses, divergences and answers, on scored positions only, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnres_core.engine.resources import LOGIT_BYTES, SCORE_ROWS
from attnres_core.models.model import AttnResModel
from attnres_core.planning.requests import TRACE, field_of
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.vocabulary import Positions
from attnres_core.shapes import Float, Unit

Answers = Sequence[tuple[int, int | None]]
"""Token ids of each prompt's answer and, where it has one, its foil."""


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
    """`torch.logsumexp` over the vocabulary in half its passes: the maximum is taken out only where it must be."""
    total = logits.exp().sum(-1)
    if bool(((total > 1e-30) & total.isfinite()).all()):  # no sum overflowed, none lost its terms to underflow
        return total.log()
    return logits.logsumexp(-1)


def score(model: AttnResModel, batch: Batch, clean: Tensor, hidden: Mapping[Any, Tensor]) -> dict[Any, Unit]:
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


def answered(
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
