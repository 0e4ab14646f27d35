"""The conformance kit passes what conforms, and each of its checks catches an adapter that is broken in its way."""

import dataclasses
from pathlib import Path

import pytest
import torch
from support import foreign_models
from support.foreign_models import FLA_NAMES, KIMI_NAMES, FLAConfig, FLALike, KimiLike, with_weights_of
from support.inkling2_models import SHAPES, inkling2_library, save_inkling2
from support.random_models import KINDS, random_model

import attnres_core as ac
from attnres_core.models.adapters import adapter
from attnres_core.models.adapters.foreign import FLA, KIMI_K3
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import families
from attnres_core.models.dialects.wrapped import Wrapped
from attnres_core.models.geometry import Outline
from attnres_core.models.networks import network
from attnres_core.models.networks.routing import PseudoQuery, Source
from attnres_core.testing import CHECKS, Nonconforming, check_adapter


@pytest.fixture(scope="module")
def kimi_block(conformance):
    return ac.load_model(conformance / "kimi_block_14")


@pytest.fixture
def adapted(kimi_block):
    module = with_weights_of(KimiLike(kimi_block.network.config, 2), kimi_block, KIMI_NAMES)
    call = ac.RoutingCall(foreign_models, KIMI_K3.call, KIMI_K3.describe)
    return ac.adapt(module, call, vocabulary=96, context=128)


@pytest.mark.parametrize("kind", [*KINDS, Wrapped], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("layers", "blocks"), [(1, 1), (5, 2), (4, 4)])
def test_every_dialect_conforms(kind, layers, blocks):
    assert len(check_adapter(random_model(kind(layers, blocks), seed=1))) == len(CHECKS)


@pytest.mark.parametrize("folder", ["open_block_11", "open_full_13", "open_reset_12", "kimi_block_14"])
def test_every_conformance_checkpoint_conforms(conformance, folder):
    check_adapter(ac.load_model(conformance / folder))


def test_a_wrapped_checkpoint_conforms(conformance):
    check_adapter(ac.load_model(conformance / "vanilla_21", wrap=3.0, num_blocks=3))


@pytest.mark.parametrize("name", SHAPES)
def test_inkling2_conforms(tmp_path, name):
    check_adapter(ac.load_model(save_inkling2(tmp_path, inkling2_library(name))))


def test_an_adapted_model_conforms(adapted):
    check_adapter(adapted)


@pytest.mark.parametrize("sublayers", [1, 3, 4])
def test_an_adapted_model_of_fla_s_structure_conforms(kimi_block, sublayers):
    config = FLAConfig(**{**kimi_block.network.config.to_dict(), "attnres_block_size": sublayers})
    config._attn_implementation = "sdpa"
    call = ac.RoutingCall(foreign_models, FLA.call, FLA.describe)
    module = with_weights_of(FLALike(config), kimi_block, FLA_NAMES)
    check_adapter(ac.adapt(module, call, vocabulary=96, context=128))


def failing(model):
    """The checks that fail, with their messages."""
    with pytest.raises(Nonconforming) as caught:
        check_adapter(model)
    found = {}
    for failure in caught.value.failures:
        name, _, text = failure.partition(": ")
        found[name] = found.get(name, "") + text + "\n"
    return found


def relisted(model, change):
    """The model with other sites than it has."""
    sites = tuple(change(site) for site in model.sites)
    return type(model)(dataclasses.replace(outline_of(model), sites=sites), model.network)


def outline_of(model):
    return Outline("broken", "broken", model.sites, model.num_layers, 128)


def test_sites_with_wrong_families_fail(kimi_block):
    turned = relisted(kimi_block, lambda site: dataclasses.replace(site, sources=site.sources[::-1]))
    found = failing(turned)["sites_are_well_formed"]
    assert "expected the families embedding, current, found current, embedding" in found


def test_sites_listed_twice_or_backwards_fail(kimi_block):
    outline = dataclasses.replace(outline_of(kimi_block), sites=(*kimi_block.sites, kimi_block.sites[0]))
    found = failing(type(kimi_block)(outline, kimi_block.network))["sites_are_well_formed"]
    assert "expected every site once, found 2 at" in found
    assert "expected sites in forward order, found 0.attn after layer 8" in found


def test_a_site_that_is_not_listed_and_one_that_is_not_read_fail(kimi_block):
    def moved(site):
        return dataclasses.replace(site, stream="q") if str(site) == "3.mlp" else site

    found = failing(relisted(kimi_block, moved))["sites_are_well_formed"]
    assert "among the sites, found it read and not listed" in found
    assert "3.mlp.q: expected it to be read, found it listed and never read" in found


def test_sites_with_another_number_of_sources_fail(kimi_block):
    def more(site):
        return dataclasses.replace(site, sources=families(len(site.sources) + 1))

    assert "expected 3 sources, found 2 read" in failing(relisted(kimi_block, more))["sites_are_well_formed"]


def test_a_layer_that_is_not_there_fails(kimi_block):
    found = failing(relisted(kimi_block, lambda site: dataclasses.replace(site, layer=site.layer + 1)))
    assert "expected the layer of 9.final among [8], found 9" in found["sites_are_well_formed"]
    assert "expected the layer of 8.mlp among" in found["sites_are_well_formed"]


def test_copies_that_are_not_copies_fail(kimi_block):
    def copied(site):
        return dataclasses.replace(site, copies=((0, 1),)) if len(site.sources) > 1 else site

    assert "in `copies`" in failing(relisted(kimi_block, copied))["duplicates_are_found"]


def test_copies_that_are_not_listed_fail(conformance):
    model = ac.load_model(conformance / "open_full_13")
    unlisted = relisted(model, lambda site: dataclasses.replace(site, copies=()))
    assert "found none in `copies`" in failing(unlisted)["duplicates_are_found"]


