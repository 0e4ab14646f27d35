"""The models of `transformers` with hyper-connections: what each of their calls does with the streams.

deepseek_v4 and glm5_next mix streams by a doubly stochastic matrix, hy_v4 and qwen4_exp do not; qwen4_exp reads each
channel with a gate of its own, through a norm of each stream.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from attnres_core.models.adapters.streams import StreamCall, Streams

Describe = Callable[..., Streams]


def _sigmoid_of(logits: Tensor, module: Any, scale: Tensor, base: Tensor, eps: float) -> Tensor:
    return torch.sigmoid(logits * scale.float() + base.float()) + eps


def mixed(result: Any, module: Any, states: Tensor) -> Streams:
    """deepseek_v4's and glm5_next's site: `post, comb, read`."""
    post, comb, read = result
    count = module.hc_mult
    logits = linear(module.input_norm(states.flatten(2).float()), module.fn[:count].float())
    pre = _sigmoid_of(logits, module, module.scale[0], module.base[:count], module.hc_eps)
    return Streams(states, pre, post, comb, module.fn, read, lambda read, post, comb: (post, comb, read))


def mixed_head(result: Tensor, module: Any, states: Tensor) -> Streams:
    """deepseek_v4's read-out."""
    logits = linear(module.input_norm(states.flatten(2).float()), module.hc_fn.float())
    pre = _sigmoid_of(logits, module, module.hc_scale, module.hc_base, module.eps)
    return Streams(states, pre, None, None, module.hc_fn, result, lambda read, post, comb: read)


def mean_head(result: Tensor, module: Any, states: Tensor) -> Streams:
    """glm5_next's read-out: the mean of the streams."""
    pre = torch.full(states.shape[:3], 1 / states.shape[2], device=states.device)
    return Streams(states, pre, None, None, None, result, lambda read, post, comb: read)


def independent(result: Any, module: Any, states: Tensor) -> Streams:
    """hy_v4's site: `post, read`; its norm gives the inverse size of what it is given."""
    post, read = result
    count, flat = module.hc_mult, states.flatten(2).float()
    logits = linear(flat, module.fn[:count].float()) * module.input_norm(flat)
    pre = _sigmoid_of(logits, module, module.scale[0], module.base[:count], module.hc_eps)
    return Streams(states, pre, post, None, module.fn, read, lambda read, post, comb: (post, read))


def independent_head(result: Tensor, module: Any, states: Tensor) -> Streams:
    """hy_v4's read-out."""
    flat = states.flatten(2).float()
    logits = linear(flat, module.hc_fn.float()) * module.input_norm(flat)
    pre = _sigmoid_of(logits, module, module.hc_scale, module.hc_base, module.eps)
    return Streams(states, pre, None, None, module.hc_fn, result, lambda read, post, comb: read)


def gated(result: Any, module: Any, flat: Tensor) -> Streams:
    """qwen4_exp's site, `read, streams, post`, and its read-out, `read`: a gate a channel on normalised streams."""
    count, norm = module.hc_count, module.hc_norm
    states = flat.unflatten(-1, (count, module.hidden_size))
    low = silu(module.input_mix_weight_down(norm(flat)) / count)
    gates = torch.sigmoid(module.input_mix_weight_up(low)).float().unflatten(-1, (count, module.hidden_size))
    inverse = torch.rsqrt(states.float().pow(2).mean(-1, keepdim=True) + norm.eps)
    gains = (1.0 + norm.weight.float()).unflatten(-1, (count, module.hidden_size))
    pre, parameter = gates * gains * inverse / count, module.input_mix_weight_down.weight
    if isinstance(result, Tensor):
        return Streams(states, pre, None, None, parameter, result, lambda read, post, comb: read)
    read, _, post = result
    return Streams(states, pre, post, None, parameter, read, lambda read, post, comb: (read, flat, post))


CALLS: dict[str, tuple[tuple[str, Describe], ...]] = {
    "deepseek_v4": (("DeepseekV4HyperConnection", mixed), ("DeepseekV4HyperHead", mixed_head)),
    "glm5_next": (("Glm5NextTextHyperConnection", mixed), ("Glm5NextTextHyperHead", mean_head)),
    "hy_v4": (("HYV4HyperConnection", independent), ("HYV4HyperHead", independent_head)),
    "qwen4_exp": (("Qwen4ExpTextGatedResidual", gated),),
}
"""By model, the classes whose `forward` reads streams."""


def calls_of(model_type: str) -> tuple[StreamCall, ...]:
    """The calls of a model of `transformers`, by its model_type (`qwen4_exp_text` is qwen4_exp's)."""
    name = model_type.removesuffix("_text")
    modelling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    return tuple(StreamCall(getattr(modelling, owner), "forward", describe) for owner, describe in CALLS[name])
