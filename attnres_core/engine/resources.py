"""The machine of a run, and whether it fits: devices, measuring slots, threads, memory. Imports no torch."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from attnres_core.amounts import BYTES, size
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.checkpoints.footprint import copies_of_states, last_width, working
from attnres_core.models.checkpoints.placement import BALANCED, largest_share
from attnres_core.planning.bundles import GROUP
from attnres_core.planning.material import CHUNK, REFERENCE_PROMPTS
from attnres_core.prompts import WINDOW

BATCH_TOKENS = 4096
"""Rows x positions of one ablated batch: small enough for the cache, large enough for the matrix products."""
LOGIT_BYTES = 4 * 2**20
"""Size of one float32 block of logits while scoring: what the cache holds between the passes over it ..."""
SCORE_ROWS = 128
"""... and its rows at least: with fewer, large vocabularies would read the unembedding over and over."""
LIBRARIES = 700 * 2**20
"""Host memory of a process that has imported torch and the model code (550 MiB measured), rounded up."""
BATCH_SIZES = tuple(BATCH_TOKENS >> halvings for halvings in range((BATCH_TOKENS // (CHUNK * WINDOW)).bit_length()))
"""Batches to choose from, the largest first; none is smaller than one chunk of prompts."""
NARROW = 512
"""Models narrower than this are measured on one thread: their products are so small that a second one waits, spinning,
more than it helps. Width 128 on two cores that others use, too: 2.6 s on one thread, 12.5 s on two."""
USABLE = 0.9
"""The share of memory that a run may plan with."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that one measuring slot needs, in bytes; an upper bound from the checkpoint's header alone."""

    weights: int
    states: int
    """The clean run's snapshots, every ablated run's last states, and the reference prompts' states."""
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
class Resources:
    """The devices, slots and threads of a run, and its memory."""

    device_class: str
    """"cpu" or "cuda"."""
    dtype: str
    slots: tuple[str, ...]
    """One device a measuring slot; none: CUDA is asked for and not here, so this machine can judge and not measure."""
    need: Need
    """What a slot needs for the largest model."""
    memory: int | None = None
    """Host memory that this process may use; None on CUDA, where each slot asks its device."""
    batch_tokens: int = BATCH_TOKENS
    """Rows x positions of one ablated batch."""
    spread: tuple[str, ...] = ()
    """The devices that every model is balanced over, in the one slot that then is; none: each lies on its slot's."""

    width: int = NARROW
    """Of the widest model."""
    address: str = ""
    """Of the cluster whose processes measure; empty: this machine's do."""

    @property
    def threads(self) -> int:
        """Threads of each slot."""
        return threads_for(self.width, max(len(self.slots), 1))

    def __str__(self) -> str:
        """`cpu, float32, 2 measuring slots x 1 thread`."""
        if self.address:
            who = f"processes of the Ray cluster at {self.address}, sent what they lack"
            return f"{self.device_class}, {self.dtype}, {who}"
        if not self.slots:
            return f"{self.device_class}, {self.dtype}, and no CUDA device is here: what the store holds is judged"
        slots, threads = (
            f"{count} {what}{'s' if count > 1 else ''}"
            for count, what in ((len(self.slots), "measuring slot"), (self.threads, "thread"))
        )
        spread = f" over {len(self.spread)} devices" if self.spread else ""
        return f"{self.device_class}, {self.dtype}, {slots} x {threads}{spread}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A run's demands on the machines that measure."""

    device: str
    """auto, cpu or cuda."""
    dtype: str
    checkpoints: Sequence[Checkpoint]
    """The models that a slot may come to hold, one at a time."""
    workers: int = 1
    """Processes of this machine that may measure."""
    budget: int | None = None
    """Bytes that one slot may use beside the libraries; None: what there is."""
    device_map: str | None = None
    """"balanced" spreads every model over several CUDA devices."""
    address: str | None = None
    """Of a cluster."""


