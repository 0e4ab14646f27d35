"""Load a checkpoint into a model, strictly: every tensor expected, present, of the right shape and finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.inkling2.configuration_inkling2 import Inkling2TextConfig

from attnres_core import shipped
from attnres_core.models.adapters import named
from attnres_core.models.adapters.adapter import AdapterError
from attnres_core.models.checkpoints.adapted import AdaptedCheckpoint
from attnres_core.models.checkpoints.checkpoint import (
    Checkpoint,
    NativeCheckpoint,
    Weights,
    inspect_checkpoint,
)
from attnres_core.models.checkpoints.placement import BALANCED, DeviceMap, Placement, balanced, placement_of
from attnres_core.models.checkpoints.stored import digest_of
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks.inkling2 import Inkling2AttnResForCausalLM, own_names
from attnres_core.models.networks.llama import LlamaAttnResConfig, LlamaAttnResForCausalLM, llama_config
from attnres_core.models.networks.nanogpt import NanoGPTForCausalLM, nanogpt_config
from attnres_core.models.networks.network import LayeredNetwork
from attnres_core.models.networks.qwen3 import Qwen3AttnResConfig, Qwen3AttnResForCausalLM


@dataclass(frozen=True)
class Architecture:
    """The network of a backbone."""

    config: Callable[[NativeCheckpoint], Any]
    network: Callable[[Any, Any], Any]
    """From a config and the dialect."""
    attention: str = "sdpa"
    """The attention implementation of `transformers`."""
    ties: bool = True
    """Whether its embedding can serve as its unembedding."""
    renamed: Callable[[Mapping[str, Tensor], Any, torch.dtype], dict[str, Tensor]] | None = None
    """Stored tensors under the network's own names, by a library's conversion; None: by the backbone's names."""


def _of_fields(config: Callable[..., Any]) -> Callable[[NativeCheckpoint], Any]:
    """A config of `transformers` made from the fields of config.json."""

    def made(checkpoint: NativeCheckpoint) -> Any:
        skipped = ("model_type", "architectures")
        return config(**{key: value for key, value in checkpoint.config.items() if key not in skipped})

    return made


def _fla_config(checkpoint: NativeCheckpoint) -> Any:
    given = checkpoint.config
    eps, theta = float(given.get("norm_eps", 1e-6)), float(given.get("rope_theta", 10000.0))
    sizes = {**checkpoint.sizes, "num_hidden_layers": checkpoint.num_layers}
    return llama_config(sizes, eps=eps, theta=theta, ties=bool(given.get("tie_word_embeddings", False)))


def _nanogpt_config(checkpoint: NativeCheckpoint) -> Any:
    given = checkpoint.config
    eps, theta = float(given.get("layer_norm_epsilon", 1e-5)), float(given.get("rope_theta", 10000.0))
    sizes = {**checkpoint.sizes, "num_hidden_layers": checkpoint.num_layers}
    gate, ties = bool(given.get("use_attn_gate", False)), bool(given.get("tie_word_embeddings", True))
    return nanogpt_config(sizes, eps=eps, theta=theta, gate=gate, ties=ties)


ARCHITECTURES: Mapping[str, Architecture] = {
    "Qwen3": Architecture(_of_fields(Qwen3AttnResConfig), Qwen3AttnResForCausalLM),
    "Llama": Architecture(_of_fields(LlamaAttnResConfig), LlamaAttnResForCausalLM),
    "FLA transformer": Architecture(_fla_config, LlamaAttnResForCausalLM),
    "nanoGPT": Architecture(_nanogpt_config, NanoGPTForCausalLM),
    "inkling2": Architecture(
        _of_fields(Inkling2TextConfig), Inkling2AttnResForCausalLM, "eager", ties=False, renamed=own_names
    ),
}
"""By the backbone's name."""
PSEUDO_QUERIES = ("_res_proj.weight", "_res_logits", "_input.query")
"""How the names of pseudo-queries, and of what stands in their place, end."""
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNTRAINED_SEED = 0


