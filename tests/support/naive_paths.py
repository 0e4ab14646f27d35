"""An ablation on a path as its definition says it: every state is a sum of what sublayers wrote.

Which outputs are in which state is found by solving for it. Then the model is run sublayer by sublayer: the readers'
states are summed with what the ablation changed of each output, everybody else's without.
"""

import dataclasses

import torch

import attnres_core as ac
from attnres_core.models.networks.routing import Source
from attnres_core.quantities.intervention import resolve
from attnres_core.quantities.vocabulary import SiteKey, parts


def logits_along(naive, tokens, ablation, draw=0):
    """`[pos, vocab]`."""
    model = naive.model
    network, dialect, layers = model.network, model.network.dialect, model.num_layers
    intervention = resolve(dataclasses.replace(ablation, via=None), model.sites, layers, draw)
    writers = {(site.layer, site.sublayer) for site, _ in intervention.touched}
    ids = torch.tensor([list(tokens)])
    inputs = network.prepare(ids)
    with torch.inference_mode():
        naive.sums = naive.sums or contents(naive, naive.reference[0])
        written, changes = {"embedding": network.begin(ids).state().state[0]}, {}

        def summed(counts, changed):
            total = sum(count * written[writer] for writer, count in counts.items())
            return total + sum(count * changes[w] for w, count in counts.items() if changed and w in changes)

        def reading(site, what):
            """(the site's mixture, beside the running state where that is read)."""
            seen = on_path(site, ablation.via, layers)
            states = [
                summed(own, i in seen) if isinstance(own, dict) else own.expand(len(tokens), -1)
                for i, own in naive.sums[site.key]
            ]
            eps = network.model.final_input.norm.eps if model.dialect == "inkling2" else network.key_eps
            if model.dialect == "inkling2":
                states = [state / (state.pow(2).mean(-1, keepdim=True) + eps).sqrt() for state in states]
                eps = None
            mixture = naive.read(site, torch.stack(states), eps, network.scoring(site.key), tokens, what)[1]
            everything = dict.fromkeys(written, 1)
            return mixture + summed(everything, len(states) in seen) if site.adds_to_state else mixture

        by_key = {site.key: site for site in model.sites}
        for layer in range(layers):
            for sublayer in (ac.ATTN, ac.MLP):
                names = [name for name in dialect.streams(layer, sublayer) if name not in dialect.unread_streams]
                own = [by_key[key] for name in names if (key := SiteKey(layer, sublayer, name)) in by_key]

                def output(what, layer=layer, sublayer=sublayer, own=own):
                    reads = [reading(site, what)[None] for site in own] or [written["embedding"][None]]
                    return network.write(layer, sublayer, reads, inputs).state[0]

                plain = output(None)
                if (layer, sublayer) in writers:
                    changes[layer, sublayer] = output(intervention) - plain
                written[layer, sublayer] = plain
        if dialect.has_readout:
            last = reading(model.sites[-1], None)
        else:
            running = ablation.via.sublayer in (ac.FINAL, ac.ALL_SITES) and ac.CURRENT in parts(ablation.via.family)
            last = summed(dict.fromkeys(written, 1), running)
        return network.unembed(network.normalise(last[None]))[0]


def on_path(site, via, layers):
    """The numbers of a site's sources that a path's readers read with what was changed in them."""
    if via.sublayer not in (site.sublayer, ac.ALL_SITES):
        return ()
    if via.layers is not ac.ALL and site.layer not in (
        via.layers if isinstance(via.layers, range) else via.layers.layers(layers)
    ):
        return ()
    families = [*site.sources, *([ac.CURRENT] if site.adds_to_state else [])]
    return [index for index, family in enumerate(families) if family in parts(via.family)]


def contents(naive, tokens):
    """By site, each source's number and how often every output is in it (a learned vector: itself)."""
    network, found, outputs = naive.model.network, {}, {}
    ids = torch.tensor([list(tokens)])

    def keep(key, sources, read):
        basis = torch.stack([state.flatten() for state in outputs.values()]).double()
        site = naive.model.site_at(key)
        found[key] = []
        for index, (source, family) in enumerate(zip(sources, site.sources, strict=True)):
            if family is ac.NULL:
                found[key].append((index, source.state[0, :1]))
                continue
            given = source.state.flatten().double()
            counts = torch.linalg.lstsq(basis.T, given).solution.round()
            assert torch.allclose(counts @ basis, given, atol=1e-3 * float(given.abs().max())), key
            found[key].append((index, {w: int(c) for w, c in zip(outputs, counts, strict=True) if c}))

    def wrote(layer, sublayer, read, inputs, output):
        outputs[layer, sublayer] = output.state[0].clone()

    with naive.patch.context() as patch:
        patch.setattr(Source, "normalised", property(lambda self: self))  # (so that states are sums as they are read)
        outputs["embedding"] = network.begin(ids).state().state[0]
        network.run(network.begin(ids), network.prepare(ids), observe=keep, after_write=wrote)
    return found
