"""Half precision: close to float32, with the rotary tables and the routing softmax kept in float32."""

import pytest
import torch

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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("folder", ["open_block_11", "kimi_block_14"])
def test_cuda_gives_the_cpu_s_numbers(conformance, folder):
    ids = torch.arange(24).reshape(2, 12)
    cpu, cuda = ac.load_model(conformance / folder), ac.load_model(conformance / folder, device="cuda")
    assert (cpu.logits(ids) - cuda.logits(ids.cuda()).cpu()).abs().max() < 1e-4