def load_model(
    path_or_repo_id: str | Path,
    wrap: float | None = None,
    num_blocks: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    *,
    revision: str | None = None,
    device_map: DeviceMap | str | None = None,
    adapter: str | None = None,
) -> AttnResModel:
    """Load an AttnRes checkpoint, or a vanilla one as a wrapped baseline.

    Models of FLA and Kimi K3 are loaded by their own package, where it is installed.

    Args:
        path_or_repo_id: a `save_pretrained` folder (safetensors), a hub id, or the name of a shipped checkpoint.
        wrap: a recency bias; makes a vanilla model a wrapped baseline. 10 changes its function by about 1e-4.
        num_blocks: the wrapped baseline's number of blocks.
        device: where to put it, such as "cpu" or "cuda:0".
        dtype: float32, bfloat16 or float16.
        revision: a branch, tag or commit of a hub id; default: its main branch.
        device_map: for a model larger than one device, in `device`'s place: "balanced" over the CUDA devices, or a
            device for every layer, `{"model.layers.0": "cuda:0", ...}`, in order and each device's layers together.
            The embedding lies with the first layer; read-out, last norm and head with the last, and a head tied to the
            embedding is copied there. Results are those of one device, and lie on the first.
        adapter: what reads the checkpoint, by its name or as `package.module:function`; default: the library, or the
            package that has the model's code.

    Raises:
        UnsupportedCheckpoint: anything unrecognised, incomplete, contradictory or damaged.
        AdapterError: the adapter is not there, fails, or describes another model.
        ValueError: an unknown dtype, a device that is not there, a map that names too little, too much or parts what
            lies together, a map for a model that its own package loads.
    """
    given = path_or_repo_id
    if given in shipped.checkpoints() and not Path(given).exists():
        given = shipped.reference(str(given))
    checkpoint = inspect_checkpoint(given, wrap, num_blocks, revision, adapter)
    return load_checkpoint(checkpoint, device, dtype, device_map)


def check_place(device: str, dtype: str) -> None:
    """Refuse an unknown dtype or a device that is not there.

    Raises:
        ValueError: says which are allowed.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` is {dtype!r}; allowed: {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError where torch has no CUDA
        raise ValueError(
            f"`device` {device!r} cannot be used here ({error}); give 'cpu' or a device you have"
        ) from error


def place_of(checkpoint: NativeCheckpoint, device: str, dtype: str, device_map: DeviceMap | str | None) -> Placement:
    """Return where each part of a model is to lie; errors as for `load_model`."""
    if device_map is None:
        placement = Placement((device,) * checkpoint.num_layers)
    elif device != "cpu":
        raise ValueError(f"`device` is {device!r}, and `device_map` is given too; give one of them")
    elif device_map == BALANCED:
        count = torch.cuda.device_count()
        if not count:
            raise ValueError(f"`device_map` is {BALANCED!r}, and no CUDA device is here; give device='cpu' instead")
        placement = balanced(checkpoint, [f"cuda:{index}" for index in range(count)])
    else:
        placement = placement_of(device_map, checkpoint.num_layers)
    for where in dict.fromkeys(placement.layers):
        check_place(where, dtype)
    return placement


def load_checkpoint(
    checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32", device_map: DeviceMap | str | None = None
) -> AttnResModel:
    """Load a checkpoint that was recognised before; arguments and errors as for `load_model`."""
    if isinstance(checkpoint, AdaptedCheckpoint):
        return _through_adapter(checkpoint, device, dtype, device_map)
    assert isinstance(checkpoint, NativeCheckpoint), "one of two"
    placement = place_of(checkpoint, device, dtype, device_map)
    backbone, architecture = checkpoint.backbone.name, ARCHITECTURES[checkpoint.backbone.name]
    try:
        config = architecture.config(checkpoint)
        config._attn_implementation = architecture.attention
        with torch.device("meta"):
            expected = architecture.network(config, checkpoint.dialect).state_dict()
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        found = f"a config.json that describes no {backbone} model ({error})"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json.") from error
    except StrictDataclassError as error:  # a field of the wrong type; its message has several lines
        found = f"a config.json that describes no {backbone} model ({' '.join(str(error).split())})"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json.") from error
    if checkpoint.weights is Weights.UNTRAINED:
        return AttnResModel(checkpoint, _placed(_untrained(architecture, config, checkpoint), placement, dtype))
    tensors: dict[str, Tensor] = {}
    for file in checkpoint.files:
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError) as error:  # changed since it was recognised
            found = f"unreadable safetensors ({error})"
            raise UnsupportedCheckpoint(file, found, "Copy or download it again.") from error
    known = vars(checkpoint).get("weights_digest")  # (where it was asked for)
    if known is not None and digest_of(checkpoint.config, checkpoint.files) != known:
        found = "weights that changed since the checkpoint was recognised"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Run again once nothing writes to it.")
    _check_values(checkpoint, tensors, dtype)
    if architecture.renamed is None:
        tensors = _ours(checkpoint, tensors, expected)
    else:
        tensors = architecture.renamed(tensors, config, DTYPES[dtype])
    if checkpoint.wrap is not None:
        tensors |= _constant_routing(expected, checkpoint.wrap)
    if checkpoint.weights is Weights.STOCK:
        tensors |= _random_queries(expected, config.initializer_range)
    if architecture.ties and config.tie_word_embeddings and _EMBEDDING in tensors:
        embedding, theirs = tensors[_EMBEDDING], checkpoint.backbone.names(checkpoint.config).theirs
        if not torch.equal(tensors.setdefault(_HEAD, embedding), embedding):
            found = f"tie_word_embeddings, and an {theirs(_HEAD)} that differs from {theirs(_EMBEDDING)}"
            raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json or the weights.")
    _check_names(checkpoint, tensors, expected)
    with torch.device("meta"):  # the stored tensors become the weights: no second copy
        network = architecture.network(config, checkpoint.dialect)
    network.load_state_dict(tensors, assign=True)
    network.tie_weights()
    del tensors
    return AttnResModel(checkpoint, _placed(network, placement, dtype))


def _ours(
    checkpoint: NativeCheckpoint, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Stored tensors under the network's own names; a pseudo-query that is stored as a vector has a row of its own."""
    names, found = checkpoint.backbone.names(checkpoint.config), dict[str, Tensor]()
    for name, tensor in tensors.items():
        own = names.ours(name)
        if own in found:
            told = f"two tensors in the place of {names.theirs(own)}"
            raise UnsupportedCheckpoint(checkpoint.folder, told, "Correct the weights.")
        row = own in expected and tensor[None].shape == expected[own].shape
        found[own] = tensor[None] if row else tensor
    return found