def broken_route(monkeypatch, change):
    """The routing operation of the layered networks with one thing wrong."""
    original = network.route

    def route(sources, scoring, override=None, beside=None):
        return change(original, sources, scoring, override, beside)

    monkeypatch.setattr(network, "route", route)


@pytest.fixture
def fresh():
    return random_model(KimiBlock(5, 2), seed=1)


def test_weights_that_do_not_sum_to_one_fail(fresh, monkeypatch):
    def change(original, *given):
        read = original(*given)
        return read._replace(weights=read.weights * 1.01)

    broken_route(monkeypatch, change)
    assert "that sum to 1, found sums 1.01 to 1.01" in failing(fresh)["weights_sum_to_one"]


def test_weights_in_half_precision_fail(fresh, monkeypatch):
    broken_route(monkeypatch, lambda original, *given: (r := original(*given))._replace(weights=r.weights.double()))
    assert "expected weights float32" in failing(fresh)["weights_sum_to_one"]


def test_a_mixture_that_is_not_the_weighted_sum_fails(fresh, monkeypatch):
    def change(original, sources, *given):
        read = original(sources, *given)
        return read._replace(mixture=read.mixture + 0.1 * sources[0].state)

    broken_route(monkeypatch, change)
    assert "expected the weighted sum of the sources" in failing(fresh)["reads_are_mixtures"]


def test_an_override_that_changes_something_by_being_there_fails(fresh, monkeypatch):
    def change(original, sources, scoring, override, beside):
        return original(sources, scoring if override is None else PseudoQuery(scoring.query * 1.1), override, beside)

    broken_route(monkeypatch, change)
    assert "expected raising every logit by 0 to change nothing" in failing(fresh)["sham_is_the_identity"]


def test_a_drop_that_does_not_renormalise_fails(fresh, monkeypatch):
    def change(original, sources, scoring, override, beside):
        read = original(sources, scoring, override, beside)
        if override is None or override.logit_bias is None:
            return read
        kept = read.natural * (override.logit_bias == 0)
        return read._replace(weights=kept)

    broken_route(monkeypatch, change)
    assert "renormalised; found weights" in failing(fresh)["drop_renormalises"]


def test_a_drop_that_is_ignored_fails(fresh, monkeypatch):
    def change(original, sources, scoring, override, beside):
        clean, read = original(sources, scoring, None, beside), original(sources, scoring, override, beside)
        return read._replace(weights=clean.weights, mixture=clean.mixture)

    broken_route(monkeypatch, change)
    found = failing(fresh)
    assert "the clean weights without" in found["drop_renormalises"]
    assert "expected some drop to change the logits, found none" in found["drops_reach_the_logits"]


def test_what_is_read_and_not_used_fails(adapted, monkeypatch):
    """Weights and ablations look right at the site; the model goes on with its own mixture."""
    original = adapter._standing_in

    def aside(call, run, answer, change):
        return original(call, run, lambda asked: used(asked, answer), change)

    def used(asked, answer):
        answer(asked)
        states = [Source(state[None], asked.eps) for state in asked.sources]
        return adapter.route(states, PseudoQuery(asked.query)).mixture[0]

    monkeypatch.setattr(adapter, "_standing_in", aside)
    assert "what is read there is not what is used" in failing(adapted)["drops_reach_the_logits"]


def test_a_model_that_ignores_the_mask_fails(kimi_block):
    def forward(module, ids, mask):
        return module(ids)

    module = with_weights_of(KimiLike(kimi_block.network.config, 2), kimi_block, KIMI_NAMES)
    call = ac.RoutingCall(foreign_models, KIMI_K3.call, KIMI_K3.describe)
    model = ac.adapt(module, call, vocabulary=96, context=128, forward=forward)
    assert "expected padding on the left to change nothing" in failing(model)["padding_changes_nothing"]


def test_a_model_that_looks_ahead_fails(kimi_block, monkeypatch):
    def everywhere(config, rotary, embedded, mask):
        batch, length, _ = embedded.shape
        positions = torch.arange(length).expand(batch, -1)
        return rotary(embedded, positions), torch.ones(batch, 1, length, length, dtype=torch.bool)

    monkeypatch.setattr(foreign_models, "inputs_of", everywhere)
    module = with_weights_of(KimiLike(kimi_block.network.config, 2), kimi_block, KIMI_NAMES)
    call = ac.RoutingCall(foreign_models, KIMI_K3.call, KIMI_K3.describe)
    model = ac.adapt(module, call, vocabulary=96, context=128)
    with pytest.raises(Nonconforming, match="expected later tokens to change nothing before them"):
        check_adapter(model)


def test_a_network_that_resumes_from_the_wrong_state_fails(fresh, monkeypatch):
    original = type(fresh.network).run

    def run(self, stream, inputs, *, start=0, **options):
        if start:
            stream.completed = stream.completed[::-1]
        return original(self, stream, inputs, start=start, **options)

    monkeypatch.setattr(type(fresh.network), "run", run)
    found = failing(fresh)
    assert set(found) == {"resuming_equals_full_runs"}
    assert "of a whole run, found one" in found["resuming_equals_full_runs"]


def test_a_model_without_a_choice_fails():
    model = random_model(OpenBlock(1, 1), seed=1)
    alone = relisted(model, lambda site: dataclasses.replace(site, sources=(None,), copies=()))
    assert "all without a choice" in failing(alone)["sites_are_well_formed"]


def test_every_check_is_caught_failing():
    """The tests above name every check."""
    text = Path(__file__).read_text()
    for check in CHECKS:
        assert f'["{check.__name__}"]' in text, check.__name__
