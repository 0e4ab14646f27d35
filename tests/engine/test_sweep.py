"""The sweep equals the plain path; its records say what was touched."""

import numpy as np
import pytest
import torch
from support.every_kind import newest

import attnres_core as ac
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.planning.requests import resolved
from attnres_core.quantities.intervention import SHAM, NotApplicable
from attnres_core.quantities.vocabulary import Band, Family, Sublayer

FOLDERS = ("open_block_11", "kimi_block_14", "open_full_13", "open_reset_12", "vanilla_21")
FOLDERS += ("nanogpt_static_33", "fla_full_43", "delta_null_35", "delta_block_36", "delta_v_38", "block_v_39")


@pytest.fixture(scope="module")
def token_ids():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 96, (n,), generator=generator).tolist() for n in (20, 12, 20, 7, 2)]


@pytest.fixture(scope="module", params=FOLDERS)
def model(request, conformance):
    wrap = {"wrap": 3.0, "num_blocks": 3} if request.param == "vanilla_21" else {}
    return ac.load_model(conformance / request.param, **wrap)


def applicable(model, make):
    found = []
    for family in Family:
        for sublayer in (Sublayer.ATTN, Sublayer.MLP, Sublayer.FINAL):
            for band in (Band.ALL,) if sublayer is Sublayer.FINAL else Band:
                try:
                    resolved(make(family, sublayer, band), model.checkpoint).check()
                except NotApplicable:
                    continue
                found.append(make(family, sublayer, band))
    return found


def plain_effect(model, row, ablation):
    """delta_nll and KL of one prompt from two plain forward passes."""
    ids = torch.tensor([row])
    clean = model.logits(ids)[0, :-1].double().log_softmax(-1)
    ablated = model.logits(ids, ablation=ablation)[0, :-1].double().log_softmax(-1)
    target = ids[0, 1:, None]
    kl = (clean.exp() * (clean - ablated)).sum(-1).mean().item()
    return (clean.gather(1, target) - ablated.gather(1, target)).mean().item(), kl


def test_fast_path_equals_the_plain_path(model, token_ids):
    drops = applicable(model, ac.drop)
    quantities = [drop.on(ac.TRAINED, metric=metric) for drop in drops for metric in (ac.DELTA_NLL, ac.KL)]
    columns = ac.measure(model, token_ids, quantities, chunk=3)
    for drop in drops:
        expected = np.array([plain_effect(model, row, drop) for row in token_ids])
        assert columns[drop.on(ac.TRAINED)] == pytest.approx(expected[:, 0], abs=1e-5)
        assert columns[drop.on(ac.TRAINED, metric=ac.KL)] == pytest.approx(expected[:, 1], abs=1e-5)


def test_masses_equal_the_depth_weights(model, token_ids):
    wanted = applicable(model, ac.mass)
    columns = ac.measure(model, token_ids, wanted)
    for index, row in enumerate(token_ids):
        weights = model.depth_weights(torch.tensor([row]))
        for mass in wanted:
            here = [
                sum((w[i, 0, :-1].mean().item() for i, f in enumerate(site.sources) if f is mass.family), 0.0)
                for site, w in weights.items()
                if str(site) in columns.record(mass).sites
            ]
            assert columns[mass][index] == pytest.approx(np.mean(here), abs=1e-5)


def test_family_masses_add_up_to_one(model, token_ids):
    for sublayer in (ac.ATTN, ac.MLP):
        wanted = [mass for mass in applicable(model, ac.mass) if (mass.sublayer, mass.layers) == (sublayer, ac.ALL)]
        total = sum(ac.measure(model, token_ids, wanted).values())
        assert total == pytest.approx(1.0, abs=1e-5)


def test_order_and_company_change_nothing(model, token_ids):
    drops = applicable(model, ac.drop)
    together = ac.measure(model, token_ids, drops)
    backwards = ac.measure(model, token_ids[::-1], drops[::-1], chunk=2)
    alone = ac.measure(model, token_ids, drops[:1])
    for drop in drops:
        assert together[drop] == pytest.approx(backwards[drop][::-1], abs=1e-5)
    assert together[drops[0]] == pytest.approx(alone[drops[0]], abs=1e-5)


def test_a_sham_is_within_rounding_of_nothing(model, token_ids):
    units = sweep_chunk(model, token_ids, [SHAM])
    assert np.abs(units[SHAM.key]["delta_nll"]).max() < 1e-5
    assert units[SHAM.key]["kept_mass"] == pytest.approx(1.0)


