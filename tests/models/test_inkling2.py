"""`inkling2` against `transformers`' own forward: as it is, padded, in half precision, and ablated."""

import json
import sys

import numpy as np
import pytest
import torch
from support.checkpoint_copies import write_tokenizer
from support.every_kind import EVERY, REMOVALS, applicable, donors_of, scores
from support.inkling2_models import SHAPES, VOCABULARY, inkling2_library, save_inkling2
from support.naive import Naive
from support.small_suite import verdicts
from transformers.models.inkling2 import modeling_inkling2 as library

import attnres_core as ac
from attnres_core.models.dialects.inkling2 import STREAMS
from attnres_core.models.networks.routing import PseudoQuery

STREAMED = [
    *(kind(ac.EMBEDDING, ac.ATTN, stream=stream) for kind in REMOVALS for stream in STREAMS),
    *(kind(ac.CURRENT, ac.ATTN, recomputed=True, stream="v") for kind in REMOVALS[1:]),
    *(ac.matched_mass(kind(ac.CURRENT, ac.ATTN, stream="k")) for kind in REMOVALS),
    *(ac.matched_count(kind(ac.CURRENT, ac.ATTN, stream="q"), draws=2) for kind in REMOVALS),
    *(kind(ac.ATTN, stream=stream) for kind in (ac.uniform, ac.average, ac.schedule) for stream in STREAMS),
    *(ac.shuffle(ac.ATTN, stream="k"), ac.keep(ac.CURRENT, ac.ATTN, stream="v")),
    *(ac.amplify(ac.CURRENT, ac.ATTN, by=2, stream=stream) for stream in STREAMS),
    *(ac.drop(ac.CURRENT, ac.FINAL), ac.mean(ac.EMBEDDING, ac.FINAL)),
]


class Library(Naive):
    """The library's own forward pass, with nothing of ours but the plain reading at its sites."""

    def __init__(self, model, network, reference, monkeypatch):
        self.library = network
        super().__init__(model, reference, monkeypatch)

    def run(self, tokens, intervention):
        found, sites = {}, iter(self.model.sites)

        def forward(module, block_states, partial_block_states):
            stacked = module.norm(torch.cat([block_states, partial_block_states.unsqueeze(-2)], dim=-2).float())
            states = stacked[0].transpose(0, 1)  # (source, pos, d)
            mixtures = []
            for query in module.query.view(-1, states.shape[-1]) * states.shape[-1] ** -0.5:
                site = next(sites)
                weights, mixture = self.read(site, states, None, PseudoQuery(query), tokens, intervention)
                found[site] = (states, weights)
                mixtures.append(mixture[None])
            return tuple(mixtures)

        with self.patch.context() as patch, torch.inference_mode():
            patch.setattr(library.Inkling2BlockAttentionResidual, "forward", forward)
            return self.library(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0], found


@pytest.fixture(scope="module", params=SHAPES)
def pair(request, tmp_path_factory):
    """The library's model and ours, from the same files."""
    network = inkling2_library(request.param)
    return network, ac.load_model(save_inkling2(tmp_path_factory.mktemp("inkling2"), network))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, VOCABULARY, (3, 17), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in (9, 5, 2)]


@pytest.fixture(scope="module")
def reference():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in (7, 4, 7)]


def test_logits_are_the_library_s(pair, ids):
    network, model = pair
    with torch.inference_mode():
        expected = network(input_ids=ids, use_cache=False).logits
    assert expected.std() > 0.1
    assert (model.logits(ids) - expected).abs().max() <= 1e-6


