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
from attnres_core.models.adapters.streams import StreamCall, Streams, drawn
from attnres_core.models.networks.overrides import Overrides
from attnres_core.planning.requests import resolved
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


def test_streams_mix_as_they_do_on_average_over_every_token_of_the_reference_prompts(model, expected, monkeypatch):
    ids, reference = expected["input_ids"][:2], [[1, 2, 3, 4, 5], [6, 7, 8]]
    found = model.logits(ids, ablation=ac.average_mixing(ac.ALL_SITES), reference=reference)
    forward, seen = library.DeepseekV4HyperConnection.forward, {}

    def keep(module, states):
        post, comb, read = forward(module, states)
        seen.setdefault(module, []).extend(comb[0])
        return post, comb, read

    monkeypatch.setattr(library.DeepseekV4HyperConnection, "forward", keep)
    with torch.inference_mode():
        for tokens in reference:
            model.network.network(input_ids=torch.tensor([tokens]), use_cache=False)
        means = {module: torch.stack(own).mean(0) for module, own in seen.items()}
        assert [len(own) for own in seen.values()] == [8] * len(seen)  # tokens: no padding among them

        def average(module, states):
            post, comb, read = forward(module, states)
            return post, means[module].expand_as(comb), read

        monkeypatch.setattr(library.DeepseekV4HyperConnection, "forward", average)
        theirs = model.network.network(input_ids=ids, use_cache=False).logits
    assert (found - theirs).abs().max() < TOLERANCE
    monkeypatch.undo()
    assert (found - model.logits(ids)).abs().max() > 1e-4


def test_a_read_of_two_equal_streams_draws_on_two():
    """Parts 3/4 and 1/4 make 1 / (9/16 + 1/16) = 1.6; a stream that is not read, or is zero, counts as none."""
    states = torch.tensor([[[[3.0, 4.0], [5.0, 0.0], [0.0, 0.0]]]])  # sizes 5, 5, 0
    nothing = {"post": None, "comb": None, "parameter": None, "read": states[:, :, 0], "give": None}
    for pre, parts in (([1, 1, 1], [0.5, 0.5, 0]), ([3, 1, 9], [0.75, 0.25, 0]), ([0, 2, 1], [0, 1, 0])):
        found = drawn(Streams(states, torch.tensor([[pre]]), **nothing))
        assert found[:, 0, 0].tolist() == pytest.approx(parts)
    gates = torch.tensor([[[[1.0, 0.0], [0.6, 1.0], [1.0, 1.0]]]])  # a channel each: 3 and 3 are left
    assert drawn(Streams(states, gates, **nothing))[:, 0, 0].tolist() == pytest.approx([0.5, 0.5, 0])


def test_streams_read_is_the_mean_over_tokens_and_sites_of_how_many_streams_a_read_draws_on(model, monkeypatch):
    prompts, forward, found = [[1, 2, 3, 4, 5], [6, 7, 8]], library.DeepseekV4HyperConnection.forward, []

    def keep(module, states):
        logits = module.fn[:4] @ module.input_norm(states.flatten(2)).movedim(-1, -2)
        pre = torch.sigmoid(logits.movedim(-1, -2) * module.scale[0] + module.base[:4]) + module.hc_eps
        sizes = (pre[..., None] * states).norm(dim=-1)
        found.append((sizes.sum(-1).square() / sizes.square().sum(-1))[0, :-1].mean())  # (the last predicts nothing)
        return forward(module, states)

    column = ac.measure(model, prompts, [ac.streams_read(ac.ATTN), ac.streams_read(ac.MLP, ac.LATE)], progress=False)
    monkeypatch.setattr(library.DeepseekV4HyperConnection, "forward", keep)
    for row, tokens in enumerate(prompts):
        found.clear()
        with torch.inference_mode():
            model.network.network(input_ids=torch.tensor([tokens]), use_cache=False)
        every = [float(each) for each in found]  # attention and MLP of each layer in turn
        assert column[ac.streams_read(ac.ATTN)][row] == pytest.approx(sum(every[::2]) / len(every[::2]), rel=1e-5)
        late = [place for place, site in enumerate(model.sites) if site.sublayer == "mlp" and site.layer >= 3]
        assert late == [7]
        assert column[ac.streams_read(ac.MLP, ac.LATE)][row] == pytest.approx(every[7], rel=1e-5)


def test_a_model_without_parallel_streams_draws_on_none(conformance):
    model = ac.load_model(conformance / "kimi_block_14")
    with pytest.raises(NotApplicable, match="addresses no site that reads parallel streams on this checkpoint"):
        resolved(ac.streams_read(ac.MLP), model).check()


def test_the_fast_path_ablates_rows_of_a_batch_each_its_own_way(model):
    """Interventions on streams and on sources travel together; every one's numbers are those it has alone."""
    asked = [ac.drop_stream(0, ac.ATTN), ac.no_mixing(ac.MLP), ac.no_write(ac.ATTN, ac.LATE), ac.drop(ac.OLDER, ac.MLP)]
    asked += [ac.average_mixing(ac.ALL_SITES)]
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
    for asked in (ac.drop_stream(0, ac.MLP), ac.no_mixing(ac.MLP), ac.average_mixing(ac.MLP), ac.no_write(ac.MLP)):
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
