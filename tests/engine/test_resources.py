"""Where a run computes: what it needs is known before loading, and what cannot fit is refused with advice."""

import dataclasses

import numpy as np
import pytest
import torch
from support.inkling2_models import inkling2_library, save_inkling2

from attnres_core.engine import resources, sweep
from attnres_core.engine.resources import (
    BATCH_SIZES,
    LIBRARIES,
    Resources,
    check_fit,
    choose_resources,
    largest_need,
    need_of,
)
from attnres_core.engine.worker import SmallerBatchWarning, Worker
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.networks import fitting
from attnres_core.planning.bundles import Bundle
from attnres_core.planning.requests import resolved
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.ablations import drop, optimal
from attnres_core.quantities.vocabulary import Role


@pytest.fixture
def checkpoint(conformance):
    return inspect_checkpoint(conformance / "open_full_13")


def memory_of(monkeypatch, count):
    monkeypatch.setattr(resources, "host_memory", lambda: count)


def test_weights_are_counted_from_the_header(checkpoint):
    assert 4 * checkpoint.parameters <= need_of(checkpoint, "float32").weights < 4 * checkpoint.parameters + 20_000
    for dtype in ("bfloat16", "float16"):  # stored in float32, they are read before they are rounded
        assert need_of(checkpoint, dtype).weights == checkpoint.stored_bytes


def test_more_depth_sources_need_more_memory(checkpoint):
    fewer = dataclasses.replace(checkpoint, dialect=OpenBlock(checkpoint.num_layers, 2))
    assert max(len(site.sources) for site in fewer.sites) < max(len(site.sources) for site in checkpoint.sites)
    assert need_of(fewer, "float32").states < need_of(checkpoint, "float32").states
    assert need_of(fewer, "float32").batch < need_of(checkpoint, "float32").batch


def test_inkling2_is_forecast_with_its_experts_and_its_attention(tmp_path):
    """What `benchmarks/memory.py` measures to be enough: here, that each of its sizes counts."""

    def need(name, **changes):
        return need_of(
            inspect_checkpoint(save_inkling2(tmp_path / name, inkling2_library("hybrid", **changes))), "float32"
        )

    base = need("base")
    assert base.weights == 2 * inspect_checkpoint(tmp_path / "base").stored_bytes
    assert need("experts", n_routed_experts=8).weights > base.weights
    assert need("heads", num_attention_heads=64).batch > base.batch
    assert need("chosen", num_experts_per_tok=4, moe_intermediate_size=256).batch > base.batch
    assert need("blocks", block=1).states > base.states


def test_slots_are_what_memory_allows(checkpoint, monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    each = need_of(checkpoint, "float32").total + LIBRARIES
    for slots in (1, 3):
        memory_of(monkeypatch, int((slots + 0.5) * each / resources.USABLE))
        assert len(choose_resources("cpu", "float32", 4, [checkpoint]).slots) == slots
    memory_of(monkeypatch, 2**50)
    found = choose_resources("cpu", "float32", 4, [checkpoint])
    wide = dataclasses.replace(found, width=resources.NARROW)
    assert (len(found.slots), found.threads, wide.threads) == (4, 1, 2)
    assert len(choose_resources("cpu", "float32", 99, [checkpoint]).slots) == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert wide.threads == 1


def test_a_run_that_cannot_fit_is_refused_with_advice(checkpoint, monkeypatch):
    memory_of(monkeypatch, LIBRARIES)
    message = (
        r"measuring needs \d+ MiB \(weights \d+ MiB, states \d+ MiB, batch \d+ MiB\) in float32, and this machine .* "
        r"has 0 MiB: use a larger machine or GPU, or a smaller checkpoint"
    )
    with pytest.raises(ValueError, match=message):
        choose_resources("cpu", "float32", 4, [checkpoint])
    with pytest.raises(
        ValueError, match=r"in bfloat16, and cuda:0 has 0 MiB: .* effects are held against float32 once"
    ):
        check_fit(need_of(checkpoint, "bfloat16"), 0, "bfloat16", "cuda:0")


def test_a_run_that_cannot_fit_loads_nothing(suite):
    shrink = "from attnres_core.engine import resources\nresources.host_memory = lambda: 2**20"
    result = suite("-n", "0", conftest=shrink)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: measuring needs * in float32, and this machine * has 0 MiB: *"])


def test_a_control_group_limits_the_memory(monkeypatch):
    real = resources.Path.read_text
    limit = {"/sys/fs/cgroup/memory.max": "1048576\n"}
    monkeypatch.setattr(
        resources.Path, "read_text", lambda self: limit[str(self)] if str(self) in limit else real(self)
    )
    assert resources.host_memory() == 2**20


def test_cuda_asked_for_and_not_there_is_no_slot(checkpoint, monkeypatch):
    monkeypatch.setattr(resources, "cuda_devices", lambda: 0)
    for device_map in (None, "balanced"):
        found = choose_resources("cuda", "float32", 4, [checkpoint], device_map=device_map)
        assert (found.device_class, found.slots, found.spread) == ("cuda", (), ())
        assert str(found) == "cuda, float32, and no CUDA device is here: what the store holds is judged"


def test_cuda_asked_for_and_not_there_is_refused_once_something_must_be_measured(suite):
    result = suite("-n", "0", "--attnres-device=cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --attnres-device is 'cuda', the store lacks units, and no CUDA device *"])