def test_large_weights_give_the_library_s_logits(tmp_path, ids):
    """Where attention, convolutions and experts all have much to say."""
    network = inkling2_library("hybrid", std=0.4)
    model = ac.load_model(save_inkling2(tmp_path, network))
    with torch.inference_mode():
        expected = network(input_ids=ids, use_cache=False).logits
    assert expected.std() > 1
    assert (model.logits(ids) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(pair, ids, side):
    network, model = pair
    pad = torch.full((3, 4), 7)
    padded = torch.cat([pad, ids] if side == "left" else [ids, pad], 1)
    mask = torch.cat([pad * 0, ids * 0 + 1] if side == "left" else [ids * 0 + 1, pad * 0], 1)
    own = slice(4, None) if side == "left" else slice(0, 17)
    assert (model.logits(padded, mask)[:, own] - model.logits(ids)).abs().max() < 1e-5
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        expected = network(input_ids=padded, attention_mask=mask, position_ids=positions, use_cache=False).logits
    assert (model.logits(padded, mask)[:, own] - expected[:, own]).abs().max() <= 2e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_library_s(tmp_path, ids, dtype):
    """The same tensors stay in float32, and states are rounded at the same places."""
    folder = tmp_path / "saved"
    inkling2_library("hybrid").save_pretrained(folder)
    network = library.Inkling2ForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model = ac.load_model(folder, dtype=dtype)
    kinds = {name: parameter.dtype for name, parameter in network.named_parameters()}
    assert {name: parameter.dtype for name, parameter in model.network.named_parameters()} == kinds
    with torch.inference_mode():
        expected = network(input_ids=ids, use_cache=False).logits
    distance = (model.logits(ids) - expected).abs()
    full = (ac.load_model(folder).logits(ids) - expected).abs()
    assert distance.mean() < full.mean() / 4
    for weights in model.depth_weights(ids).values():
        assert weights.dtype is torch.float32
        assert torch.allclose(weights.sum(0), torch.ones(weights.shape[1:]), atol=1e-6)


def test_sites_are_the_library_s_calls(pair, ids, monkeypatch):
    """As many sources at each, three streams in full attention, none at the first layer's attention."""
    network, model = pair
    calls = []
    original = library.Inkling2BlockAttentionResidual.forward

    def forward(module, block_states, partial):
        streams = 1 if module.query.ndim == 1 else len(module.query)
        calls.extend([block_states.shape[-2] + 1] * streams)
        return original(module, block_states, partial)

    monkeypatch.setattr(library.Inkling2BlockAttentionResidual, "forward", forward)
    with torch.inference_mode():
        network(input_ids=ids, use_cache=False)
    assert [len(site.sources) for site in model.sites] == calls
    assert "0.attn" not in map(str, model.sites)
    full = {layer for layer, kind in enumerate(network.config.layer_types) if kind == "hybrid" and layer}
    assert {site.layer for site in model.sites if site.stream} == full
    assert str(model.sites[-1]) == f"{model.num_layers}.final"


def test_depth_weights_are_the_library_s(pair, prompts, reference, monkeypatch):
    network, model = pair
    _, found = Library(model, network, reference, monkeypatch).run(prompts[0], None)
    weights = model.depth_weights(torch.tensor([prompts[0]]))
    assert set(weights) == set(found)
    for site, (_, expected) in found.items():
        assert (weights[site][:, 0] - expected).abs().max() < 3e-6, site


@pytest.mark.parametrize("name", ["hybrid", "full_from_the_start", "long_context_scaling"])
def test_ablated_logits_are_the_library_s_read_plainly(name, tmp_path, prompts, reference, monkeypatch):
    """Every kind, on all streams and on each, with padding on the left."""
    network = inkling2_library(name, std=0.2)
    model = ac.load_model(save_inkling2(tmp_path, network))
    plain = Library(model, network, reference, monkeypatch)
    every = applicable(model, [*EVERY, *STREAMED])
    assert len(every) > 55
    width = max(map(len, prompts)) + 2
    ids, mask = torch.full((len(prompts), width), 3), torch.zeros(len(prompts), width, dtype=torch.long)
    for row, tokens in enumerate(prompts):
        ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(tokens), 1
    clean, moved = model.logits(ids, mask), 0
    for what in every:
        if what.draws > 1 or what.kind.spec.whole:
            continue
        found = model.logits(ids, mask, what, reference=reference, donors=donors_of(prompts, model))
        moved += (found - clean)[mask.bool()].abs().max() > 1e-3
        for row, tokens in enumerate(prompts):
            expected = plain.logits(tokens, what)
            assert (found[row, width - len(tokens) :] - expected).abs().max() < 1e-4, what
    assert moved > 50


def test_the_sweep_equals_the_library_read_plainly(tmp_path, prompts, reference, monkeypatch):
    """Resumed rows of one batch, against one full forward of the library's each."""
    network = inkling2_library("hybrid", std=0.2)
    model = ac.load_model(save_inkling2(tmp_path, network))
    plain = Library(model, network, reference, monkeypatch)
    every = applicable(model, [*EVERY, *STREAMED])
    columns = ac.measure(model, prompts, every, reference=reference, donors=donors_of(prompts, model), chunk=2)
    for what in every:
        for row, tokens in enumerate(prompts):
            clean = plain.run(tokens, None)[0]
            each = [scores(clean, plain.logits(tokens, what, draw), tokens)[0] for draw in range(what.draws)]
            assert columns[what][row] == pytest.approx(np.mean(each), abs=5e-5), what  # (logits within 3e-5)
        assert columns.record(what).sites or what.kind.spec.whole


CLAIMS = """
from attnres_core import ATTN, CURRENT, EMBEDDING, MLP, TRAINED, claim, drop, entropy, mass, resample

@claim(effect=drop(CURRENT, MLP).on(TRAINED), under=[drop, resample])
def test_all(effect):
    assert effect > -5

@claim(keys=drop(EMBEDDING, ATTN, stream="k").on(TRAINED), values=drop(EMBEDDING, ATTN, stream="v").on(TRAINED))
def test_streams(keys, values):
    assert abs(keys - values) < 5

@claim(mass=mass(CURRENT, ATTN).on(TRAINED), spread=entropy(MLP).on(TRAINED))
def test_weights(mass, spread):
    assert mass < 2
    assert spread < 9
"""


def test_a_suite_decides_claims_about_it(suite, pytester, micro, tmp_path):
    """From recognition to the report, the map beside it."""
    network = inkling2_library("hybrid", std=0.2, vocab_size=96, unpadded_vocab_size=96, max_position_embeddings=128)
    folder = save_inkling2(tmp_path / "ink", network)
    write_tokenizer(folder)
    suite("-n", "0", f"--attnres-trained={folder}", claims=CLAIMS)
    found = {name: entry["verdict"] for name, entry in verdicts(pytester).items()}
    assert found == dict.fromkeys(("test_all", "test_streams", "test_weights"), "SUPPORTED")
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    assert record["models"]["trained"]["dialect"] == "inkling2"
    assert record["models"]["wrapped"]["num_blocks"] == 3
    assert (pytester.path / "reports" / "latest.html").exists()
    map_of = ["map", str(folder), "--prompts", str(micro / "prompts.jsonl"), "--screen", "--out", "map.csv"]
    result = pytester.run(sys.executable, "-m", "attnres_core", *map_of)
    assert result.ret == 0
    assert "1.attn.k,1,attn,embedding" in (pytester.path / "map.csv").read_text()


def test_summaries_are_of_all_streams_or_of_one(tmp_path, prompts):
    model = ac.load_model(save_inkling2(tmp_path, inkling2_library("hybrid")))
    full = range(4, 5)  # one layer of full attention
    each = [ac.mass(ac.EMBEDDING, ac.ATTN, full, stream=stream) for stream in STREAMS]
    every = ac.mass(ac.EMBEDDING, ac.ATTN, full)
    others = [kind(ac.ATTN, stream="k") for kind in (ac.entropy, ac.peak, ac.spread)]
    columns = ac.measure(model, prompts, [*each, every, *others, ac.uniform_mass(ac.EMBEDDING, ac.ATTN, stream="v")])
    assert columns[every] == pytest.approx(np.mean([columns[one] for one in each], axis=0))
    assert columns.record(each[1]).sites == ("4.attn.k",)
    assert columns.record(others[0]).sites == ("1.attn.k", "4.attn.k", "6.attn.k")
    weights = model.depth_weights(torch.tensor([prompts[0]]))
    site = next(site for site in model.sites if str(site) == "4.attn.v")
    assert columns[each[2]][0] == pytest.approx(float(weights[site][0, 0, :-1].mean()), abs=1e-6)
    assert str(each[0]) == "mass(embedding, attn, layers 4-4, stream q)"
    with pytest.raises(ac.NotApplicable, match="no attn site of stream 'q' in layers 2-2 has more than one source"):
        ac.measure(model, prompts, [ac.uniform(ac.ATTN, range(2, 3), stream="q")])


def test_a_stream_s_ablation_touches_its_sites_alone(tmp_path, ids):
    model = ac.load_model(save_inkling2(tmp_path, inkling2_library("hybrid")))
    for stream in STREAMS:
        what = ac.uniform(ac.ATTN, stream=stream)
        clean, ablated = model.depth_weights(ids), model.depth_weights(ids, ablation=what)
        first = min(site.layer for site in model.sites if site.stream)
        for site in model.sites:
            if site.layer == first and site.sublayer is ac.ATTN:
                changed = not torch.equal(clean[site], ablated[site])
                assert changed == (site.stream == stream), site
    with pytest.raises(ac.NotApplicable, match="no attn site in the all band has a stream 'x'"):
        model.logits(ids, ablation=ac.drop(ac.CURRENT, ac.ATTN, stream="x"))
