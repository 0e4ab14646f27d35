"""How far ablated reads lie from clean ones: by hand, of a sham, and against a loop over all pairs of reads."""

import numpy as np
import pytest
import torch

import attnres_core as ac
from attnres_core.engine.distances import CleanReads
from attnres_core.engine.scoring import Batch
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.models.networks.routing import Read
from attnres_core.quantities.intervention import SHAM, resolve
from attnres_core.quantities.vocabulary import SiteKey, Sublayer

SITE = SiteKey(0, Sublayer.MLP, None)


def read(angles):
    """Reads `[prompt, pos, 2]` in these directions, of several lengths, which do not count."""
    degrees = torch.tensor(angles).deg2rad()[..., None]
    return torch.cat([degrees.cos(), degrees.sin()], -1) * (1 + torch.arange(degrees.shape[1])[:, None])


def test_by_hand():
    """Two prompts of two scored positions. Clean reads are 2, 4 and 2, 4 degrees from the other prompt's nearest."""
    reads = CleanReads(Batch.of([[1, 2, 3], [1, 2, 3]], torch.device("cpu")))
    clean = read([[0.0, 10.0, 0.0], [2.0, 14.0, 0.0]])
    reads(SITE, [], Read(clean, clean, clean))
    assert reads.beyond(SITE, clean).tolist() == [[0, 0, 0], [0, 0, 0]]
    ablated = read([[8.0, 14.0, 90.0], [9.5, 30.0, 90.0]])
    assert reads.beyond(SITE, ablated).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("folder", ["kimi_block_14", "delta_34"])
def test_the_share_is_that_of_a_loop_over_reads(folder, conformance):
    model = ac.load_model(conformance / folder)
    rows = [np.random.default_rng(n).integers(0, 96, n).tolist() for n in (9, 5, 12)]
    drop = resolve(ac.drop(ac.EMBEDDING, ac.MLP, ac.LATE), model.sites, model.num_layers)
    found = sweep_chunk(model, rows, [drop, SHAM], distances=True)
    clean, ablated = (
        [mixtures(model, row, what) for row in rows] for what in (None, ac.drop(ac.EMBEDDING, ac.MLP, ac.LATE))
    )
    shares = []
    for site, _ in drop.touched:
        own = [nearest(r, clean, prompt, site) for prompt, each in enumerate(clean) for r in each[site]]
        limit = torch.tensor(own).quantile(0.99)
        far = [[nearest(r, clean, prompt, site) > limit for r in each[site]] for prompt, each in enumerate(ablated)]
        shares.append([np.mean(each) for each in far])
    assert found[drop.key]["beyond"] == pytest.approx(np.mean(shares, axis=0), abs=1e-6)
    assert "beyond" not in sweep_chunk(model, rows, [drop])[drop.key]


def mixtures(model, row, ablation):
    """What one prompt's scored positions read, by site, `[pos, d]`."""
    found, network, ids = {}, model.network, torch.tensor([row])
    overrides = model._overrides(ablation, ids, None, None, None)
    with torch.inference_mode():
        network.run(
            network.begin(ids),
            network.prepare(ids),
            overrides=overrides,
            observe=lambda key, sources, read: found.__setitem__(model.site_at(key), read.mixture[0, :-1]),
        )
    return found


def nearest(read, clean, prompt, site):
    others = [other for index, each in enumerate(clean) if index != prompt for other in each[site]]
    return min(1 - torch.cosine_similarity(read, other, dim=0).item() for other in others)


def test_it_stands_in_the_record_and_one_prompt_alone_has_none(conformance):
    model = ac.load_model(conformance / "open_block_11")
    rows = np.random.default_rng(0).integers(0, 96, (6, 9)).tolist()
    drop = ac.drop(ac.EMBEDDING, ac.MLP)
    assert 0 <= ac.measure(model, rows, [drop]).record(drop).beyond <= 1
    assert np.isnan(ac.measure(model, rows[:1], [drop]).record(drop).beyond)
