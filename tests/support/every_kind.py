"""An ablation of every kind, and what a run's logits say of its effect."""

import torch

import attnres_core as ac
from attnres_core.quantities.intervention import NotApplicable, drawn

REMOVALS = (ac.drop, ac.zero, ac.mean, ac.resample)
FAMILY = ac.EMBEDDING  # every dialect has it in both sublayers
EVERY = [
    *(kind(FAMILY, ac.MLP) for kind in REMOVALS),
    *(kind(FAMILY, ac.ATTN, ac.LATE) for kind in REMOVALS),
    *(kind(ac.CURRENT, ac.MLP, recomputed=True) for kind in REMOVALS[1:]),
    *(ac.matched_mass(kind(ac.CURRENT, ac.MLP)) for kind in REMOVALS),
    *(ac.matched_count(kind(ac.CURRENT, ac.ATTN, ac.LATE), draws=2) for kind in REMOVALS),
    *(ac.random_sites(kind(ac.CURRENT, ac.MLP, ac.LATE)) for kind in REMOVALS),
    *(ac.keep_top(1, ac.ATTN), ac.keep_top(2, ac.MLP), ac.keep_top(2, ac.ATTN, ac.LATE)),
    *(kind(ac.MLP) for kind in (ac.uniform, ac.average, ac.schedule)),
    *(kind(ac.ATTN, ac.LATE) for kind in (ac.uniform, ac.average, ac.schedule)),
    *(ac.drop(ac.CURRENT & ac.EMBEDDING, ac.MLP, ac.LATE), ac.shuffle(ac.MLP, draws=2), ac.schedule(ac.ATTN, bias=1.5)),
    *(ac.amplify(FAMILY, ac.MLP, by=1.5), ac.amplify(ac.CURRENT, ac.ATTN, by=-2)),
    *(
        ac.sharpen(ac.MLP, by=2),
        ac.sharpen(ac.ATTN, ac.LATE, by=0.5),
        ac.keep_wired(1, ac.ATTN),
        ac.keep_wired(2, ac.MLP),
    ),
    *(ac.permute(ac.MLP, draws=2), ac.permute(ac.ATTN, ac.LATE, keeping=ac.CURRENT)),
    *(ac.interchange(FAMILY, ac.MLP, part=part) for part in (ac.STATES, ac.WEIGHTS, ac.BOTH)),
    *(ac.interchange(ac.OLDER, ac.ATTN, ac.LATE), ac.interchange(ac.CURRENT & FAMILY, ac.ATTN, part=ac.BOTH)),
    *(ac.interchange(ac.ANY, ac.ALL_SITES, part=part) for part in (ac.STATES, ac.WEIGHTS, ac.BOTH)),
    *(
        ac.optimal(FAMILY, ac.MLP, ac.LATE),
        ac.optimal(ac.CURRENT, ac.ATTN),
        ac.matched_mass(ac.optimal(FAMILY, ac.MLP)),
    ),
    *(ac.donor_gap(), ac.drop(FAMILY, ac.ALL_SITES, ac.LATE)),
    *(ac.drop(ac.CURRENT, ac.ATTN, ac.LATE, copies=True), ac.keep(ac.CURRENT, ac.ATTN), ac.keep(FAMILY, ac.MLP)),
    ac.drop(ac.CURRENT, ac.ATTN, via=ac.reads(ac.ANY, ac.MLP, ac.LATE)),
    *(ac.drop(FAMILY, ac.MLP, via=ac.reads(path, ac.ATTN)) for path in (ac.CURRENT, ac.RECENT & ac.OLDER)),
    ac.interchange(FAMILY, ac.MLP, ac.EARLY, via=ac.reads(ac.OLDER, ac.ALL_SITES)),
    ac.interchange(ac.ANY, ac.ATTN, part=ac.BOTH, via=ac.reads(ac.RECENT, ac.MLP)),
    ac.mean(FAMILY, ac.MLP, recomputed=True, via=ac.FINAL),
    ac.matched_mass(ac.drop(ac.CURRENT, ac.MLP, via=ac.reads(ac.ANY, ac.ATTN))),
]
DELTAS = [
    *(kind(ac.RECENT, ac.MLP) for kind in REMOVALS),
    *(kind(ac.OLDER, ac.ATTN, ac.LATE) for kind in REMOVALS),
    *(kind(ac.RECENT, ac.ATTN, recomputed=True) for kind in REMOVALS[1:]),
    *(kind(ac.NULL, ac.ATTN) for kind in REMOVALS),
    *(kind(ac.EMBEDDING & ac.RECENT & ac.OLDER & ac.NULL, ac.MLP) for kind in REMOVALS),  # everything
    *(ac.matched_mass(kind(ac.RECENT, ac.MLP, ac.LATE)) for kind in REMOVALS),
    *(ac.matched_count(kind(ac.RECENT, ac.ATTN, ac.LATE), draws=2) for kind in REMOVALS),
    *(ac.random_sites(kind(ac.RECENT, ac.MLP, ac.LATE)) for kind in REMOVALS),
    ac.optimal(ac.EMBEDDING & ac.RECENT & ac.OLDER & ac.NULL, ac.MLP),
    *(ac.keep(ac.RECENT, ac.MLP), ac.keep(ac.OLDER, ac.ATTN, ac.LATE), ac.amplify(ac.RECENT, ac.MLP, by=1.5)),
    *(ac.drop(ac.RECENT, ac.MLP, via=ac.reads(path, ac.ATTN)) for path in (ac.CURRENT, ac.RECENT)),
    ac.zero(ac.RECENT & ac.OLDER, ac.ATTN, via=ac.FINAL),
]
"""Where the current state is no source: a site may lose all that it has."""


def newest(model):
    """The family of a site's last source: the current state, or the newest delta where that is no source."""
    return ac.RECENT if any(site.adds_to_state for site in model.sites) else ac.CURRENT


def donors_of(prompts, model):
    """A donor for every prompt: other tokens everywhere but at the end."""
    size = model.network.vocabulary
    return [[(token + 1 + pos % (size - 2)) % size for pos, token in enumerate(row[:-1])] + row[-1:] for row in prompts]


def applicable(model, ablations=(*EVERY, *DELTAS)):
    """The ablations that this model has sites for."""
    if ablations == (*EVERY, *DELTAS) and not any(site.adds_to_state for site in model.sites):
        ablations = EVERY
    found = []
    for what in ablations:
        try:
            drawn(what, model.sites, model.num_layers)
        except (NotApplicable, ValueError):
            continue
        found.append(what)
    return found


def scores(clean, ablated, tokens):
    before, after = (logits[:-1].double().log_softmax(-1) for logits in (clean, ablated))
    target = torch.tensor(tokens[1:])[:, None]
    rise = (before.gather(1, target) - after.gather(1, target)).mean()
    return rise.item(), (before.exp() * (before - after)).sum(-1).mean().item()