def threads_for(width: int, slots: int = 1) -> int:
    """Threads that measure a model of this width beside so many slots; the caller's OMP_NUM_THREADS is a limit."""
    share = max(1, cores() // slots) if width >= NARROW else 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(asked)) if asked.isdigit() and int(asked) else share


def need_of(checkpoint: Checkpoint, dtype: str, batch_tokens: int = BATCH_TOKENS, devices: int = 1) -> Need:
    """Return what measuring a checkpoint takes in `dtype`; a batch is one prompt chunk or `batch_tokens`, the larger.

    Balanced over several devices, what the fullest takes: its share of the weights (states and batch as on one).
    """
    width = BYTES[dtype]
    hidden, vocab = checkpoint.size("hidden_size"), checkpoint.size("vocab_size")
    sources = max(len(site.sources) for site in checkpoint.sites)
    chunk = CHUNK * WINDOW
    # inkling2 keeps states normalised beside themselves, and its weights as stored until they are converted.
    copies = copies_of_states(checkpoint)
    snapshots = copies * (checkpoint.num_layers + 2 * sources)  # (starts differ in the current state alone)
    last = GROUP + 1  # every intervention's, and the sham's
    reference = (2 * checkpoint.num_layers + sources) * REFERENCE_PROMPTS * WINDOW  # a state a sublayer, and the blocks
    rows = max(batch_tokens, chunk)
    blocks = 6 * max(LOGIT_BYTES, 4 * vocab * SCORE_ROWS)
    weights = copies * max(checkpoint.parameters * width, checkpoint.stored_bytes)
    return Need(
        weights=math.ceil(weights * largest_share(checkpoint, devices)),
        states=((snapshots * chunk + reference) * hidden + last * chunk * last_width(checkpoint)) * width,
        batch=rows * working(checkpoint, sources) * max(width, 4) + blocks,
    )


def largest_need(checkpoints: Iterable[Checkpoint], dtype: str, batch_tokens: int, devices: int = 1) -> Need:
    """Return what the neediest of several checkpoints takes of a device, measured or held against the plain path."""
    dtypes = {dtype, "float32"}  # (claims that an effect is small are measured in float32)
    needs = [need_of(c, own, batch_tokens, devices) for c in checkpoints for own in dtypes]
    needs += [plain_need(c, batch_tokens, devices) for c in checkpoints]
    return max(needs, key=lambda need: need.total)


def plain_need(checkpoint: Checkpoint, batch_tokens: int = BATCH_TOKENS, devices: int = 1) -> Need:
    """Return what the plain path takes, which holds every effect against float32 whatever the run's dtype."""
    need = need_of(checkpoint, "float32", batch_tokens, devices)
    states = GROUP + 2  # the last of every intervention and of the clean run, and those of the run under way
    return Need(need.weights, states * CHUNK * WINDOW * last_width(checkpoint) * BYTES["float32"], need.batch)


def memory_words(memory: int) -> str:
    """Return what the machine has, and what is free of it now where that is less than half."""
    free = psutil.virtual_memory().available
    return f"this machine has {size(memory)}" + (f", {size(free)} free now" if free < memory / 2 else "")


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_resources(
    device: str,
    dtype: str,
    workers: int,
    checkpoints: Iterable[Checkpoint],
    budget: int | None = None,
    device_map: str | None = None,
) -> Resources:
    """Slots = min(workers, cores, devices, what memory allows), found without importing torch.

    CUDA asked for where there is no device is no slot: the last step of a job array judges what others measured.

    Args:
        device: auto, cpu or cuda.
        dtype: what the models are loaded in.
        workers: processes that may measure.
        checkpoints: the models that a slot may come to hold, one at a time.
        budget: bytes that one slot may use beside the libraries (of each device); default: what there is.
        device_map: "balanced" spreads every model over all CUDA devices, and makes them one slot.

    Raises:
        ValueError: the device is neither auto, cpu nor cuda; the memory is too small; the device map is another, or the
            device is the CPU.
    """
    devices = cuda_devices()
    if device == "auto":
        device = "cuda" if devices else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"--attnres-device is {device!r}; allowed: auto, cpu, cuda")
    if device_map not in (None, BALANCED):
        raise ValueError(f"--attnres-device-map is {device_map!r}; allowed: {BALANCED}")
    if device_map and device == "cpu":
        raise ValueError(f"--attnres-device-map {BALANCED} is for CUDA devices, and the device is cpu; leave it out")
    spread = tuple(f"cuda:{index}" for index in range(devices)) if device_map else ()
    memory = None if device == "cuda" else host_memory()
    limit = math.inf if memory is None else int(memory * USABLE) - LIBRARIES
    models = list(checkpoints)
    width = max((checkpoint.size("hidden_size") for checkpoint in models), default=NARROW)
    for batch_tokens in BATCH_SIZES:  # the largest that fits
        need = largest_need(models, dtype, batch_tokens, len(spread) or 1)
        if need.total <= min(limit, budget or math.inf):
            break
    if budget is not None:
        check_fit(need, budget, dtype, "--attnres-memory")
    if memory is None:
        slots = tuple(f"cuda:{index}" for index in range(1 if spread else min(devices, workers)))
        return Resources("cuda", dtype, slots, need, None, batch_tokens, spread, width)
    check_fit(need, int(limit), dtype, "this machine (less 10 % and the libraries)")
    fitting = int(memory * USABLE) // (need.total + LIBRARIES)
    slots = ("cpu",) * min(workers, cores(), fitting)
    return Resources("cpu", dtype, slots, need, memory, batch_tokens, width=width)


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


def keep_freed_memory() -> None:
    """Ask glibc to keep what is freed for the next batch instead of giving it back and faulting it in again.

    A sweep and a bootstrap free and take blocks of megabytes thousands of times. Without glibc, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def same_kernels_every_time() -> None:
    """Ask cuBLAS for one result whatever else its device does; heard only before CUDA is first used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def cuda_devices() -> int:
    """Return how many CUDA devices torch would see, without importing it."""
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
