"""A model of somebody else's code in a suite: verdicts and numbers of the library's own on the same weights."""

import dataclasses
import pickle
import sys
from pathlib import Path

import pytest
import torch
from support.small_suite import CLAIMS, ONE, record_of

import attnres_core as ac
from attnres_core.engine.resources import need_of
from attnres_core.models.adapters.adapter import AdapterError
from attnres_core.models.checkpoints.checkpoint import Weights, inspect_checkpoint
from attnres_core.models.loading import load_checkpoint
from attnres_core.planning.material import Material

THEIRS = (Path(__file__).parents[1] / "support" / "foreign_models.py").read_text()
ADAPTER = """
import foreign_code
from safetensors.torch import load_file
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config

import attnres_core as ac
from attnres_core.models.foreign import KIMI_K3


def load(folder, *, device, dtype, untrained=False):
    config = Qwen3Config.from_pretrained(folder)
    config._attn_implementation = "sdpa"
    network = foreign_code.KimiLike(config, 2)
    if not untrained:
        state = {}
        for key, tensor in load_file(folder / "model.safetensors").items():
            for ours, theirs in foreign_code.KIMI_NAMES.items():
                if ours in key:
                    key = key.replace(ours, theirs)
                    break
            state[key] = tensor
        network.load_state_dict({"lm_head.weight": state["model.embed_tokens.weight"], **state})
    call = ac.RoutingCall(foreign_code, KIMI_K3.call, KIMI_K3.describe)
    sizes = {"vocabulary": config.vocab_size, "context": config.max_position_embeddings}
    return ac.adapt(network.to(device, dtype), call, **sizes, dialect="kimi_block")


def without_untrained(folder, *, device, dtype):
    return load(folder, device=device, dtype=dtype)


def nothing(folder, *, device, dtype):
    return 3


def broken(folder, *, device, dtype):
    raise OSError("no such disk")
"""
ROLES = """
from attnres_core import *

@claim(trained=mean(EMBEDDING, MLP).on(TRAINED), untrained=mean(EMBEDDING, MLP).on(UNTRAINED))
def test_roles(trained, untrained):
    assert trained - untrained > -50
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder on Python's path with an adapter and the code of its model."""
    (tmp_path / "their_adapter.py").write_text(ADAPTER)
    (tmp_path / "foreign_code.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their_adapter", "foreign_code"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.usefixtures("_quiet")
def test_verdicts_and_numbers_are_those_of_the_library_s_own_model(suite, pytester, micro):
    own = suite("-n0", f"--attnres-trained={micro / 'kimi'}", "--attnres-report=own/latest.html")
    files = {"their_adapter": ADAPTER, "foreign_code": THEIRS}
    options = (f"--attnres-trained={micro / 'kimi'}", "--attnres-adapter=their_adapter:load")
    result = suite("-n2", *options, claims=CLAIMS, test_roles=ROLES, **files)
    told = "(kimi_block routing, read by the adapter their_adapter:load, "
    assert told in result.stdout.str()
    expected, found = record_of(pytester, "own/latest.json"), record_of(pytester)
    assert (found["models"]["trained"]["adapter"], "adapter" in expected["models"]["trained"]) == (
        options[1][18:],
        False,
    )
    assert found["models"]["trained"]["digest"] != expected["models"]["trained"]["digest"]
    theirs = {claim["node_id"]: claim for claim in found["claims"]}
    assert theirs.pop("test_roles.py::test_roles")["verdict"] == "SUPPORTED"
    assert theirs.keys() == {claim["node_id"] for claim in expected["claims"]}
    for claim in expected["claims"]:
        same = theirs[claim["node_id"]]
        assert same["verdict"] == claim["verdict"], (own.stdout.str(), result.stdout.str())
        for ours, other in zip(claim["statements"], same["statements"], strict=True):
            assert other["estimate"] == pytest.approx(ours["estimate"], abs=1e-5, nan_ok=True)


@pytest.mark.usefixtures("_quiet")
def test_a_part_of_a_job_array_measures_it_and_the_plan_counts_its_documents(suite, pytester, micro):
    options = ("-n0", f"--attnres-trained={micro / 'kimi'}", "--attnres-adapter=their_adapter:load")
    part = suite(*options, "--attnres-shard=1/1", claims=ONE, their_adapter=ADAPTER, foreign_code=THEIRS)
    part.stdout.fnmatch_lines(["*attnres: part 1/1: * bundles measured, 0 were in the store, 0 failed*"])
    planned = suite(*options, "--attnres-plan", claims=ONE)
    planned.stdout.fnmatch_lines(["*read by the adapter their_adapter:load*", "*test_claims.py sound * prompts"])
    suite(*options, claims=ONE)
    assert record_of(pytester)["run"]["bundles_measured"] == 0


def test_what_is_known_of_it_travels_as_plain_data(here, micro):
    checkpoint = inspect_checkpoint(micro / "kimi", adapter="their_adapter:load")
    same = pickle.loads(pickle.dumps(checkpoint))
    assert (same, same.digest) == (checkpoint, checkpoint.digest)
    native = inspect_checkpoint(micro / "kimi")
    assert [(site.sources, str(site)) for site in same.sites] == [
        (site.sources, str(site)) for site in native.sites if len(site.sources) > 1
    ]
    assert (same.num_layers, same.num_blocks, same.vocabulary) == (native.num_layers, native.num_blocks, 96)


def test_a_changed_adapter_or_model_s_code_is_another_model(here, micro, monkeypatch):
    def digest():
        for name in ("their_adapter", "foreign_code"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return inspect_checkpoint(micro / "kimi", adapter="their_adapter:load").digest

    before = digest()
    assert digest() == before
    (here / "their_adapter.py").write_text(ADAPTER + "# changed\n")
    changed = digest()
    assert changed != before
    (here / "foreign_code.py").write_text(THEIRS + "# changed\n")
    assert digest() not in (before, changed)


def test_code_that_changed_since_it_was_looked_at_is_refused(here, micro):
    checkpoint = inspect_checkpoint(micro / "kimi", adapter="their_adapter:load")
    (here / "foreign_code.py").write_text(THEIRS + "# changed\n")
    with pytest.raises(
        AdapterError, match=r"the code of the adapter 'their_adapter:load', or of its model, is not what"
    ):
        load_checkpoint(checkpoint)


def test_the_memory_of_a_batch_is_measured(here, micro):
    """At least the states that stay while a sublayer runs, and not a hundred times what the library forecasts."""
    adapted, native = (inspect_checkpoint(micro / "kimi", adapter=name) for name in ("their_adapter:load", None))
    theirs, ours = (need_of(checkpoint, "float32") for checkpoint in (adapted, native))
    assert theirs.weights == ours.weights
    assert ours.batch / 3 < theirs.batch < 3 * ours.batch


def test_an_untrained_model_is_seeded_and_reads_evenly(here, micro):
    checkpoint = inspect_checkpoint(micro / "kimi", adapter="their_adapter:load")
    untrained = dataclasses.replace(checkpoint, weights=Weights.UNTRAINED)
    assert untrained.digest != checkpoint.digest
    one, two = load_checkpoint(untrained), load_checkpoint(untrained)
    ids = torch.arange(6)[None]
    assert torch.equal(one.logits(ids), two.logits(ids))
    assert all(torch.allclose(own, torch.tensor(1 / len(own))) for own in one.depth_weights(ids).values())


def test_columns_go_through_a_store(here, micro, tmp_path):
    prompts = ac.load_prompts(micro / "prompts.jsonl").part("exploration")
    model = ac.load_model(micro / "kimi", adapter="their_adapter:load")
    what = ac.drop(ac.CURRENT, ac.MLP)
    found = ac.measure(model, prompts, [what], store=tmp_path / "store", progress=False)
    assert found[what] == pytest.approx(ac.measure(model, prompts, [what], progress=False)[what], abs=1e-6)
    assert list((tmp_path / "store" / "units").iterdir())


def test_a_package_brings_adapters_by_name(here, micro):
    release = here / "theirs-1.0.dist-info"
    release.mkdir()
    (release / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (release / "entry_points.txt").write_text("[attnres_core.adapters]\nkimi-like = their_adapter:load\n")
    assert inspect_checkpoint(micro / "kimi", adapter="kimi-like").dialect_name == "kimi_block"
    with pytest.raises(
        AdapterError, match=r"there is no adapter 'kimi'; .* or one of: fla, hyper_connections, kimi-like, kimi_k3"
    ):
        inspect_checkpoint(micro / "kimi", adapter="kimi")


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (
            "no_such_module:load",
            "'no_such_module:load' cannot be imported (No module named 'no_such_module'; it was looked",
        ),
        ("their_adapter:lod", "their_adapter has no function 'lod'; it has: broken, load, nothing, without_untrained"),
        ("their_adapter:nothing", "'their_adapter:nothing' gives a int; return ac.adapt(...)"),
        ("their_adapter:broken", "'their_adapter:broken' failed on "),
    ],
)
def test_an_adapter_that_cannot_be_used_says_why(here, micro, adapter, told):
    with pytest.raises(AdapterError) as caught:
        inspect_checkpoint(micro / "kimi", adapter=adapter)
    assert told in str(caught.value)


def test_claims_about_an_untrained_model_that_cannot_be_made_do_not_apply(here, micro):
    trained = inspect_checkpoint(micro / "kimi", adapter="their_adapter:without_untrained")
    assert not trained.makes_untrained
    material = Material({ac.TRAINED: trained}, (), {}, "cpu", "float32")
    told = "their_adapter:without_untrained makes no untrained model; give its function a parameter `untrained`"
    assert told in material.resolved(ac.drop(ac.CURRENT, ac.MLP).on(ac.UNTRAINED)).not_applicable
