"""Constants that stand in for ablated sources, fitted to do the least harm: what `optimal` puts in place.

One constant a site and source, the same at every position of every prompt. Adam minimises the mean loss under the
ablation over one part of the prompts; what does least harm on the other part is taken. Nothing else of the model moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attnres_core.models.dialects.schedule import DepthStream
from attnres_core.models.networks.interventions.acting import Acting
from attnres_core.models.networks.losses import summed_loss
from attnres_core.models.networks.network import Network, Observer
from attnres_core.models.networks.precision import exact_arithmetic
from attnres_core.models.networks.reference_states import Constants
from attnres_core.models.networks.routing import Read, SiteOverride, Source
from attnres_core.quantities import ablations
from attnres_core.quantities.intervention import Intervention
from attnres_core.quantities.vocabulary import SiteKey
from attnres_core.shapes import Float

STEP_PROMPTS = 16
"""Prompts of one step."""
HELD_OUT = 4
"""Of so many documents the last is kept out of the fit, to choose by."""
RATE = 0.1
"""Adam's first step, in units of each source's root mean square; it falls to zero in a line."""
Tell = Callable[[int], object]
"""Hears how many steps are done."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a fit from one start came to."""

    constants: Float[Tensor, "filled d"]
    """In the order of `Intervention.filled`, in float32."""
    loss: float
    """The mean loss with them over the prompts that were held out of the fit, nats per token."""


def parts(documents: Sequence[object]) -> tuple[list[int], list[int]]:
    """The prompts that constants are fitted to, and those that choose between fits, by their documents.

    Raises:
        ValueError: there is one document, or none.
    """
    names = list(dict.fromkeys(documents))
    if len(names) < 2:
        raise ValueError(
            f"constants are fitted to some documents and chosen on others, and there is {len(names)}; "
            "give more reference prompts"
        )
    kept_out = set(names[HELD_OUT - 1 :: HELD_OUT] or names[-1:])
    return (
        [row for row, name in enumerate(documents) if name not in kept_out],
        [row for row, name in enumerate(documents) if name in kept_out],
    )


@exact_arithmetic()
def fit(
    network: Network,
    token_ids: Sequence[Sequence[int]],
    documents: Sequence[object],
    intervention: Intervention,
    start: str,
    tell: Tell = lambda done: None,
    together: int = STEP_PROMPTS,
) -> Fit:
    """Fit an intervention's constants from one start; the start itself is what is found where no step improves on it.

    Args:
        network: the model that is ablated.
        token_ids: the prompts, some thousands of predictions at the least.
        documents: each prompt's document: a document's prompts stay together.
        intervention: of a kind that is `fitted`.
        start: `zero`, or `mean`: each source's mean over all tokens of the fit.
        tell: called after every step.
        together: prompts that are run together; where these are fewer than a step's, their gradients are added up.

    Raises:
        ValueError: the prompts are of one document, or the model has no gradients.
    """
    network.requires_grad_(False)
    fitted_to, chosen_on = ([list(token_ids[row]) for row in rows] for rows in parts(documents))
    with torch.inference_mode(False):
        moments = _Moments(intervention)
        with torch.no_grad():
            steps = [
                [_Batch.of(network, rows, intervention, moments) for rows in _split(step, together)]
                for step in _split(fitted_to, STEP_PROMPTS)
            ]
            held_out = [_Batch.of(network, rows, intervention) for rows in _split(chosen_on, together)]

        def chosen_by(constants: Tensor) -> float:
            with torch.no_grad():
                return float(sum(_loss(network, batch, intervention, constants) for batch in held_out)) / len(chosen_on)

        begun = moments.means if start == "mean" else torch.zeros_like(moments.means)
        ended = _descended(network, steps, intervention, begun, moments.sizes, tell)
        return min((Fit(constants, chosen_by(constants)) for constants in (begun, ended)), key=lambda each: each.loss)


def fitting(
    network: Network,
    token_ids: Sequence[Sequence[int]],
    documents: Sequence[object] | None = None,
    tell: Tell = lambda done: None,
) -> Constants:
    """Constants by intervention, fitted when they are first asked for; arguments as for `fit`.

    Without documents every prompt is one.
    """
    known: dict[Intervention, Tensor] = {}
    names = range(len(token_ids)) if documents is None else documents

    def of(intervention: Intervention) -> Tensor:
        if intervention not in known:
            fits = [fit(network, token_ids, names, intervention, start, tell) for start in ablations.FIT_STARTS]
            known[intervention] = min(fits, key=lambda each: each.loss).constants
        return known[intervention]

    return of


def _split(rows: Sequence[list[int]], together: int) -> list[Sequence[list[int]]]:
    return [rows[start : start + together] for start in range(0, len(rows), together)]


