"""FLA's package on a machine without CUDA: its Triton kernels, as they are, run in Triton's interpreter.

Three things stand in the way, and each is set aside once a process, before the package is imported:

- Autotuning times a kernel's configurations on a GPU. With one configuration nothing is timed.
- `fused_attnres` refuses CPU tensors. The package's own reference, `naive_attnres`, has the same signature.
- Softmax attention comes from flash-attn, which has no CPU build. torch's own attention takes its place.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

INTERPRET = "TRITON_INTERPRET"
"""The environment variable that makes Triton's kernels run as NumPy."""


class CannotInterpret(RuntimeError):
    """FLA was imported before Triton was told to interpret; says what to do."""


@cache
def prepare() -> None:
    """Make `fla` run on this machine's CPU; nothing where there is CUDA.

    Raises:
        CannotInterpret: `fla` was imported before, without Triton's interpreter.
        ImportError: `triton` or `fla` is not installed.
    """
    if torch.cuda.is_available():
        return
    if os.environ.get(INTERPRET) != "1":
        if "fla" in sys.modules:
            raise CannotInterpret(
                "without CUDA, FLA's kernels need Triton's interpreter, and `fla` is imported already; set "
                f"{INTERPRET}=1 in the environment before Python starts"
            )
        os.environ[INTERPRET] = "1"
        _forget_triton()
    _time_nothing()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # (of the missing GPU and flash-attn, which are why this is here)
        importlib.import_module("fla.models")
    naive = importlib.import_module("fla.ops.attnres").naive_attnres
    attention = {"flash_attn_func": attend, "flash_attn_varlen_func": attend_by_document}
    for module in [module for name, module in sys.modules.items() if name.startswith("fla.")]:
        if hasattr(module, "fused_attnres"):
            module.fused_attnres = naive  # type: ignore[attr-defined]
        if getattr(module, "flash_attn_func", attend) is None:
            for name, ours in attention.items():
                setattr(module, name, ours)


def _forget_triton() -> None:
    """Make the next import of Triton a fresh one: torch may have imported it, and it asks for its interpreter then.

    Its compiled part stays: it can be loaded once a process.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):
            del sys.modules[name]


def _time_nothing() -> None:
    """Leave each kernel its first configuration: autotuning then asks no GPU."""
    autotuner: Any = importlib.import_module("triton.runtime.autotuner").Autotuner
    made: Callable[..., None] = autotuner.__init__

    def with_one(self: Any, fn: Any, arg_names: Any, configs: Any, *given: Any, **named: Any) -> None:
        made(self, fn, arg_names, configs[:1], *given, **named)

    autotuner.__init__ = with_one


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, window_size: tuple[int, int] = (-1, -1), **options: Any
) -> Tensor:
    """flash-attn's `flash_attn_func` `[batch, pos, head, d]`: the last query stands at the last key."""
    queries, keys = q.shape[1], k.shape[1]
    at = torch.arange(queries, device=q.device)[:, None] + keys - queries
    to = torch.arange(keys, device=q.device)[None]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device)
    if causal:
        seen &= to <= at
    behind, ahead = window_size
    if behind >= 0:
        seen &= to >= at - behind
    if ahead >= 0 and not causal:
        seen &= to <= at + ahead
    heads = q.shape[2] // k.shape[2]
    k, v = (each.repeat_interleave(heads, dim=2) for each in (k, v))
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    return scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=options.get("softmax_scale")).transpose(1, 2)


def attend_by_document(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, *limits: int, **options: Any
) -> Tensor:
    """flash-attn's `flash_attn_varlen_func` `[token, head, d]`: documents one after the other, each on its own."""
    options = {name: value for name, value in options.items() if not name.startswith("max_seqlen")}
    starts, stops = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    parts = []
    for number in range(len(starts) - 1):
        own, theirs = slice(*starts[number : number + 2]), slice(*stops[number : number + 2])
        parts.append(attend(q[None, own], k[None, theirs], v[None, theirs], **options)[0])
    return torch.cat(parts)
