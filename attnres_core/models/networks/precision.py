"""The arithmetic that measuring is done in, whatever the caller's process is set to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

_backends: Any = torch.backends
_FLOAT32 = (
    _backends.cuda.matmul,
    *(_backends.cudnn.conv, _backends.cudnn.rnn),
    *(_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn),
)
"""What can compute products of float32 numbers in fewer bits: TF32 on a GPU, bfloat16 on some CPUs."""


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Products of float32 numbers in float32, and cuDNN's deterministic kernels; the caller's settings afterwards.

    Also a decorator. Differences of losses are what is measured: TF32 keeps 10 bits of a number, and an effect of
    0.001 nats beside a loss of 5 needs 13.
    """
    before = [switch.fp32_precision for switch in _FLOAT32]
    cudnn = torch.backends.cudnn
    kernels = cudnn.deterministic, cudnn.benchmark
    try:
        for switch in _FLOAT32:
            switch.fp32_precision = "ieee"
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        for switch, value in zip(_FLOAT32, before, strict=True):
            switch.fp32_precision = value
        cudnn.deterministic, cudnn.benchmark = kernels
