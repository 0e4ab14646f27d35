"""Every kind of ablation as its docstring says it, token by token: slow, plain, and sharing only the random choices
and the constants that are fitted (`test_fitting.py` is about these).

A read is the weighted sum of states, beside the running state in the models whose reads add to it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from attnres_core.models.networks import network as networks
from attnres_core.models.networks.fitting import fitting
from attnres_core.models.networks.reference_states import Reference, generator
from attnres_core.models.networks.routing import LearnedLogits, Read
from attnres_core.quantities.intervention import resolve
from support.every_kind import donors_of
from support.naive_paths import logits_along


class Naive:
    """Full forward passes of one prompt with a routing of its own in the place of the library's."""

    def __init__(self, model, reference: Sequence[Sequence[int]], monkeypatch) -> None:
        self.model, self.patch = model, monkeypatch
        self.reference = [list(tokens) for tokens in reference]
        self.choices = Reference(model.network, self.reference, fitting(model.network, self.reference))
        self.clean = [self.run(tokens, None)[1] for tokens in self.reference]
        """By reference prompt and site: (states `[source, pos, d]`, weights `[source, pos]`)."""
        self.donors, self.sums = {}, None

    def logits(self, tokens: Sequence[int], ablation, draw: int = 0) -> Tensor:
        """`[pos, vocab]`."""
        if ablation.kind == "donor_gap":
            return self.run(donors_of([list(tokens)], self.model)[0], None)[0]
        if ablation.via:
            return logits_along(self, tokens, ablation, draw)
        intervention = resolve(ablation, self.model.sites, self.model.num_layers, draw)
        if intervention.spec.fitted:
            self.choices.constants(intervention)  # (fitted once, with the library's own routing)
        return self.run(tokens, intervention)[0]

    def run(self, tokens, intervention):
        network, found, sites = self.model.network, {}, iter(self.model.sites)

        def routed(sources, scoring, override=None, beside=None):
            assert override is None
            site = next(sites)
            states = torch.stack([source.state[0] for source in sources])  # (source, pos, d)
            weights, mixture = self.read(site, states, sources[0].eps, scoring, tokens, intervention)
            found[site] = (states, weights)
            if beside is not None:
                mixture = mixture + beside[0]
            return Read(mixture[None], weights[:, None], weights[:, None])

        ids = torch.tensor([list(tokens)])
        with self.patch.context() as patch, torch.inference_mode():
            patch.setattr(networks, "route", routed)
            hidden = network.run(network.begin(ids), network.prepare(ids))
            return network.unembed(hidden)[0], found

    def read(self, site, states, eps, scoring, tokens, intervention):
        weights = softmax(states, eps, scoring)
        indices = dict(intervention.touched).get(site) if intervention else None
        if indices is None:
            return weights, torch.einsum("sp,spd->pd", weights, states)
        used, mixture = torch.zeros_like(weights), torch.zeros_like(states[0])
        for pos in range(states.shape[1]):
            used[:, pos], mixture[pos] = self.read_token(
                site, states[:, pos], weights[:, pos], eps, scoring, tokens, pos, intervention, indices
            )
        return used, mixture

    def read_token(self, site, states, weights, eps, scoring, tokens, pos, what, indices):
        """(depth weights, mixture) of one token."""
        n, kind = len(weights), what.kind
        others = [index for index in range(n) if index not in indices]
        if kind == "keep_top":
            order = sorted(range(n), key=lambda index: (-float(weights[index]), index))[: int(what.amount)]
            kept = torch.tensor([float(weights[index]) if index in order else 0.0 for index in range(n)])
            return kept / kept.sum(), (kept / kept.sum()) @ states
        if kind in ("uniform", "average", "shuffle", "schedule"):
            new = {
                "uniform": lambda: torch.full((n,), 1 / n),
                "average": lambda: torch.cat([w for _, w in (clean[site] for clean in self.clean)], 1).mean(1),
                "shuffle": lambda: self.another_token(site, tokens, pos, what.draw),
                "schedule": lambda: torch.softmax(torch.tensor([0.0] * (n - 1) + [what.amount]), 0),
            }[kind]()
            return new, new @ states
        if kind == "keep_wired":
            means = torch.cat([w for _, w in (clean[site] for clean in self.clean)], 1).mean(1)
            kept = sorted(range(n), key=lambda index: (-float(means[index]), index))[: int(what.amount)]
            left = torch.tensor([float(weights[index]) if index in kept else 0.0 for index in range(n)])
            return left / left.sum(), (left / left.sum()) @ states
        if kind == "sharpen":
            odds = weights**what.amount
            return odds / odds.sum(), (odds / odds.sum()) @ states
        if kind == "permute":
            drawn = generator(tokens, "permute", site, what.draw)
            order = torch.rand(len(tokens), len(indices), generator=drawn)[pos].argsort()
            new = weights.clone()
            for place, source in zip(indices, order, strict=True):
                new[place] = weights[indices[source]]
            return new, new @ states
        if kind == "interchange":
            theirs, own = self.donor(tokens)[site]
            new, mixed = weights.clone(), states.clone()
            for index in range(n):
                if index in indices:
                    new[index] = own[index, pos] if what.part != "states" else weights[index]
                    mixed[index] = theirs[index, pos] if what.part != "weights" else states[index]
                elif what.part != "states":
                    new[index] *= (1 - own[list(indices), pos].sum()) / weights[others].sum()
            return new, new @ mixed
        if kind == "amplify":
            odds = weights.clone()
            odds[list(indices)] *= torch.tensor(what.amount).exp()
            return odds / odds.sum(), (odds / odds.sum()) @ states
        taken = torch.zeros(n)
        if what.control == "matched_mass":
            wanted = weights[list(indices)].sum()
            random = torch.rand(len(tokens), len(others), generator=generator(tokens, "mass", site, what.draw))[pos]
            for place in random.argsort():
                amount = min(weights[others[place]], wanted)
                taken[others[place]], wanted = amount, wanted - amount
        elif what.control == "matched_count":
            order = torch.randperm(len(others), generator=generator(tokens, "count", site, what.draw))
            for place in order[: len(indices)]:
                taken[others[place]] = weights[others[place]]
        else:
            taken[list(indices)] = weights[list(indices)]
        if kind == "drop" and len(indices) == n and not what.control:  # (the running state is all that is read)
            assert site.adds_to_state
            return torch.zeros(n), torch.zeros_like(states[0])
        if kind == "drop":
            kept = (weights - taken) / (weights - taken).sum()
            return kept, kept @ states
        new = states.clone()
        for index in range(n):
            new[index] = self.instead(what, site, index, tokens, pos, states[index])
        if what.recomputed:
            changed = states.clone()
            changed[list(indices)] = new[list(indices)]
            again = softmax(changed[:, None], eps, scoring)[:, 0]
            return again, again @ changed
        return weights, (weights - taken) @ states + taken @ new

    def instead(self, what, site, index, tokens, pos, state):
        kind, draw = what.kind, what.draw
        if kind == "optimal":
            constants = dict(zip(what.filled, self.choices.constants(what), strict=True))
            return constants.get((site, index), torch.zeros_like(state))  # (what is not filled is not taken)
        if kind == "zero":
            return torch.zeros_like(state)
        if kind == "mean":
            there = [clean[site][0][index][pos] for clean in self.clean if clean[site][0].shape[1] > pos]
            if not there:
                there = [row for clean in self.clean for row in clean[site][0][index]]
            return torch.stack(there).mean(0)
        other = self.clean[self.choices.partner(tokens, draw)][site][0][index]
        return other[pos % len(other)]

    def donor(self, tokens):
        """A donor's clean run: by site, states and weights."""
        key = tuple(tokens)
        if key not in self.donors:
            self.donors[key] = self.run(donors_of([list(tokens)], self.model)[0], None)[1]
        return self.donors[key]

    def another_token(self, site, tokens, pos, draw):
        own = [(i, p) for i, prompt in enumerate(self.reference) if prompt != list(tokens) for p in range(len(prompt))]
        prompt, place = own[torch.randint(len(own), (len(tokens),), generator=generator(tokens, "tokens", draw))[pos]]
        return self.clean[prompt][site][1][:, place]


def softmax(states, eps, scoring):
    """Depth weights `[source, pos]`: query . key, the bias on the last source; no eps: a state is its own key.

    Or those of learned logits, one a source.
    """
    if isinstance(scoring, LearnedLogits):
        return torch.stack([scoring.values[index].expand(states.shape[1]) for index in range(len(states))]).softmax(0)
    keys = states if eps is None else states / (states.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    logits = torch.stack([key @ scoring.query for key in keys])
    if scoring.recency_bias is not None:
        logits[-1] += scoring.recency_bias
    return logits.softmax(0)
