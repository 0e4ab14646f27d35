"""A model spread over several devices computes what it computes on one, and nothing of two devices ever meets."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.every_kind import applicable, donors_of, newest
from support.inkling2_models import inkling2_library, save_inkling2
from support.pretended_devices import PretendedDevices
from support.small_suite import verdicts

import attnres_core as ac
from attnres_core.engine import resources, scoring
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.resources import choose_resources, need_of
from attnres_core.engine.scoring import Batch
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.engine.worker import Worker
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.checkpoints.placement import Placement, balanced, layer_weights, placement_of
from attnres_core.models.networks import decoder, routing
from attnres_core.models.networks.network import LayeredNetwork, Network
from attnres_core.models.networks.reference_states import Reference
from attnres_core.planning.requests import resolved
from attnres_core.prompts import Pairs
from attnres_core.quantities.vocabulary import Role
from attnres_core.testing import check_adapter

CUDA = ("cuda:0", "cuda:1", "cuda:2")
MODELS = ["open_block_11", "open_full_13", "open_reset_12", "kimi_block_14", "vanilla_21", "inkling2"]
MODELS += ["nanogpt_static_33", "fla_transformer_42", "delta_null_35", "delta_block_36", "delta_v_38"]
PROMPTS = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15, 16]]
ANSWERS = [(3, 4), (5, None), (6, 7)]
IDS = torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 7, 8]])
MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])


@pytest.fixture
def load(conformance, tmp_path):
    """Loads one of MODELS."""

    def loaded(name, **options):
        folder = conformance / name
        if name == "inkling2":
            folder = save_inkling2(tmp_path, inkling2_library("hybrid"))
        wrapping = dict(wrap=1.0, num_blocks=3) if name == "vanilla_21" else {}
        return ac.load_model(folder, **wrapping, **options)

    return loaded


def spread(layers, devices=CUDA):
    return {f"model.layers.{layer}": devices[layer * len(devices) // layers] for layer in range(layers)}


def everything(model):
    """All that is measured of a model: logits, depth weights, every kind of ablation resumed and from the start."""
    late_starts = [ac.drop(newest(model), ac.MLP, ac.MID), ac.drop(ac.CURRENT, ac.FINAL)]
    wanted = [*applicable(model), *applicable(model, late_starts)]
    interventions = [i for what in wanted for i in resolved(what, model.checkpoint).check().interventions]
    width = model.network.model.embed_tokens.weight.shape[1]

    def constants(what):  # (what was fitted lies on the CPU)
        return torch.linspace(-1, 1, len(what.filled) * width).reshape(-1, width)

    reference = Reference(model.network, PROMPTS, constants)
    given = dict(reference=reference, answers=ANSWERS, pairs=Pairs(donors_of(PROMPTS, model)))
    ablation = ac.resample(newest(model), ac.MLP, draws=1)
    found = {
        "fast": sweep_chunk(model, PROMPTS, interventions, **given),
        "plain": plain_chunk(model, PROMPTS, interventions[::8], **given),
        "logits": {"clean": model.logits(IDS), "padded": model.logits(IDS, MASK)},
        "ablated": {"all": model.logits(IDS, MASK, ablation, reference=PROMPTS)},
        "weights": {str(site): w for site, w in model.depth_weights(IDS, MASK).items()},
    }
    starts = {intervention.first_layer for intervention in interventions}
    return starts, {
        (name, key, field): np.asarray(torch.as_tensor(value).cpu())
        for name, units in found.items()
        for key, unit in units.items()
        for field, value in (unit if isinstance(unit, dict) else {"": unit}).items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_three_devices_give_one_device_s_numbers(load, name, monkeypatch):
    """Clean and padded runs, every kind of ablation of `every_kind`, resumed at layers of every device."""
    monkeypatch.setattr(scoring, "logsumexp", lambda logits: logits.logsumexp(-1))  # (as it is computed on CUDA)
    one = load(name)
    _, expected = everything(one)
    devices = ("cpu:1", "cpu:2", "cpu:3") if name == "inkling2" else CUDA  # (its experts have other kernels on CUDA)
    with PretendedDevices(*devices) as pretended:
        several = load(name, device_map=spread(one.num_layers, devices))
        starts, found = everything(several)
        assert {str(several.network.device_of(layer)) for layer in starts} == set(devices)
    assert pretended.seen == set(pretended.devices)
    assert found.keys() == expected.keys()
    rounding = 1e-6 if name == "inkling2" else 0  # (where its experts' tokens are gathered: the clean run's own)
    for key, value in expected.items():
        assert np.allclose(found[key], value, rtol=0, atol=rounding, equal_nan=True), key


def stays(given, device):
    return given


MISTAKES = {
    "sources": (routing.Source, "to", stays),
    "rotary tables and masks": (decoder.Inputs, "to", stays),
    "the batch that is scored": (Batch, "to", stays),
    "token ids": (LayeredNetwork, "device", Network.device),  # open_reset's first parameter is its read-out's
    "the tied head": (Placement, "ends_apart", False),
}


@pytest.mark.parametrize("forgotten", MISTAKES)
def test_what_is_not_moved_is_caught(load, forgotten, monkeypatch):
    monkeypatch.setattr(*MISTAKES[forgotten])
    with PretendedDevices(*CUDA):
        model = load("open_reset_12", device_map=spread(8))
        with pytest.raises(RuntimeError, match=r"`\w+` mixes devices: "):
            ac.measure(model, PROMPTS, [ac.drop(ac.CURRENT, ac.ATTN, ac.LATE)])


def test_pretended_devices_do_what_cuda_devices_do():
    with PretendedDevices(*CUDA):
        here, there = torch.arange(3.0, device="cuda:0"), torch.arange(3.0).to("cuda:1")
        assert (here.device, (here * 2)[1:].device) == (torch.device("cuda:0"), torch.device("cuda:0"))
        for meet in (lambda: here + there, lambda: torch.stack([here, there]), lambda: here.add_(torch.ones(3))):
            with pytest.raises(RuntimeError, match="mixes devices"):
                meet()
        with pytest.raises(RuntimeError, match="mixes devices"):
            here[torch.arange(2).to("cuda:1")]
        assert (here + torch.tensor(1.0))[torch.arange(2)].device == torch.device("cuda:0")
        assert torch.equal(here.to("cuda:1"), there)
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            here.numpy()
        assert here.cpu().numpy().tolist() == [0, 1, 2]
    assert here.device == torch.device("cpu")


def test_a_spread_model_passes_every_check_of_an_adapter(load):
    with PretendedDevices(*CUDA):
        check_adapter(load("open_full_13", device_map=spread(4)))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
@pytest.mark.parametrize("name", MODELS)
def test_two_cuda_devices_give_one_s_numbers(load, name):
    one = load(name, device="cuda:0")
    _, expected = everything(one)
    several = load(name, device_map=spread(one.num_layers, ("cuda:0", "cuda:1")))
    starts, found = everything(several)
    assert {several.network.device_of(layer).index for layer in starts} == {0, 1}
    for key, value in expected.items():
        assert np.allclose(found[key], value, atol=1e-5, equal_nan=True), key


def test_results_lie_where_token_ids_go(load):
    with PretendedDevices(*CUDA):
        model = load("open_block_11", device_map=spread(8))
        results = [model.logits(IDS), *model.depth_weights(IDS).values()]
        assert {result.device for result in results} == {model.device} == {torch.device("cuda:0")}


def test_a_tied_embedding_is_one_tensor_unless_its_ends_lie_apart(load):
    def tied(**options):
        network = load("open_block_11", **options).network
        return network.lm_head.weight is network.model.embed_tokens.weight

    with PretendedDevices(*CUDA):
        assert tied()
        assert tied(device_map=spread(8, CUDA[:1]))
        assert not tied(device_map=spread(8))


def test_numbers_are_cuda_devices_and_parts_may_be_named_where_they_lie():
    given = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, "model.norm": 1, "lm_head": "cuda:1"}
    placement = placement_of(given, 2)
    assert placement == Placement(("cuda:0", "cuda:1"))
    names = ("model.embed_tokens.weight", "model.rotary_emb.inv_freq", "model.layers.0.mlp.up_proj.weight")
    assert {placement.of(name) for name in names} == {"cuda:0"}
    names = ("model.layers.1.attn_res_bias", "model.final_res_bias", "model.norm.weight", "lm_head.weight")
    assert {placement.of(name) for name in names} == {"cuda:1"}


LAYERS = {f"model.layers.{layer}": "cpu" for layer in range(8)}
REFUSED = [
    ("auto", "`device_map` is 'auto'; give every layer, "),
    (
        {"model.layers.0": 0},
        "`device_map` leaves out model.layers.1, model.layers.2, ",
    ),
    ({"": 0}, "`device_map` leaves out model.layers.0, "),
    ({**LAYERS, "model.layers.8": 1}, "`device_map` names model.layers.8; give every layer"),
    ({**LAYERS, "model.layers.3": 1}, "`device_map` comes back to a device that it has left; "),
    ({**LAYERS, "lm_head": 1}, "`device_map` puts lm_head on cuda:1, its layers on cpu; give every layer"),
    ({**LAYERS, "model.layers.7": "cuda:99"}, "`device` 'cuda:99' cannot be used here ("),
    ({**LAYERS, "model.layers.7": 1.5}, "`device_map` puts model.layers.7 on 1.5; give a device such as 'cuda:0'"),
    ("balanced", "`device_map` is 'balanced', and no CUDA device is here; give device='cpu' instead"),
]


@pytest.mark.parametrize(("device_map", "message"), REFUSED)
def test_a_map_that_cannot_be_followed_is_refused(load, device_map, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        load("open_block_11", device_map=device_map)


def test_a_device_and_a_map_are_one_too_many(load):
    with pytest.raises(ValueError, match="`device` is 'meta', and `device_map` is given too; give one of them"):
        load("open_block_11", device="meta", device_map=LAYERS)


def test_balanced_layers_are_in_order_and_of_about_equal_weight(conformance, load, monkeypatch):
    checkpoint = inspect_checkpoint(conformance / "open_block_11")
    weights = layer_weights(checkpoint)
    embedding = checkpoint.size("vocab_size") * checkpoint.size("hidden_size")
    assert sum(weights) == checkpoint.parameters + embedding  # tied: on both ends
    for count in (1, 2, 3, 20):
        devices = [f"cuda:{index}" for index in range(count)]
        layers = balanced(checkpoint, devices).layers
        assert [devices.index(device) for device in layers] == sorted(devices.index(device) for device in layers)
        held = [sum(w for w, at in zip(weights, layers, strict=True) if at == device) for device in devices]
        assert max(held) <= sum(weights) / count + max(weights)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with PretendedDevices(*CUDA):
        network = load("open_block_11", device_map="balanced").network
        assert [str(network.device_of(layer)) for layer in range(8)] == list(balanced(checkpoint, CUDA).layers)


def test_a_spread_model_takes_one_slot_and_a_share_of_each_device(conformance, monkeypatch):
    checkpoint = inspect_checkpoint(conformance / "open_block_11")
    monkeypatch.setattr(resources, "cuda_devices", lambda: 3)
    found = choose_resources("auto", "float32", 4, [checkpoint], device_map="balanced")
    assert (found.slots, found.spread) == (("cuda:0",), CUDA)
    whole, share = (need_of(checkpoint, "float32", found.batch_tokens, devices) for devices in (1, 3))
    assert found.need == share
    assert whole.weights / 3 < share.weights < whole.weights
    assert (share.states, share.batch) == (whole.states, whole.batch)
    with pytest.raises(ValueError, match="--attnres-device-map balanced is for CUDA devices, and the device is cpu"):
        choose_resources("cpu", "float32", 1, [checkpoint], device_map="balanced")


def test_a_slot_loads_its_models_spread_and_asks_every_device_first(conformance, monkeypatch):
    checkpoint = inspect_checkpoint(conformance / "open_block_11")
    monkeypatch.setattr(resources, "cuda_devices", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    where = choose_resources("cuda", "float32", 1, [checkpoint], device_map="balanced")
    free = dict.fromkeys(CUDA, where.need.total)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 2**40))
    with PretendedDevices(*CUDA):
        network = Worker({Role.TRAINED: checkpoint}, where, "cuda:0")._model(Role.TRAINED, "float32").network
        assert {str(network.device_of(layer)) for layer in range(8)} == set(CUDA)
    free["cuda:2"] -= 1
    with pytest.raises(ValueError, match=r"measuring needs .* and cuda:2 \(what is free of it\) has"):
        Worker({Role.TRAINED: checkpoint}, where, "cuda:0")._model(Role.TRAINED, "float32")


WHOLE = """
from attnres_core.engine import scoring

