"""Where a run computes and whether it fits: devices, measuring slots, threads, memory. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from attnres_core.models.checkpoint import Checkpoint
from attnres_core.plan import BATCH_TOKENS, CHUNK, GROUP, LOGIT_BYTES
from attnres_core.prompts import WINDOW

LIBRARIES = 700 * 2**20
"""Host memory of a process that has imported torch and the model code (550 MiB measured), rounded up."""
USABLE = 0.9
"""The share of memory that a run may plan with."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a weight."""


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that one measuring slot needs, in bytes; an upper bound from the checkpoint's header alone."""

    weights: int
    states: int
    """The clean run's snapshots and every ablated run's last states."""
    batch: int
    """One batch of ablated rows under way, and one block of logits."""

    @property
    def total(self) -> int:
        """All of it, without the libraries."""
        return self.weights + self.states + self.batch

    def __str__(self) -> str:
        """`1.2 GiB (weights 0.9 GiB, states 200 MiB, batch 100 MiB)`."""
        parts = f"weights {size(self.weights)}, states {size(self.states)}, batch {size(self.batch)}"
        return f"{size(self.total)} ({parts})"


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a run computes."""

    device_class: str
    """"cpu" or "cuda"."""
    dtype: str
    slots: tuple[str, ...]
    """One device a measuring slot."""
    need: Need
    """What a slot needs for the largest model."""
    memory: int | None = None
    """Host memory that this process may use; None on CUDA, where each slot asks its device."""

    @property
    def threads(self) -> int:
        """Threads of each slot; an OMP_NUM_THREADS of the caller's is a limit."""
        share = max(1, cores() // len(self.slots))
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return min(share, int(asked)) if asked.isdigit() and int(asked) else share


def need_of(checkpoint: Checkpoint, dtype: str) -> Need:
    """What measuring a checkpoint takes in `dtype`; a batch is one prompt chunk or `BATCH_TOKENS`, the larger."""
    width = BYTES[dtype]
    hidden, vocab, feed = (checkpoint.size(name) for name in ("hidden_size", "vocab_size", "intermediate_size"))
    heads = checkpoint.size("num_attention_heads")
    head_dim = checkpoint.size("head_dim")
    sources = max(len(site.sources) for site in checkpoint.sites)
    chunk = CHUNK * WINDOW
    snapshots = checkpoint.num_layers + 2 * sources  # currents differ at every start, completed blocks are shared
    last = 2 * GROUP  # every intervention's, and at most as many shams
    rows = max(BATCH_TOKENS, chunk)
    # Sources stay beside their float32 square roots; a sublayer holds a few copies of its input and widened states.
    working = (sources + 8) * hidden + 4 * heads * head_dim + 3 * feed
    blocks = 6 * max(LOGIT_BYTES, 4 * vocab)
    return Need(
        weights=max(checkpoint.parameters * width, checkpoint.stored_bytes),
        states=(snapshots + last) * chunk * hidden * width,
        batch=rows * working * max(width, 4) + blocks,
    )


def plain_need(checkpoint: Checkpoint) -> Need:
    """What the plain path takes, which holds every effect against float32 whatever the run's dtype."""
    need = need_of(checkpoint, "float32")
    return Need(need.weights, 2 * CHUNK * WINDOW * checkpoint.size("hidden_size") * BYTES["float32"], need.batch)


def memory_words(memory: int) -> str:
    """What the machine has, and what is free of it now where that is less than half."""
    free = psutil.virtual_memory().available
    return f"this machine has {size(memory)}" + (f", {size(free)} free now" if free < memory / 2 else "")


def size(count: int) -> str:
    """A number of bytes in words: `35 MiB`, `1.2 GiB`."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_place(device: str, dtype: str, workers: int, checkpoints: Iterable[Checkpoint]) -> Place:
    """Slots = min(workers, cores, devices, what memory allows), found without importing torch.

    Args:
        device: auto, cpu or cuda.
        dtype: what the models are loaded in.
        workers: processes that may measure.
        checkpoints: the models that a slot may come to hold, one at a time.

    Raises:
        ValueError: the device is neither auto, cpu nor cuda; CUDA is asked for and not there; the memory is too small.
    """
    each = [need for checkpoint in checkpoints for need in (need_of(checkpoint, dtype), plain_need(checkpoint))]
    need = max(each, key=lambda need: need.total)
    devices = cuda_devices()
    if device == "auto":
        device = "cuda" if devices else "cpu"
    if device == "cuda":
        if not devices:
            raise ValueError(
                "--attnres-device is 'cuda', and no CUDA device with a CUDA build of torch is here; use cpu"
            )
        return Place("cuda", dtype, tuple(f"cuda:{index}" for index in range(min(devices, workers))), need)
    if device != "cpu":
        raise ValueError(f"--attnres-device is {device!r}; allowed: auto, cpu, cuda")
    memory = host_memory()
    check_fit(need, int(memory * USABLE) - LIBRARIES, dtype, "this machine (less 10 % and the libraries)")
    fitting = int(memory * USABLE) // (need.total + LIBRARIES)
    return Place("cpu", dtype, ("cpu",) * min(workers, cores(), fitting), need, memory)


def check_fit(need: Need, available: int, dtype: str, where: str) -> None:
    """Refuse what cannot fit, before anything is loaded.

    Raises:
        ValueError: what is needed, what there is, what to do.
    """
    if need.total <= available:
        return
    raise ValueError(
        f"measuring needs {need} in {dtype}, and {where} has {size(max(available, 0))}: use a larger machine or GPU, "
        "or a smaller checkpoint (whatever the dtype, effects are held against float32 once)"
    )


def cuda_devices() -> int:
    """How many CUDA devices torch would see, without importing it."""
    if "+cpu" in importlib.metadata.version("torch"):
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
    if visible is None or not present:
        return present
    return min(present, len([entry for entry in visible.split(",") if entry.strip() and entry.strip() != "-1"]))


def host_memory() -> int:
    """Bytes this process may use: the machine's, or its control group's where that is less."""
    limits = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    return min(limits)
