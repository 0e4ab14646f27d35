"""Load a checkpoint into a model, strictly: every tensor expected, present, of the right shape and finite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from attnres_core.models.checkpoint import Checkpoint, UnsupportedCheckpoint, Weights, inspect_checkpoint
from attnres_core.models.config import Qwen3AttnResConfig
from attnres_core.models.model import AttnResModel
from attnres_core.models.qwen3 import Qwen3AttnResForCausalLM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNTRAINED_SEED = 0


def load_model(
    path_or_repo_id: str | Path,
    wrap: float | None = None,
    num_blocks: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> AttnResModel:
    """Load an AttnRes checkpoint, or a vanilla Qwen3 as a wrapped baseline.

    Args:
        path_or_repo_id: a `save_pretrained` folder (safetensors) or a hub id.
        wrap: a recency bias; makes a vanilla Qwen3 a wrapped baseline. 10 changes its function by about 1e-4.
        num_blocks: the wrapped baseline's number of blocks.
        device: where to put it, such as "cpu" or "cuda:0".
        dtype: float32, bfloat16 or float16.

    Raises:
        UnsupportedCheckpoint: anything unrecognised, incomplete, contradictory or damaged.
        ValueError: an unknown dtype, a device that is not there.
    """
    return load_checkpoint(inspect_checkpoint(path_or_repo_id, wrap, num_blocks), device, dtype)


def load_checkpoint(checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32") -> AttnResModel:
    """Load a checkpoint that was recognised before; errors as for `load_model`."""
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` is {dtype!r}; allowed: {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError where torch has no CUDA
        raise ValueError(
            f"`device` {device!r} cannot be used here ({error}); give 'cpu' or a device you have"
        ) from error
    fields = {key: value for key, value in checkpoint.config.items() if key not in ("model_type", "architectures")}
    try:
        config = Qwen3AttnResConfig(**fields)
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            expected = Qwen3AttnResForCausalLM(config, checkpoint.dialect).state_dict()
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        found = f"a config.json that describes no Qwen3 model ({error})"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json.") from error
    except StrictDataclassError as error:  # a field of the wrong type; its message has several lines
        found = f"a config.json that describes no Qwen3 model ({' '.join(str(error).split())})"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json.") from error
    if checkpoint.weights is Weights.UNTRAINED:
        return AttnResModel(checkpoint, _placed(_untrained(config, checkpoint), device, dtype))
    tensors: dict[str, Tensor] = {}
    for file in checkpoint.files:
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError) as error:  # changed since it was recognised
            found = f"unreadable safetensors ({error})"
            raise UnsupportedCheckpoint(file, found, "Copy or download it again.") from error
    if checkpoint.wrap is not None:
        tensors |= _constant_routing(expected, checkpoint.wrap)
    if checkpoint.weights is Weights.STOCK:
        tensors |= _random_queries(expected, config.initializer_range)
    if config.tie_word_embeddings and "model.embed_tokens.weight" in tensors:
        embedding = tensors["model.embed_tokens.weight"]
        if not torch.equal(tensors.setdefault("lm_head.weight", embedding), embedding):
            found = "tie_word_embeddings, and an lm_head.weight that differs from model.embed_tokens.weight"
            raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json or the weights.")
    _validate(checkpoint, tensors, expected, dtype)
    with torch.device("meta"):  # the stored tensors become the weights: no second copy
        network = Qwen3AttnResForCausalLM(config, checkpoint.dialect)
    network.load_state_dict(tensors, assign=True)
    network.tie_weights()
    del tensors
    return AttnResModel(checkpoint, _placed(network, device, dtype))


def _placed(network: Qwen3AttnResForCausalLM, device: str, dtype: str) -> Qwen3AttnResForCausalLM:
    """The network on its device, in its dtype but for the rotary tables: rounded angles would be other positions.

    The tables are made anew: no checkpoint holds them.
    """
    network.model.rotary_emb = Qwen3RotaryEmbedding(network.config)
    torch.nn.Module.to(network, device=device, dtype=DTYPES[dtype])
    network.model.rotary_emb = Qwen3RotaryEmbedding(network.config).to(device)
    network.eval()
    return network


def _untrained(config: Qwen3AttnResConfig, checkpoint: Checkpoint) -> Qwen3AttnResForCausalLM:
    """The architecture as training starts: a seeded initialisation with pseudo-queries at zero (arXiv:2603.15031)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = Qwen3AttnResForCausalLM(config, checkpoint.dialect)
    for name, parameter in network.named_parameters():
        if name.endswith("_res_proj.weight"):
            torch.nn.init.zeros_(parameter)
    return network


def _constant_routing(expected: Mapping[str, Tensor], bias: float) -> dict[str, Tensor]:
    """The wrapped baseline's routing: queries zero, key norms one, one recency bias."""
    values = {"_res_proj.weight": 0.0, "_res_norm.weight": 1.0, "_res_bias": bias}
    return {
        key: torch.full(tensor.shape, value)
        for key, tensor in expected.items()
        for ending, value in values.items()
        if key.endswith(ending)
    }


def _random_queries(expected: Mapping[str, Tensor], std: float) -> dict[str, Tensor]:
    """What the public code's own loading leaves a vanilla model's pseudo-queries at: N(0, initializer_range)."""
    generator = torch.Generator().manual_seed(UNTRAINED_SEED)
    queries = [key for key in expected if key.endswith("_res_proj.weight")]
    return {key: torch.normal(0.0, std, expected[key].shape, generator=generator) for key in queries}


def _validate(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: str
) -> None:
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        found = "; ".join(
            f"{len(keys)} {what} tensors ({', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''})"
            for what, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        )
        raise UnsupportedCheckpoint(checkpoint.folder, found, "config.json and the weights must describe one model.")
    wrong = [
        f"{key} is {tuple(tensors[key].shape)}, config.json implies {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if tensors[key].shape != tensor.shape
    ]
    if wrong:
        found = f"wrong shapes: {'; '.join(wrong[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json or the weights.")
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        found = f"NaN or infinite weights in {', '.join(broken[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Use a checkpoint from before the training diverged.")
    beyond = [key for key, tensor in tensors.items() if not torch.isfinite(tensor.to(DTYPES[dtype])).all()]
    if beyond:
        found = f"weights beyond the range of {dtype} in {', '.join(beyond[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Load it in float32 or bfloat16.")
