"""Random small models of every dialect and backbone, as Hypothesis strategies."""

import tempfile
from pathlib import Path

import torch
from hypothesis import strategies as st

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import NativeCheckpoint
from attnres_core.models.dialects.block_v import BlockV
from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.delta_block import DeltaBlock
from attnres_core.models.dialects.delta_v import DeltaV
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.kimi_full import KimiFull
from attnres_core.models.dialects.kimi_static import KimiStatic
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.open_full import OpenFull
from attnres_core.models.dialects.open_reset import OpenReset
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.llama import LlamaAttnResForCausalLM, llama_config
from attnres_core.models.networks.nanogpt import NanoGPTForCausalLM, nanogpt_config
from attnres_core.models.networks.qwen3 import Qwen3AttnResConfig, Qwen3AttnResForCausalLM
from support.inkling2_models import SHAPES, inkling2_library, save_inkling2

VOCABULARY = 13
KINDS = (OpenBlock, OpenFull, OpenReset, KimiBlock)
dialects = st.integers(1, 9).flatmap(
    lambda layers: st.builds(lambda kind, blocks: kind(layers, blocks), st.sampled_from(KINDS), st.integers(1, layers))
)


SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=8,
    num_attention_heads=2,
    head_dim=4,
    intermediate_size=12,
    max_position_embeddings=64,
)
BACKBONES = {
    "qwen3": (
        lambda depth: Qwen3AttnResConfig(**SIZES, **depth, num_key_value_heads=1, rms_norm_eps=1e-6),
        Qwen3AttnResForCausalLM,
    ),
    "llama": (
        lambda depth: llama_config({**SIZES, **depth, "num_key_value_heads": 1}, eps=1e-6, theta=10000.0, ties=False),
        LlamaAttnResForCausalLM,
    ),
    "nanogpt": (
        lambda depth: nanogpt_config({**SIZES, **depth, "num_key_value_heads": 2}, eps=1e-6, theta=10000.0, gate=True),
        NanoGPTForCausalLM,
    ),
}
"""A config of a number of layers, and the network: what a layer computes."""


def random_model(dialect, seed, backbone="qwen3"):
    """A network of random weights and routing that is far from uniform."""
    configured, network_class = BACKBONES[backbone]
    config = configured({"num_hidden_layers": dialect.num_layers})
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    network = network_class(config, dialect).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    checkpoint = NativeCheckpoint(ac.reference("tiny-open-block"), config.to_dict(), {}, (), dialect=dialect)
    return AttnResModel(checkpoint, network)


def wrapped_model(layers, blocks, seed, bias):
    """Random weights, and the wrapped baseline's routing: queries zero, one recency bias."""
    model = random_model(OpenBlock(layers, min(blocks, layers)), seed)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "_res_proj" in name:
                parameter.zero_()
            if name.endswith("_res_bias"):
                parameter.fill_(bias)
    return model


def inkling2_model(name, seed):
    """A small model of the library's own class, as it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        return ac.load_model(save_inkling2(Path(folder) / "inkling2", inkling2_library(name, seed, std=0.2)))


small = st.integers(1, 5).flatmap(
    lambda layers: st.builds(lambda kind, blocks: kind(layers, blocks), st.sampled_from(KINDS), st.integers(1, layers))
)
models = st.builds(random_model, small, st.integers(0, 2**16))
SCHEDULES = (*KINDS, BlockV, KimiFull, KimiStatic, Delta, DeltaBlock, DeltaV)
schedules = st.integers(1, 5).flatmap(
    lambda layers: st.builds(
        lambda kind, blocks, null: kind(layers, blocks, **{"null_source": null} if issubclass(kind, Delta) else {}),
        *(st.sampled_from(SCHEDULES), st.integers(1, layers), st.booleans()),
    )
)
every_model = st.builds(random_model, schedules, st.integers(0, 2**16), st.sampled_from(sorted(BACKBONES)))
"""Any schedule on any backbone."""
wrapped_models = st.builds(wrapped_model, *(st.integers(1, 5),) * 2, st.integers(0, 2**16), st.floats(0, 10))
inkling2_models = st.builds(inkling2_model, st.sampled_from(sorted(SHAPES)), st.integers(0, 2**16))
prompts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=9), min_size=1, max_size=5)
