"""An adapter on other people's models gives what our own dialects give on the same weights."""

import sys

import numpy as np
import pytest
import torch
from support import foreign_models
from support.checkpoint_copies import refusal, rewrite
from support.every_kind import EVERY, applicable, donors_of, scores
from support.foreign_models import FLA_NAMES, KIMI_NAMES, FLAConfig, FLALike, KimiLike, with_weights_of
from support.inkling2_models import VOCABULARY, inkling2_library, save_inkling2
from support.naive import Naive
from test_inkling2 import STREAMED
from transformers.models.inkling2 import modeling_inkling2 as library

import attnres_core as ac
from attnres_core.exploration.screening import screen
from attnres_core.models.adapters.adapter import site_of
from attnres_core.models.adapters.foreign import FLA, KIMI_K3
from attnres_core.models.dialects.inkling2 import STREAMS
from attnres_core.models.networks.routing import PseudoQuery, SiteOverride

FLA_CALL = ac.RoutingCall(foreign_models, FLA.call, FLA.describe)
KIMI_CALL = ac.RoutingCall(foreign_models, KIMI_K3.call, KIMI_K3.describe)


@pytest.fixture(scope="module")
def kimi_block(conformance):
    return ac.load_model(conformance / "kimi_block_14")


def fla_like(kimi_block, **changes):
    config = FLAConfig(**{**kimi_block.network.config.to_dict(), "attnres_block_size": 4, **changes})
    config._attn_implementation = "sdpa"
    return with_weights_of(FLALike(config), kimi_block, FLA_NAMES)


def kimi_like(kimi_block):
    return with_weights_of(KimiLike(kimi_block.network.config, 2), kimi_block, KIMI_NAMES)


def adapted(network, *calls, **options):
    return ac.adapt(network, *calls, vocabulary=96, context=128, **options)


@pytest.fixture(scope="module", params=["fla", "kimi_k3"])
def model(request, kimi_block):
    if request.param == "fla":
        return adapted(fla_like(kimi_block), FLA_CALL)
    return adapted(kimi_like(kimi_block), KIMI_CALL)


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 96, (n,), generator=generator).tolist() for n in (8, 5, 2)]


@pytest.fixture(scope="module")
def reference():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 96, (n,), generator=generator).tolist() for n in (7, 4, 7)]


def choosing(model):
    """Sites where there is a choice: other code makes no call where there is none."""
    return [site for site in model.sites if len(site.sources) > 1]


def test_sites_are_those_of_the_dialect(model, kimi_block):
    assert list(model.sites) == choosing(kimi_block)
    assert model.num_layers == kimi_block.num_layers


def test_logits_weights_and_ablated_logits_are_those_of_the_dialect(model, kimi_block, reference):
    ids = torch.arange(24).reshape(2, 12)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    real = mask.bool()
    donors = donors_of([row[own].tolist() for row, own in zip(ids, real, strict=True)], model)
    assert (model.logits(ids, mask) - kimi_block.logits(ids, mask))[real].abs().max() < 1e-5
    theirs, ours = model.depth_weights(ids), kimi_block.depth_weights(ids)
    for site in model.sites:
        assert (theirs[site] - ours[site]).abs().max() < 3e-6, site
    for what in applicable(model):
        if what.draws == 1 and not what.kind.spec.whole and what in applicable(kimi_block):
            given = {"reference": reference, "donors": donors}
            found, expected = (each.logits(ids, mask, what, **given) for each in (model, kimi_block))
            # (Adam divides by a gradient's size: rounding of one near zero moves the constants that are fitted)
            assert (found - expected)[real].abs().max() < (2e-4 if what.kind.spec.fitted else 2e-5), what


def test_columns_and_records_are_those_of_the_dialect(model, kimi_block, prompts, reference):
    """Though a whole forward pass each, without resuming; controls and draws, too."""
    every = [what for what in applicable(model) if what in applicable(kimi_block)]
    every += [ac.mass(ac.OLDER, ac.ATTN), ac.entropy(ac.MLP), ac.mass_and_effect("pearson", ac.MLP)]
    wanted = [*every, *(what.on(ac.TRAINED, metric=ac.KL) for what in every if what.kind == "drop")]
    given = {"reference": reference, "donors": donors_of(prompts, model)}
    theirs, ours = (ac.measure(each, prompts, wanted, **given) for each in (model, kimi_block))
    for what in wanted:
        assert theirs[what] == pytest.approx(ours[what], abs=1e-5), what
        assert theirs.record(what).sites == ours.record(what).sites
        assert theirs.record(what).kept_mass == pytest.approx(ours.record(what).kept_mass, abs=1e-5, nan_ok=True)