def test_cuda_takes_one_slot_a_visible_device(checkpoint, monkeypatch):
    monkeypatch.setattr(resources, "cuda_devices", lambda: 2)
    assert choose_resources("auto", "float32", 4, [checkpoint]).slots == ("cuda:0", "cuda:1")
    assert choose_resources("cuda", "float32", 1, [checkpoint]).slots == ("cuda:0",)


def test_a_memory_budget_chooses_the_batch(checkpoint, monkeypatch):
    memory_of(monkeypatch, 2**50)
    needs = [largest_need([checkpoint], "float32", tokens).total for tokens in BATCH_SIZES]
    assert needs == sorted(needs, reverse=True)
    for need, tokens in zip(needs, BATCH_SIZES, strict=True):
        assert choose_resources("cpu", "float32", 1, [checkpoint], budget=need).batch_tokens == tokens
    with pytest.raises(ValueError, match=r"in float32, and --attnres-memory has \d+ MiB"):
        choose_resources("cpu", "float32", 1, [checkpoint], budget=needs[-1] - 1)


def test_a_device_that_runs_out_of_memory_gets_smaller_batches(conformance, monkeypatch):
    """On CUDA the need is an estimate: the batch is halved until it fits, and the numbers stay the same."""
    checkpoint = inspect_checkpoint(conformance / "open_block_11")
    prompts = tuple(Prompt(f"p{i}", "text", f"d{i}", "s", Split.EXPLORATION) for i in range(4))
    ids = [[(7 * i + j) % 96 for j in range(9)] for i in range(4)]
    interventions = resolved(drop("embedding", "mlp", "late"), checkpoint).interventions
    bundle = Bundle(Role.TRAINED, Split.EXPLORATION, "model", "chunk", prompts, interventions, (frozenset({"kl"}),))
    genuine, tried = sweep.sweep_chunk, []

    def tight(model, token_ids, wanted, batch_tokens, *rest, **options):
        tried.append(batch_tokens)
        if batch_tokens > BATCH_SIZES[1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(model, token_ids, wanted, batch_tokens, *rest, **options)

    monkeypatch.setattr(sweep, "sweep_chunk", tight)
    monkeypatch.setattr(sweep, "validated", lambda *_: ids)
    here = Resources("cpu", "float32", ("cpu",), need_of(checkpoint, "float32"))
    worker = Worker({Role.TRAINED: checkpoint}, here, "cpu")
    with pytest.warns(SmallerBatchWarning, match="going on with batches of 2048 tokens"):
        first = worker.measure(bundle, bundle.needs)
    second = worker.measure(bundle, bundle.needs)
    assert tried == [4096, 2048, 2048]
    assert first.keys() == second.keys() == bundle.needs.keys()
    monkeypatch.setattr(sweep, "sweep_chunk", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("out")))
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(SmallerBatchWarning):
        worker.measure(bundle, bundle.needs)


def test_a_fit_that_runs_out_of_memory_runs_fewer_prompts_together(conformance, monkeypatch):
    checkpoint = inspect_checkpoint(conformance / "open_block_11")
    prompts = tuple(Prompt(f"p{i}", "text", f"d{i}", "s", Split.EXPLORATION) for i in range(8))
    (intervention,) = resolved(optimal("embedding", "mlp", "late"), checkpoint).interventions
    asked = (frozenset[str](),)
    bundle = Bundle(Role.TRAINED, Split.EXPLORATION, "model", "chunk", prompts, (intervention,), asked, start="mean")
    genuine, tried = fitting.fit, []

    def tight(*given):
        *rest, together = given
        tried.append(together)
        if together > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(*rest, together)

    monkeypatch.setattr(fitting, "fit", tight)
    monkeypatch.setattr(sweep, "validated", lambda *_: [[(7 * i + j) % 96 for j in range(9)] for i in range(8)])
    here = Resources("cpu", "float32", ("cpu",), need_of(checkpoint, "float32"))
    worker = Worker({Role.TRAINED: checkpoint}, here, "cpu")
    room = 4
    with pytest.warns(SmallerBatchWarning, match="going on with fits of [48] prompts together"):
        (parted,) = worker.measure(bundle, {}).values()
    assert tried == [16, 8, 4]
    room = 16
    (whole,) = worker.measure(bundle, {}).values()
    assert np.allclose(parted["constants"], whole["constants"], atol=1e-4)
    room = 0
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(SmallerBatchWarning):
        worker.measure(bundle, {})