def test_record_says_what_was_touched(conformance, token_ids):
    model = ac.load_model(conformance / "open_block_11")
    drop = ac.drop(ac.EMBEDDING, ac.ATTN, range(0, 2))
    record = ac.measure(model, token_ids, [drop]).record(drop)
    assert record.sites == ("0.attn", "1.attn")
    assert record.duplicates == record.no_ops == ("0.attn",)  # the embedding and the current source are one tensor
    assert 0 < record.kept_mass_min < record.kept_mass < 1
    assert record.input_change > 0


def test_a_duplicate_is_read_less_but_not_lost(conformance, token_ids):
    """At a block's first attention the newest snapshot is the current state; dropping one still moves the mixture."""
    model = ac.load_model(conformance / "open_block_11")
    start = model.checkpoint.dialect.layers_per_block
    drop = ac.drop(ac.CURRENT, ac.ATTN, range(start, start + 1))
    record = ac.measure(model, token_ids, [drop]).record(drop)
    assert record.duplicates == (f"{start}.attn",)
    assert record.no_ops == ()
    assert record.input_change > 1e-3


def test_a_per_site_drop_is_the_mean_over_layers(model, token_ids):
    family, band = newest(model), Band.EARLY if newest(model) is ac.CURRENT else Band.LATE
    whole = ac.drop(family, ac.MLP, band)
    each = ac.drop(family, ac.MLP, band, per_site=True)
    layers = band.layers(model.num_layers)
    alone = [ac.drop(family, ac.MLP, range(layer, layer + 1)) for layer in layers]
    columns = ac.measure(model, token_ids, [whole, each, *alone])
    assert columns[each] == pytest.approx(np.mean([columns[drop] for drop in alone], axis=0), abs=1e-6)
    assert columns.record(each).sites == columns.record(whole).sites
    assert columns.record(each).kept_mass_min == min(columns.record(drop).kept_mass_min for drop in alone)
    with pytest.raises(ValueError, match="is several runs, one a layer; give one layer"):
        model.logits(torch.tensor([[1, 2]]), ablation=each)


def test_structural_no_op_changes_no_input(conformance, token_ids):
    model = ac.load_model(conformance / "open_block_11")
    drop = ac.drop(ac.EMBEDDING, ac.ATTN, range(0, 1))
    columns = ac.measure(model, token_ids, [drop])
    assert columns.record(drop).input_change < 1e-5
    assert np.abs(columns[drop]).max() < 1e-5


def test_trained_routing_of_the_wrapped_baseline_is_exact(conformance, token_ids):
    model = ac.load_model(conformance / "vanilla_21", wrap=10.0, num_blocks=4)
    wanted = [ac.closed_form_error(ac.ATTN), ac.spread(ac.MLP)]
    for column in ac.measure(model, token_ids, wanted).values():
        assert column.max() < 1e-6


def test_closed_form_needs_the_wrapped_baseline(conformance, token_ids):
    model = ac.load_model(conformance / "open_block_11")
    with pytest.raises(ValueError, match=r"defined by the wrapped baseline's recency bias; use it .on\(WRAPPED\)"):
        ac.measure(model, token_ids, [ac.closed_form_error(ac.ATTN)])


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "`prompts` is empty; give at least one prompt"),
        ([[1, 2], [3]], "prompt 1 has 1 tokens; a next-token loss needs at least 2"),
        ([[1, 2], [3, 96]], "prompt 1 holds token id 96; ids run from 0 to 95: tokenise with this model's tokenizer"),
        ([[1] * 129], "prompt 0 has 129 tokens; the context is 128: cut it"),
    ],
)
def test_malformed_prompts_are_refused(conformance, prompts, message):
    model = ac.load_model(conformance / "open_block_11")
    with pytest.raises(ValueError, match=message):
        ac.measure(model, prompts, [ac.mass(ac.CURRENT, ac.MLP)])


def test_what_cannot_be_measured_is_refused(conformance):
    model = ac.load_model(conformance / "open_block_11")
    with pytest.raises(ValueError, match=r"'mass' cannot be measured; give drop\(\.\.\.\)"):
        ac.measure(model, [[1, 2]], ["mass"])


def test_untrained_role_is_the_architecture_with_uniform_routing(conformance):
    import dataclasses

    from attnres_core.models.checkpoints.checkpoint import Weights, inspect_checkpoint
    from attnres_core.models.loading import load_checkpoint

    trained = inspect_checkpoint(conformance / "open_block_11")
    untrained = dataclasses.replace(trained, weights=Weights.UNTRAINED)
    assert untrained.digest != trained.digest
    ids = torch.arange(8)[None]
    one, two = load_checkpoint(untrained), load_checkpoint(untrained)
    assert torch.equal(one.logits(ids), two.logits(ids))
    for site, weights in one.depth_weights(ids).items():
        assert torch.allclose(weights, torch.tensor(1 / len(site.sources)), atol=1e-6)
