"""A conformance kit for adapters and dialects: whether a model does what everything here takes for granted.

A test of it::

    from attnres_core.testing import check_adapter

    check_adapter(ac.adapt(network, call, vocabulary=32000, context=2048))

Only the model's public face and its network are used, on random tokens: no checkpoint, prompts or reference are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.models.adapters.adapter import AdaptedNetwork
from attnres_core.models.dialects.schedule import families
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.routing import Read, Source
from attnres_core.quantities.ablations import Kind, drop
from attnres_core.quantities.intervention import SHAM, Intervention, cell, cells
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.vocabulary import Family, Site, SiteKey, Sublayer

LENGTHS = (11, 7, 11)
"""Tokens of the prompts that a model is tried on: two of one length, one shorter."""
SHOWN = 20
"""Failures in an error's text; all are in its `failures`."""
WEIGHT_TOLERANCE = 1e-5
"""The largest error of a depth weight, all of which lie between 0 and 1."""


class Nonconforming(AssertionError):
    """A model that fails checks; says of each what was expected and what was found."""

    def __init__(self, name: str, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        """Every failure, its check's name first."""
        more = f"\n  and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
        super().__init__(f"`{name}` fails:\n  " + "\n  ".join(failures[:SHOWN]) + more)


@dataclass
class Trial:
    """A model under test, and what its clean run on random tokens gives."""

    model: AttnResModel
    tolerance: float
    """The largest error of a logit or of a state, as a share of the largest one."""
    reads: dict[SiteKey, tuple[list[Tensor], Read]] = field(default_factory=dict)

    @cached_property
    def tokens(self) -> list[list[int]]:
        """Random prompts, the same every time."""
        generator = torch.Generator().manual_seed(0)
        vocabulary, longest = self.model.network.vocabulary, self.model.checkpoint.context
        return [torch.randint(vocabulary, (min(n, longest),), generator=generator).tolist() for n in LENGTHS]

    @cached_property
    def ids(self) -> Tensor:
        """Those of the prompts that are of one length, `[row, pos]`."""
        return torch.tensor([self.tokens[0], self.tokens[-1]]).to(self.model.device)

    @cached_property
    def clean(self) -> Tensor:
        """Logits of a run that is only watched; leaves what each site read in `reads`."""
        return self.run(None, self.reads)

    @property
    def choosing(self) -> list[Site]:
        """Sites where there is a choice."""
        return [site for site in self.model.sites if len(site.sources) > 1]

    def run(
        self, intervention: Intervention | None, reads: dict[SiteKey, tuple[list[Tensor], Read]] | None = None
    ) -> Tensor:
        """Logits under an intervention."""
        network = self.model.network

        def keep(key: SiteKey, sources: list[Source], read: Read) -> None:
            if reads is not None:
                reads[key] = ([source.state for source in sources], read)

        places = torch.arange(self.ids.shape[1], device=self.ids.device).expand_as(self.ids)
        overrides = None if intervention is None else Overrides([intervention], self.ids.tolist(), places)
        with torch.inference_mode():
            hidden = network.run(network.begin(self.ids), network.prepare(self.ids), overrides=overrides, observe=keep)
            return network.unembed(hidden)

    def off(self, found: Tensor, expected: Tensor) -> float:
        """The largest distance, as a share of the largest expected value."""
        return float((found.float() - expected.float()).abs().max() / expected.float().abs().max().clamp(min=1e-30))


def sites_are_well_formed(trial: Trial) -> Iterator[str]:
    """Each site once, in forward order, its families those that its sources give; every one is read."""
    model, last = trial.model, -1
    keys = [site.key for site in model.sites]
    if not trial.choosing:
        yield f"expected at least one site with more than one source, found {len(keys)} sites, all without a choice"
    for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
        yield f"expected every site once, found {keys.count(key)} at {tuple(key)}"
    for site in model.sites:
        if site.layer < last:
            yield f"expected sites in forward order, found {site} after layer {last}"
        last = max(last, site.layer)
        allowed = [model.num_layers] if site.sublayer is Sublayer.FINAL else range(model.num_layers)
        if site.layer not in allowed:
            yield f"expected the layer of {site} among {list(allowed)}, found {site.layer}"
        own = isinstance(model.network, AdaptedNetwork) and site.key in model.network.families_given
        if not own and site.sources != (expected := _families(site)):
            words, found = (", ".join(map(str, each)) for each in (expected, site.sources))
            yield f"{site}: expected the families {words}, found {found}"
    assert trial.clean is not None
    for key in (key for key in trial.reads if key not in keys):
        yield f"expected {tuple(key)} among the sites, found it read and not listed"
    for site in model.sites:
        if site.key not in trial.reads:
            yield f"{site}: expected it to be read, found it listed and never read"
        elif len(trial.reads[site.key][0]) != len(site.sources):
            yield f"{site}: expected {len(site.sources)} sources, found {len(trial.reads[site.key][0])} read"


def _families(site: Site) -> tuple[Family | None, ...]:
    """The families that a site's number of sources gives, a null source first where it has one.

    Where the running state is read beside them, none is the current state, and the embedding may not be among them.
    """
    null = (Family.NULL,) * (Family.NULL in site.sources)
    count = len(site.sources) - len(null)
    if not site.adds_to_state:
        return (*null, *families(count))
    embedding = (Family.EMBEDDING,) * (Family.EMBEDDING in site.sources)
    deltas = count - len(embedding)
    return (*null, *embedding, *(Family.OLDER,) * (deltas - 1), *(Family.RECENT,) * min(deltas, 1))


def _mixture(states: Sequence[Tensor], weights: Tensor, read: Read) -> Tensor:
    """The weighted sum of states, `[batch, pos, d]`, beside the running state where a read has it."""
    weights = weights if read.scale is None else weights * read.scale
    total = torch.zeros_like(states[0]).float() if read.beside is None else read.beside.float()
    for weight, state in zip(weights, states, strict=True):
        total = total + weight.unsqueeze(-1) * state.float()
    return total


def weights_sum_to_one(trial: Trial) -> Iterator[str]:
    """Depth weights are float32, `[source, batch, pos]`, none negative, and sum to one over the sources."""
    for site, weights in trial.model.depth_weights(trial.ids).items():
        shape = (len(site.sources), *trial.ids.shape)
        if weights.shape != shape or weights.dtype != torch.float32:
            yield f"{site}: expected weights float32 {shape}, found {weights.dtype} {tuple(weights.shape)}"
            continue
        if float(weights.min()) < 0 or float((weights.sum(0) - 1).abs().max()) > WEIGHT_TOLERANCE:
            low, high = float(weights.sum(0).min()), float(weights.sum(0).max())
            found = f"sums {low:.6g} to {high:.6g}, the least weight {float(weights.min()):.2g}"
            yield f"{site}: expected weights from 0 on that sum to 1, found {found}"


def reads_are_mixtures(trial: Trial) -> Iterator[str]:
    """Each site reads a mixture: its sources, weighted by its depth weights."""
    assert trial.clean is not None
    for key, (states, read) in trial.reads.items():
        expected = _mixture(states, read.weights, read)
        if (off := trial.off(read.mixture, expected)) > trial.tolerance:
            yield f"{trial.model.site_at(key)}: expected the weighted sum of the sources, found one {off:.2g} away"


def duplicates_are_found(trial: Trial) -> Iterator[str]:
    """`Site.copies` are the pairs of sources that are one tensor in the run, and no others."""
    assert trial.clean is not None
    for key, (states, _) in trial.reads.items():
        pairs = ((i, j) for j in range(len(states)) for i in range(j))
        found = tuple((i, j) for i, j in pairs if torch.equal(states[i], states[j]))
        site = trial.model.site_at(key)
        if set(found) != set(site.copies):
            yield f"{site}: expected copies {found or 'none'} as in the run, found {site.copies or 'none'} in `copies`"


def sham_is_the_identity(trial: Trial) -> Iterator[str]:
    """Nothing taken, and logits raised by nothing at every site, change no logit."""
    touched = tuple((site, tuple(range(len(site.sources)))) for site in trial.choosing)
    for words, sham in (
        ("a sham", SHAM),
        ("raising every logit by 0", Intervention(Kind.AMPLIFY.value, touched, amount=0.0)),
    ):
        if (off := trial.off(trial.run(sham), trial.clean)) > trial.tolerance:
            yield f"expected {words} to change nothing, found logits {off:.2g} away from the clean run's"


def drop_renormalises(trial: Trial) -> Iterator[str]:
    """A drop at one site leaves there the clean weights of the others, and mixes with those.

    They are scaled to sum to one, but for weights on no simplex.
    """
    assert trial.clean is not None
    for site, family in cells(trial.choosing):
        what = cell(site, family)
        gone, how = list(what.touched[0][1]), "not scaled" if site.free else "renormalised"
        if len(gone) == len(site.sources):
            continue
        reads: dict[SiteKey, tuple[list[Tensor], Read]] = {}
        trial.run(what, reads)
        states, read = reads[site.key]
        expected = trial.reads[site.key][1].weights.clone()
        expected[gone] = 0
        expected = expected if site.free else expected / expected.sum(0)
        if (off := float((read.weights - expected).abs().max())) > WEIGHT_TOLERANCE:
            yield f"{site}: expected the clean weights without {family}, {how}; found weights {off:.2g} away"
        mixture = _mixture(states, expected, read)
        if (off := trial.off(read.mixture, mixture)) > trial.tolerance:
            yield f"{site}: expected the mixture without {family}, {how}; found one {off:.2g} away"


def drops_reach_the_logits(trial: Trial) -> Iterator[str]:
    """At every site with different sources some drop changes the logits: what is read there is what is used."""
    for site in trial.choosing:
        drops = [cell(site, family) for where, family in cells([site])]
        if all(what.no_ops for what in drops):
            continue
        if not any(trial.off(trial.run(what), trial.clean) > 1e-7 for what in drops):
            yield f"{site}: expected some drop to change the logits, found none: what is read there is not what is used"


def padding_changes_nothing(trial: Trial) -> Iterator[str]:
    """Masked tokens on either side, other rows and later tokens change no logit of a real position."""
    model, ids = trial.model, trial.ids
    expected, length = model.logits(ids), ids.shape[1]
    pads = min(3, model.checkpoint.context - length)
    pad = torch.zeros(len(ids), pads, dtype=ids.dtype, device=ids.device)
    for side in ("left", "right") if pads else ():
        order = [pad, ids] if side == "left" else [ids, pad]
        mask = torch.cat([torch.zeros_like(part) if part is pad else torch.ones_like(part) for part in order], 1)
        own = slice(pads, None) if side == "left" else slice(0, length)
        for words, ablation in (("", None), (" of an ablated run", drop(*_some_drop(trial)))):
            base = model.logits(ids, ablation=ablation)
            found = model.logits(torch.cat(order, 1), mask, ablation)[:, own]
            if (off := trial.off(found, base)) > trial.tolerance:
                yield f"expected padding on the {side} to change nothing{words}, found logits {off:.2g} away"
    if (off := trial.off(model.logits(ids[:1]), expected[:1])) > trial.tolerance:
        yield f"expected a row's logits whatever the other rows, found them {off:.2g} away"
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % model.network.vocabulary
    if (off := trial.off(model.logits(other)[:, :-1], expected[:, :-1])) > trial.tolerance:
        yield f"expected later tokens to change nothing before them, found logits {off:.2g} away"


def _some_drop(trial: Trial) -> tuple[str, str]:
    """The family and sublayer of a drop that leaves something everywhere."""
    site = next(site for site in trial.choosing if site.sublayer is not Sublayer.FINAL)
    return str(site.sources[-1]), site.sublayer.value


def resuming_equals_full_runs(trial: Trial) -> Iterator[str]:
    """The sweep's effects, many ablations a batch and resumed where the network can, are those of whole runs."""
    wanted = [cell(*place) for place in cells(trial.choosing)]
    wanted = [what for what in wanted if len(what.touched[0][1]) < len(what.touched[0][0].sources)]
    fast = sweep_chunk(trial.model, trial.tokens, wanted)
    full = plain_chunk(trial.model, trial.tokens, wanted)
    scale = trial.tolerance * max(1.0, float(trial.clean.abs().max()))
    for what in wanted:
        for metric in (Metric.DELTA_NLL, Metric.KL):
            off = abs(fast[what.key][metric.value] - full[what.key][metric.value]).max()
            if not off <= scale:
                yield f"{what.sites[0]}: expected the {metric} of a whole run, found one {off:.2g} away when resumed"


CHECKS: tuple[Callable[[Trial], Iterator[str]], ...] = (
    sites_are_well_formed,
    weights_sum_to_one,
    reads_are_mixtures,
    duplicates_are_found,
    sham_is_the_identity,
    drop_renormalises,
    drops_reach_the_logits,
    padding_changes_nothing,
    resuming_equals_full_runs,
)


def check_adapter(model: AttnResModel, *, tolerance: float = 1e-4) -> tuple[str, ...]:
    """Check everything that measuring takes for granted of a model.

    Args:
        model: from `adapt` or `load_model`, in float32 for the tolerance given here.
        tolerance: the largest error of a logit, as a share of the largest logit.

    Returns:
        The names of the checks, all passed.

    Raises:
        Nonconforming: lists every failure with what was expected and what was found.
    """
    trial = Trial(model, tolerance)
    for checks in (CHECKS[:1], CHECKS[1:]):  # (where sites are malformed, nothing else means anything)
        failures = [f"{check.__name__}: {failure}" for check in checks for failure in check(trial)]
        if failures:
            raise Nonconforming(model.checkpoint.name, failures)
    return tuple(check.__name__ for check in CHECKS)
