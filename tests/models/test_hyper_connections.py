"""Models with hyper-connections: exact depth weights from parallel streams, against their own code's numbers."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hyper_models import FIELDS, VOCABULARY, hyper_model
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as library

import attnres_core as ac
from attnres_core.models.adapters.adapter import AdapterError, adapt
from attnres_core.models.adapters.hyper_connections import CALLS, calls_of, mixed
from attnres_core.models.adapters.streams import StreamCall
from attnres_core.models.networks.overrides import Overrides
from attnres_core.quantities.intervention import Intervention, NotApplicable, resolve
from attnres_core.testing import check_adapter

FOLDER = Path(__file__).parents[2] / "fixtures/adapted/deepseek_v4_45"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model():
    return ac.load_model(FOLDER)


@pytest.fixture(scope="module")
def expected():
    return load_file(FOLDER / "expected.safetensors")


@pytest.fixture(scope="module")
def about():
    return json.loads((FOLDER / "ablations.json").read_text())


def run(model, expected, interventions=None, observe=None):
    """Logits at real positions."""
    network, ids, mask = model.network, expected["input_ids"], expected["attention_mask"]
    tokens, places = [row[own.bool()].tolist() for row, own in zip(ids, mask, strict=True)], (mask.cumsum(-1) - 1)
    overrides = None if interventions is None else Overrides([interventions], tokens, places.clamp(min=0))
    with torch.inference_mode():
        inputs = network.prepare(ids, mask)
        hidden = network.run(network.begin(ids), inputs, overrides=overrides, observe=observe)
        return network.unembed(hidden)[mask.bool()]


def test_every_read_is_the_weighted_sum_of_all_outputs_so_far(model, expected, about):
    real, found = expected["attention_mask"].bool(), {}
    logits = run(model, expected, observe=lambda key, sources, read: found.__setitem__(key, read))
    assert (logits - expected["logits"][real]).abs().max() < TOLERANCE
    order = about["source_order"]
    for place, site in enumerate(model.sites):
        read, weights = found[site.key], expected[f"weights.{site}"]
        assert len(site.sources) == len(weights) == place + 1
        assert ((read.weights * read.scale) - weights)[:, real].abs().max() < TOLERANCE, site
        assert (read.weights.sum(0) - 1).abs().max() < 1e-6  # (what reports tell)
        named = ["embedding", *(["older"] * (place - 1)), *(["recent"] * bool(place))]
        assert [str(family) for family in site.sources] == (named if place else ["None"])
    assert (order[0], len(order)) == ("embedding", len(model.sites))


def test_a_drop_subtracts(model, expected, about):
    sites = {str(site): site for site in model.sites}
    for index, entry in enumerate(about["ablations"]):
        if entry["kind"] == "subtract":
            touched = tuple((sites[name], tuple(indices)) for name, indices in entry["sources"].items())
            found = run(model, expected, Intervention("drop", touched))
            theirs = expected[f"ablated.{index}.logits"][expected["attention_mask"].bool()]
            assert (found - theirs).abs().max() < TOLERANCE, entry


def test_dropping_a_stream_is_reading_it_with_weight_zero(model, expected, about):
    (index,) = [place for place, entry in enumerate(about["ablations"]) if entry["kind"] == "zero_pre"]
    asked = ac.drop_stream(about["ablations"][index]["stream"], ac.MLP, range(3))
    found = run(model, expected, resolve(asked, model.sites, model.num_layers))
    theirs = expected[f"ablated.{index}.logits"][expected["attention_mask"].bool()]
    assert (found - theirs).abs().max() < TOLERANCE


def changing(change):
    """The library's own site, with what it gives changed."""
    forward = library.DeepseekV4HyperConnection.forward

    def changed(module, states):
        return change(*forward(module, states))

    return changed


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (ac.no_mixing(ac.ALL_SITES), lambda post, comb, read: (post, torch.eye(comb.shape[-1]).expand_as(comb), read)),
        (ac.no_write(ac.ALL_SITES), lambda post, comb, read: (torch.zeros_like(post), comb, read)),
    ],
    ids=["no_mixing", "no_write"],
)
def test_what_streams_do_is_ablated_as_their_own_code_would_do_it(model, expected, monkeypatch, asked, change):
    ids = expected["input_ids"][:2]
    found = model.logits(ids, ablation=asked)
    monkeypatch.setattr(library.DeepseekV4HyperConnection, "forward", changing(change))
    with torch.inference_mode():
        theirs = model.network.network(input_ids=ids, use_cache=False).logits
    assert (found - theirs).abs().max() < TOLERANCE
    monkeypatch.undo()
    assert (found - model.logits(ids)).abs().max() > 0.01