class _Moments:
    """The mean and the root mean square of each source that is filled, over all tokens of some clean runs."""

    def __init__(self, intervention: Intervention) -> None:
        self.places = [(site.key, index) for site, index in intervention.filled]
        self.totals: dict[tuple[SiteKey, int], Tensor] = {}
        self.squares: dict[tuple[SiteKey, int], Tensor] = {}
        self.count = 0

    def observer(self, real: Tensor) -> Observer:
        """Adds a clean run's; `real`: which positions hold a token, `[prompt, pos]`."""
        self.count += int(real.sum())

        def add(key: SiteKey, sources: list[Source], read: Read) -> None:
            for index, source in enumerate(sources):
                if (place := (key, index)) in self.places:
                    states = source.state[real.to(source.state.device)].float()
                    self.totals[place] = self.totals.get(place, 0) + states.sum(0).cpu()
                    self.squares[place] = self.squares.get(place, 0) + states.square().sum().cpu()

        return add

    @property
    def means(self) -> Float[Tensor, "filled d"]:
        """Of each source."""
        return torch.stack([self.totals[place] for place in self.places]) / self.count

    @property
    def sizes(self) -> Float[Tensor, "filled 1"]:
        """The root mean square of each source's numbers; where that is zero, the largest of the others'."""
        squares = torch.stack([self.squares[place] for place in self.places]) / self.count
        found = (squares / self.means.shape[1]).sqrt()[:, None]
        return found.where(found > 0, found.max())


@dataclass(frozen=True, slots=True)
class _Batch:
    """Prompts that are run together, with the depth stream before the first layer that is changed."""

    token_ids: Sequence[Sequence[int]]
    ids: Tensor
    scored: Tensor
    """Positions whose next token is scored."""
    positions: Tensor
    host_positions: Tensor
    inputs: Any
    stream: DepthStream[Source]
    first: int

    @classmethod
    def of(
        cls,
        network: Network,
        token_ids: Sequence[Sequence[int]],
        intervention: Intervention,
        moments: _Moments | None = None,
    ) -> _Batch:
        lengths = torch.tensor([len(tokens) for tokens in token_ids])[:, None]
        place = torch.arange(int(lengths.max())).expand(len(token_ids), -1)
        ids = torch.zeros_like(place)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        inputs, first = network.prepare(ids.to(network.device)), intervention.first_layer if network.resumes else 0
        found: list[DepthStream[Source]] = []

        def keep(layer: int, stream: DepthStream[Source]) -> None:
            if layer == first:
                found.append(stream.copy())

        observe = None if moments is None else moments.observer(place < lengths)
        network.run(network.begin(ids.to(network.device)), inputs, observe=observe, before_layer=keep)
        positions = torch.minimum(place, lengths - 1)
        own, scored, there = (given.to(network.device) for given in (ids, place < lengths - 1, positions))
        return cls(token_ids, own, scored, there, positions, inputs, found[0], first)


def _loss(network: Network, batch: _Batch, intervention: Intervention, constants: Tensor) -> Tensor:
    """The summed loss of a batch's prompts with constants in place."""
    places = {(site.key, index): row for row, (site, index) in enumerate(intervention.filled)}

    def at(key: SiteKey, index: int) -> Tensor:
        return constants[places[key, index]]

    overrides: dict[SiteKey, SiteOverride] = {}
    for site, indices in intervention.touched:
        rows, positions = slice(None), (batch.positions, batch.host_positions)
        acting = Acting(intervention, site, indices, rows, batch.token_ids, *positions, None)
        overrides[site.key] = acting.replaced(partial(at, site.key))
    hidden = network.run(batch.stream.copy(), batch.inputs, start=batch.first, overrides=overrides)
    return summed_loss(network, hidden, batch.ids, batch.scored)


def _descended(
    network: Network,
    batches: Sequence[Sequence[_Batch]],
    intervention: Intervention,
    begun: Tensor,
    sizes: Tensor,
    tell: Tell,
) -> Tensor:
    """The constants after all steps, each over the next batches.

    Raises:
        ValueError: the loss has no gradient.
    """
    steps = ablations.FIT_STEPS
    moved = torch.zeros_like(begun, requires_grad=True)
    adam = torch.optim.Adam([moved], lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for step in range(steps):
        own = batches[step % len(batches)]
        count = sum(len(batch.token_ids) for batch in own)
        gradients = []
        for batch in own:
            with torch.enable_grad():
                loss = _loss(network, batch, intervention, begun + sizes * moved) / count
                gradients.append(_gradient(loss, moved)[0])
        moved.grad = sum(gradients[1:], gradients[0])
        adam.step()
        schedule.step()
        tell(step + 1)
    return (begun + sizes * moved).detach()


def _gradient(loss: Tensor, moved: Tensor) -> tuple[Tensor, ...]:
    why = "its loss does not depend on what is put in the place of a source, or gradients are off inside of it"
    if loss.requires_grad:
        try:
            found = torch.autograd.grad(loss, [moved], allow_unused=True)
            return tuple(torch.zeros_like(moved) if each is None else each for each in found)
        except RuntimeError as error:
            why = str(error)
    raise ValueError(
        f"constants cannot be fitted on this model, since it has no gradients ({why}); ask for `mean` or `resample`"
    )