def test_screening_takes_what_is_read_to_first_order(model, kimi_block, prompts):
    """No sublayer is at hand: the slope of the dialect's loss as the weights move towards the drop's."""
    ids, network = torch.tensor(prompts[:1]), kimi_block.network
    natural = {site.key: weights for site, weights in kimi_block.depth_weights(ids).items()}

    def loss(key, weights):
        override = {key: SiteOverride(rewrites=((slice(0, 1), lambda _: weights),))}
        with torch.inference_mode():
            hidden = network.run(network.begin(ids), network.prepare(ids), overrides=override)
            logits = network.unembed(hidden)[0, :-1].double()
            return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))

    tried = 0
    for number, ((site, family), column) in enumerate(screen(model, prompts[:1]).items()):
        if number % 5 or len(site.sources) < 2:
            continue
        weights, step = natural[site.key], 0.01
        dropped = [place for place, member in enumerate(site.sources) if member is family]
        target = weights / (1 - weights[dropped].sum(0))
        target[dropped] = 0
        up, down = (loss(site.key, weights + sign * step * (target - weights)) for sign in (1, -1))
        assert column[0] == pytest.approx((up - down) / (2 * step), rel=0.05, abs=5e-5), (str(site), family)
        tried += abs(column[0]) > 1e-3
    assert tried > 2


class Own(Naive):
    """The model's own forward pass with its routing function read plainly."""

    def run(self, tokens, intervention):
        found, sites = {}, iter(self.model.sites)

        def read(query, residuals, rms_weight, output_rms_weight=None, rms_eps=1e-6):
            site, states = next(sites), torch.stack([state[0] for state in residuals])
            scoring = PseudoQuery(query[0] * rms_weight)
            weights, mixture = self.read(site, states, rms_eps, scoring, tokens, intervention)
            found[site] = (states, weights)
            if output_rms_weight is not None:
                mixture = mixture / (mixture.pow(2).mean(-1, keepdim=True) + rms_eps).sqrt() * output_rms_weight
            return mixture[None]

        with self.patch.context() as patch, torch.inference_mode():
            patch.setattr(foreign_models, "fused_attnres", read)
            return self.model.network.network(torch.tensor([list(tokens)]))[0], found


def test_blocks_that_end_inside_a_layer_are_read_as_the_model_reads_them(kimi_block, prompts, reference, monkeypatch):
    """Three sublayers a block: no dialect of ours, so against the model's own forward, read plainly."""
    model = adapted(fla_like(kimi_block, attnres_block_size=3), FLA_CALL)
    sources = {str(site): len(site.sources) for site in model.sites}
    assert [sources[name] for name in ("0.mlp", "1.attn", "1.mlp", "2.attn", "2.mlp", "3.attn")] == [2, 2, 2, 3, 3, 3]
    every = applicable(model, EVERY)
    columns = ac.measure(model, prompts, every, reference=reference, donors=donors_of(prompts, model))
    plain = Own(model, reference, monkeypatch)
    for what in every:
        for row, tokens in enumerate(prompts):
            clean = plain.run(tokens, None)[0]
            each = [scores(clean, plain.logits(tokens, what, draw), tokens)[0] for draw in range(what.draws)]
            assert columns[what][row] == pytest.approx(np.mean(each), abs=1e-5), what


def describe_inkling2(module, block_states, partial_block_states):
    """The library's routing module: normalised sources, one to three queries."""
    stacked = torch.cat([block_states, partial_block_states.unsqueeze(-2)], dim=-2).float()
    states = module.norm(stacked).unbind(-2)
    queries = module.query.view(-1, stacked.shape[-1]) * stacked.shape[-1] ** -0.5
    names = STREAMS if len(queries) > 1 else (None,)
    return [ac.Asked(states, query, None, module.query, name) for query, name in zip(queries, names, strict=True)]


def test_an_adapter_on_transformers_inkling2_is_our_inkling2(tmp_path):
    """Streams, and a softcap after the head, which makes logits what is kept."""
    network = inkling2_library("hybrid", std=0.2)
    own = ac.load_model(save_inkling2(tmp_path, network))
    call = ac.RoutingCall(library.Inkling2BlockAttentionResidual, "forward", describe_inkling2)
    words = {"vocabulary": VOCABULARY, "context": 64, "site": inkling2_site}
    with pytest.raises(ac.AdapterError, match="not those of its head 'lm_head' alone; give head=None"):
        ac.adapt(network, call, **words)
    model = ac.adapt(network, call, head=None, **words)
    assert model.sites == own.sites
    tokens = [[1, 2, 3, 4, 5, 6], [7, 8, 9], [10, 11]]
    every = [what for what in applicable(own, [*EVERY, *STREAMED]) if not what.via]
    theirs, ours = (ac.measure(each, tokens, every, donors=donors_of(tokens, own)) for each in (model, own))
    for what in every:
        assert theirs[what] == pytest.approx(ours[what], abs=1e-5), what


def inkling2_site(name):
    *_, layer, site, _ = ("", "", *name.split("."))
    if site == "final_input":
        return None, ac.FINAL
    return int(layer), ac.ATTN if site == "attention_input" else ac.MLP


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_call_that_is_never_made_is_refused(kimi_block):
    with pytest.raises(ac.AdapterError, match=r"no routing call was seen \(.*_apply_attn_res\); name what the model"):
        adapted(fla_like(kimi_block), KIMI_CALL)
    with pytest.raises(ac.AdapterError, match=r"no routing call was seen \(none given\)"):
        adapted(fla_like(kimi_block))


