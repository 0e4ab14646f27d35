"""Half precision: close to float32, with the rotary tables and the routing softmax kept in float32."""

import pytest
import torch
from small_suite import verdicts

import attnres_core as ac


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
def test_a_suite_on_cuda_gives_the_cpu_s_verdicts(suite, pytester):
    found = {}
    for device in ("cpu", "cuda"):
        suite("-n", "2", f"--attnres-device={device}")
        found[device] = {name: entry["verdict"] for name, entry in verdicts(pytester).items()}
    assert found["cuda"] == found["cpu"]