def _placed(network: LayeredNetwork, placement: Placement, dtype: str) -> LayeredNetwork:
    """The network in place, in its dtype but for what stays in float32; with the tables no checkpoint holds."""
    network.make_tables()
    if placement.ends_apart:  # a head tied to the embedding has to be a tensor of its own
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.data)
    held: list[tuple[str, Tensor]] = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in held:
        own = torch.float32 if any(part in name for part in network.float32) else DTYPES[dtype]
        tensor.data = tensor.data.to(placement.of(name), own if tensor.is_floating_point() else tensor.dtype)
    network.eval()
    return network


def _through_adapter(
    checkpoint: AdaptedCheckpoint, device: str, dtype: str, device_map: DeviceMap | str | None
) -> AttnResModel:
    """The model as its adapter gives it.

    Raises:
        AdapterError: its code or its sites are not those that were looked at.
    """
    check_place(device, dtype)
    name = checkpoint.adapter
    if device_map is not None:
        told = f"{checkpoint.folder} is read by the adapter {name}"
        raise ValueError(f"`device_map` is for models that the library computes, and {told}: leave it out")
    untrained = checkpoint.weights is Weights.UNTRAINED
    model = named.run(name, checkpoint.folder, device=device, dtype=DTYPES[dtype], untrained=untrained)
    if model.sites != checkpoint.sites:
        raise AdapterError(
            f"the adapter {name!r} gives other sites than when the checkpoint was looked at; run it again"
        )
    if named.code_of(named.find(name), model) != checkpoint.code:
        raise AdapterError(
            f"the code of the adapter {name!r}, or of its model, is not what {checkpoint.name} was looked at with; "
            "install the same on every machine, or run again"
        )
    return AttnResModel(checkpoint, model.network)


def _untrained(architecture: Architecture, config: Any, checkpoint: NativeCheckpoint) -> LayeredNetwork:
    """The architecture as training starts: a seeded initialisation with pseudo-queries at zero (arXiv:2603.15031)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = architecture.network(config, checkpoint.dialect)
    for name, parameter in network.named_parameters():
        if name.endswith(PSEUDO_QUERIES):
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
    """Return what the public code's own loading leaves a vanilla model's pseudo-queries at: N(0, initializer_range)."""
    generator = torch.Generator().manual_seed(UNTRAINED_SEED)
    queries = [key for key in expected if key.endswith("_res_proj.weight")]
    return {key: torch.normal(0.0, std, expected[key].shape, generator=generator) for key in queries}


def _check_names(checkpoint: NativeCheckpoint, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    theirs = checkpoint.backbone.names(checkpoint.config).theirs
    missing, unexpected = (
        sorted(map(theirs, names)) for names in (expected.keys() - tensors.keys(), tensors.keys() - expected.keys())
    )
    if missing or unexpected:
        found = "; ".join(
            f"{len(keys)} {what} tensors ({', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''})"
            for what, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        )
        raise UnsupportedCheckpoint(checkpoint.folder, found, "config.json and the weights must describe one model.")
    wrong = [
        f"{theirs(key)} is {tuple(tensors[key].shape)}, config.json implies {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if tensors[key].shape != tensor.shape
    ]
    if wrong:
        found = f"wrong shapes: {'; '.join(wrong[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Correct config.json or the weights.")


def _check_values(checkpoint: NativeCheckpoint, tensors: Mapping[str, Tensor], dtype: str) -> None:
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        found = f"NaN or infinite weights in {', '.join(broken[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Use a checkpoint from before the training diverged.")
    beyond = [key for key, tensor in tensors.items() if not torch.isfinite(tensor.to(DTYPES[dtype])).all()]
    if beyond:
        found = f"weights beyond the range of {dtype} in {', '.join(beyond[:8])}"
        raise UnsupportedCheckpoint(checkpoint.folder, found, "Load it in float32 or bfloat16.")