def wrong(**changes):
    """FLA's call described with one thing wrong."""

    def describe(*given, **named):
        asked = FLA.describe(*given, **named)
        fields = {name: getattr(asked, name) for name in asked.__slots__}
        return ac.Asked(**{**fields, **{name: change(asked) for name, change in changes.items()}})

    return ac.RoutingCall(foreign_models, FLA.call, describe)


@pytest.mark.parametrize(
    "changes",
    [
        {"query": lambda asked: asked.query * 2},
        {"sources": lambda asked: asked.sources[:-1]},
        {"eps": lambda asked: 10.0},
        {"eps": lambda asked: None},
        {"finish": lambda asked: None},
        {"recency_bias": lambda asked: torch.tensor(1.0)},
    ],
    ids=["query", "sources", "eps", "no eps", "finish", "bias"],
)
def test_a_wrong_description_is_refused_and_the_site_named(kimi_block, changes):
    with pytest.raises(ac.AdapterError, match=r"at layer 0's mlp the mixture as described is .* from the model's own"):
        adapted(fla_like(kimi_block), wrong(**changes))


def test_a_parameter_that_is_not_the_model_s_is_refused(kimi_block):
    call = wrong(parameter=lambda asked: torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(ac.AdapterError, match="gives a `parameter` that is not in the model"):
        adapted(fla_like(kimi_block), call)


def test_two_reads_of_one_site_are_refused(kimi_block):
    network = fla_like(kimi_block)
    first = network.model.layers[0].mlp_res_proj.weight
    with pytest.raises(ac.AdapterError, match="two reads are of layer 0's mlp; give each its own"):
        adapted(network, wrong(parameter=lambda asked: first))


def test_a_name_that_says_no_sublayer_is_refused(kimi_block):
    with pytest.raises(ac.AdapterError, match=r"'layers.0.mixer.weight' says neither attention nor MLP"):
        adapted(fla_like(kimi_block), FLA_CALL, site=lambda name: site_of("layers.0.mixer.weight"))


def test_the_model_is_left_as_it_was(kimi_block):
    network, function = fla_like(kimi_block), foreign_models.fused_attnres
    ids = torch.arange(6)[None]
    before = network(ids)
    model = adapted(network, FLA_CALL)
    model.logits(ids, ablation=ac.drop(ac.CURRENT, ac.MLP))
    assert foreign_models.fused_attnres is function
    assert torch.equal(network(ids), before)
    with pytest.raises(ValueError, match="ids run from 0 to 95"):
        model.logits(torch.tensor([[96]]))
    assert foreign_models.fused_attnres is function


def test_prompts_as_text_need_a_tokenizer(kimi_block, micro):
    prompts = ac.load_prompts(micro / "prompts.jsonl").part("exploration")
    what = ac.drop(ac.CURRENT, ac.MLP)
    with pytest.raises(ValueError, match="`adapted` has no tokenizer; give adapt"):
        ac.measure(adapted(fla_like(kimi_block), FLA_CALL), prompts, [what])
    given = adapted(fla_like(kimi_block), FLA_CALL, tokenizer=micro / "kimi" / "tokenizer.json")
    expected = ac.measure(ac.load_model(micro / "kimi"), prompts, [what])
    assert ac.measure(given, prompts, [what])[what] == pytest.approx(expected[what], abs=1e-5)


# Checkpoints of other packages ----------------------------------------------------------------------------------------


@pytest.fixture
def fla_folder(kimi_block, tmp_path):
    fla_like(kimi_block).save_pretrained(tmp_path / "fla")
    return tmp_path / "fla"


def test_what_needs_a_package_that_is_not_here_says_so(fla_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fla", None)
    found, remedy = refusal(fla_folder)
    assert found == "a FLA checkpoint (attnres_block_size)"
    assert remedy.startswith(
        "FLA models need the package `fla`, which is not installed (pip install 'attnres-core[fla]'"
    )
    assert remedy.endswith("can be read by ac.adapt: help(attnres_core.adapt), docs/adapters.md.")


@pytest.mark.parametrize("changes", [{"attn_res_block_size": 2}, {"text_config": {"attn_res_block_size": 2}}, {}])
def test_a_kimi_k3_checkpoint_is_known_by_its_config_or_its_tensors(copy, changes):
    folder = copy("kimi_block_14", model_type="kimi_k3", **changes)
    if not changes:
        name = "model.final_res_proj.weight"
        rewrite(folder, lambda tensors: tensors.update({"model.output_attn_res_proj.weight": tensors.pop(name)}))
    found, remedy = refusal(folder)
    assert found == "a Kimi-K3-shaped checkpoint (attn_res_block_size)"
    if reason := KIMI_K3.missing():
        assert remedy.startswith(reason)
        assert "code from the model hub is never run" in reason
