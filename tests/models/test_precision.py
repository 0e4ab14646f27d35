"""Half precision: close to float32, with the rotary tables and the routing softmax kept in float32."""

import pytest
import torch
from support.inkling2_models import inkling2_library, save_inkling2
from support.small_suite import verdicts

import attnres_core as ac
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.exploration.screening import screen
from attnres_core.models.networks.routing import PseudoQuery, Source, route


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("folder", ["open_block_11", "kimi_block_14"])
def test_half_precision_is_close_to_float32(conformance, folder, dtype):
    ids = torch.arange(24).reshape(2, 12)
    full, half = ac.load_model(conformance / folder), ac.load_model(conformance / folder, dtype=dtype)
    assert half.network.model.rotary_emb.inv_freq.dtype is torch.float32
    for site, weights in half.depth_weights(ids).items():
        assert weights.dtype is torch.float32, site
        assert torch.allclose(weights.sum(0), torch.ones(2, 12), atol=1e-5)
    scale = full.logits(ids).std()
    assert (half.logits(ids) - full.logits(ids)).abs().mean() < 0.1 * scale


SWITCHES = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul)


@pytest.fixture
def _coarse():
    """A process in which products of float32 numbers may be computed in fewer bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_coarse")
def test_measuring_is_exact_whatever_the_caller_s_process_is_set_to(conformance, monkeypatch):
    """In every forward pass, of logits, weights, sweeps, plain runs and references; the settings are given back."""
    model = ac.load_model(conformance / "open_block_11")
    original, seen = type(model.network).run, []

    def run(self, *given, **options):
        seen.append({switch.fp32_precision for switch in SWITCHES} | {torch.backends.cudnn.deterministic})
        return original(self, *given, **options)

    monkeypatch.setattr(type(model.network), "run", run)
    before = [switch.fp32_precision for switch in SWITCHES], torch.backends.cudnn.deterministic
    ids = [[1, 2, 3], [4, 5, 6]]
    model.logits(torch.tensor(ids))
    model.depth_weights(torch.tensor(ids))
    ac.measure(model, ids, [ac.mean(ac.CURRENT, ac.MLP)])
    plain_chunk(model, ids, [])
    screen(model, ids)
    assert len(seen) > 6
    assert all(each == {"ieee", True} for each in seen)
    assert ([switch.fp32_precision for switch in SWITCHES], torch.backends.cudnn.deterministic) == before
    assert "ieee" not in before[0]
    with pytest.raises(ValueError, match="ids run from"):
        model.logits(torch.tensor([[10**6]]))
    assert ([switch.fp32_precision for switch in SWITCHES], torch.backends.cudnn.deterministic) == before


def test_routing_is_softmaxed_in_float32_in_half_precision(conformance):
    """Logits of one query that differ by less than bfloat16 resolves still give different weights."""
    state = torch.ones(1, 1, 256, dtype=torch.bfloat16)
    close = torch.cat([torch.ones(1, 1, 255), torch.full((1, 1, 1), 1.5)], -1).to(torch.bfloat16)
    query = torch.full((256,), 0.5, dtype=torch.bfloat16)
    read = route([Source(state, 1e-6), Source(close, 1e-6)], PseudoQuery(query))
    assert read.weights.dtype is torch.float32
    logits = torch.stack(
        [(s.float() * s.float().pow(2).mean().add(1e-6).rsqrt() @ query.float()) for s in (state, close)]
    )
    assert len(set(logits.to(torch.bfloat16).flatten().tolist())) == 1
    assert torch.allclose(read.weights, logits.softmax(0), atol=1e-4)  # (float32 sums to 128 in any order)
    assert read.weights[0] - read.weights[1] > 0.02
    assert read.mixture.dtype is torch.bfloat16


ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
FOLDERS = ["open_block_11", "kimi_block_14"]


def on_cuda(test):
    """Only where there is a CUDA device; elsewhere skipped with that reason."""
    for mark in ON_CUDA:
        test = mark(test)
    return test


@on_cuda
@pytest.mark.parametrize("folder", FOLDERS)
def test_cuda_gives_the_cpu_s_numbers(conformance, folder):
    ids = torch.arange(24).reshape(2, 12)
    drop = ac.drop(ac.CURRENT, ac.MLP)
    cpu, cuda = ac.load_model(conformance / folder), ac.load_model(conformance / folder, device="cuda")
    for ablation in (None, drop):
        there = cuda.logits(ids.cuda(), ablation=ablation).cpu()
        assert (cpu.logits(ids, ablation=ablation) - there).abs().max() < 1e-4


@on_cuda
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_sweep_on_cuda_gives_the_cpu_s_columns(conformance, folder):
    prompts = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10]]
    wanted = [ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY), ac.drop(ac.CURRENT, ac.ATTN, per_site=True), ac.entropy(ac.MLP)]
    columns = [ac.measure(ac.load_model(conformance / folder, device=d), prompts, wanted) for d in ("cpu", "cuda")]
    for what in wanted:
        assert columns[1][what] == pytest.approx(columns[0][what], abs=1e-4)


@on_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inkling2_on_cuda_gives_the_cpu_s_numbers(tmp_path, dtype):
    folder, ids = save_inkling2(tmp_path, inkling2_library("hybrid")), torch.arange(24).reshape(2, 12)
    cpu, cuda = ac.load_model(folder, dtype=dtype), ac.load_model(folder, device="cuda", dtype=dtype)
    for ablation in (None, ac.drop(ac.CURRENT, ac.ATTN, stream="k")):
        there = cuda.logits(ids.cuda(), ablation=ablation).cpu()
        assert (cpu.logits(ids, ablation=ablation) - there).abs().max() < {"float32": 1e-4, "bfloat16": 2e-2}[dtype]


@on_cuda
def test_a_sweep_on_cuda_is_the_same_every_time(conformance):
    model = ac.load_model(conformance / "kimi_block_14", device="cuda", dtype="bfloat16")
    wanted = [ac.drop(ac.CURRENT, ac.MLP), ac.matched_mass(ac.drop(ac.CURRENT, ac.MLP))]
    first, second = (ac.measure(model, [[1, 2, 3, 4, 5], [6, 7, 8]], wanted) for _ in range(2))
    for what in wanted:
        assert (first[what] == second[what]).all()


@on_cuda
def test_a_suite_on_cuda_gives_the_cpu_s_verdicts(suite, pytester):
    found = {}
    for device in ("cpu", "cuda"):
        suite("-n", "2", f"--attnres-device={device}")
        found[device] = {name: entry["verdict"] for name, entry in verdicts(pytester).items()}
    assert found["cuda"] == found["cpu"]