scoring.logsumexp = lambda logits: logits.logsumexp(-1)  # (as it is computed on CUDA)
"""
PRETENDING = f"""
import sys

import torch

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.pretended_devices import PretendedDevices

from attnres_core.engine import resources

resources.cuda_devices = torch.cuda.device_count = lambda: 3
torch.cuda.mem_get_info = lambda device: (2**40, 2**40)
PretendedDevices(*{CUDA}).__enter__()
{WHOLE}"""


@pytest.mark.usefixtures("_quiet")
def test_a_suite_over_three_devices_gives_one_device_s_estimates(suite, pytester):
    found = []
    for options, files in (
        ("--attnres-device=cpu", {"conftest": WHOLE}),
        ("--attnres-device-map=balanced", {"conftest": PRETENDING}),
    ):
        result = suite("-n", "0", options, **files)
        found.append(verdicts(pytester))
    result.stdout.fnmatch_lines(["attnres: device: cuda, float32, 1 measuring slot x * thread* over 3 devices; *"])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["open_block_11", "kimi_block_14", "delta_block_36"])
def test_nothing_waits_for_the_device_while_rows_run(load, name, monkeypatch):
    """No kind of ablation asks for a number between the first layer and the last; scoring asks once a chunk."""
    with PretendedDevices(*CUDA[:1]) as pretended:
        model = load(name, device=CUDA[0])
        original, waited = type(model.network).run, list[str]()

        def run(self, *given, **options):
            before = pretended.waits.copy()
            found = original(self, *given, **options)
            waited.extend((pretended.waits - before).elements())
            return found

        reference = Reference(model.network, PROMPTS)
        pairs = Pairs(donors_of(PROMPTS, model))
        monkeypatch.setattr(type(model.network), "run", run)
        for what in applicable(model):
            if what.kind.spec.fitted:
                continue
            waited.clear()
            interventions = resolved(what, model.checkpoint).check().interventions
            sweep_chunk(model, PROMPTS, interventions[:2], reference=reference, pairs=pairs)
            assert not waited, what
        assert not {"item", "__bool__", "__float__", "__int__", "tolist"} & pretended.waits.keys()