def test_the_fast_path_ablates_rows_of_a_batch_each_its_own_way(model):
    """Interventions on streams and on sources travel together; every one's numbers are those it has alone."""
    asked = [ac.drop_stream(0, ac.ATTN), ac.no_mixing(ac.MLP), ac.no_write(ac.ATTN, ac.LATE), ac.drop(ac.OLDER, ac.MLP)]
    asked += [kind(ac.MLP) for kind in (ac.uniform, ac.average)] + [ac.keep_top(2, ac.MLP), ac.keep_wired(2, ac.MLP)]
    prompts = [[1, 2, 3, 4, 5], [6, 7, 8]]
    columns = ac.measure(model, prompts, asked, progress=False)
    for row, tokens in enumerate(prompts):
        ids = torch.tensor([tokens])
        target = ids[0, 1:, None]
        clean = model.logits(ids)[0, :-1].log_softmax(-1).gather(1, target).mean()
        for what in asked:
            ablated = (
                model.logits(ids, ablation=what, reference=prompts)[0, :-1].log_softmax(-1).gather(1, target).mean()
            )
            assert columns[what][row] == pytest.approx(float(clean - ablated), abs=TOLERANCE), what


@pytest.fixture
def _worked_adapters(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks" / "adapters")


@pytest.mark.usefixtures("_worked_adapters")
@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_the_other_three_do_what_measuring_takes_for_granted(kind):
    found = adapt(hyper_model(kind), *calls_of(kind), vocabulary=VOCABULARY, context=64)
    assert [str(site) for site in found.sites] == ["0.attn", "0.mlp", "1.attn", "1.mlp", "2.attn", "2.mlp", "3.final"]
    assert [(site.parallel, site.writes) for site in found.sites] == [(4, True)] * 6 + [(4, False)]
    assert {site.mixes for site in found.sites[:-1]} == {kind == "glm5_next_text"}
    check_adapter(found)


@pytest.mark.usefixtures("_worked_adapters")
def test_a_checkpoint_is_recognised_or_read_by_the_worked_adapter(tmp_path):
    """hy_v4 has a class with a head; glm5_next's text model has none."""
    hyper_model("hy_v4").save_pretrained(tmp_path / "hy")
    found = ac.load_model(tmp_path / "hy").checkpoint
    assert (found.adapter, found.dialect_name, found.num_blocks) == ("hyper_connections", "hyper_connections", 6)
    network = hyper_model("glm5_next_text")
    network.config.save_pretrained(tmp_path / "glm")
    save_file(network.state_dict(), tmp_path / "glm" / "model.safetensors")
    ids = torch.arange(6)[None]
    with torch.inference_mode():
        theirs = network(ids)
    assert (ac.load_model(tmp_path / "glm", adapter="glm5_text:load").logits(ids) - theirs).abs().max() < 1e-4


def test_what_has_no_streams_cannot_be_ablated_in_them(conformance):
    sites = ac.load_model(conformance / "kimi_block_14").sites
    for asked in (ac.drop_stream(0, ac.MLP), ac.no_mixing(ac.MLP), ac.no_write(ac.MLP)):
        with pytest.raises(NotApplicable, match="no mlp site in the all band has such parallel streams"):
            resolve(asked, sites, 5)


def test_a_stream_that_is_not_there_and_an_index_that_is_none(model):
    with pytest.raises(NotApplicable, match="has such parallel streams on this checkpoint"):
        resolve(ac.drop_stream(4, ac.MLP), model.sites, model.num_layers)
    with pytest.raises(ValueError, match=r"`index` is -1; give the number of a parallel stream, from 0"):
        ac.drop_stream(-1, ac.MLP)


def described(**changes):
    """deepseek_v4's site with one thing wrong."""

    def describe(*given):
        found = mixed(*given)
        return dataclasses.replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return StreamCall(library.DeepseekV4HyperConnection, "forward", describe)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pre": lambda pre: 2 * pre}, r"at layer 0's attn the mixture as described is .* from the model's own"),
        ({"comb": lambda comb: comb.transpose(-1, -2)}, "something else than a sublayer's output was written"),
        ({"post": lambda post: None}, "a site that writes nothing is followed by another"),
        ({"states": lambda states: states + torch.arange(4.0)[:, None]}, "the streams are not equal at the first site"),
    ],
    ids=["pre", "comb", "post", "states"],
)
def test_a_wrong_description_is_refused(model, changes, told):
    with pytest.raises(AdapterError, match=told):
        adapt(model.network.network, described(**changes), calls_of("deepseek_v4")[1], vocabulary=96, context=128)


def test_every_model_s_classes_are_in_the_library():
    for kind in CALLS:
        assert len(calls_of(kind)) == len(CALLS[kind])
