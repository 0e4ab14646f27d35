"""Where a sweep's CPU time goes at three widths, and how far each part is from its own limit: markdown tables.

python benchmarks/where.py                     # widths 128, 512 and 1,024: some minutes
python benchmarks/where.py --widths 128        # one of them

Random weights of the open_block schedule; 8 drops of 16 prompts of 64 tokens on one thread, under torch's profiler.
Each operation counts once, for what it is (products, attention) or for the part of the engine that asks for it.
Limits are of this run: the best dense product, and a copy of as many bytes as one state of the batch has (in the
cache, as states are). A part that moves memory must at least read what it is given and write what it returns, once;
scoring must read the logits. A part without such a figure has no limit. The same sweep in bfloat16 is timed beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engine import dense_rate
from memory import write_checkpoint
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from transformers.models.qwen3 import modeling_qwen3

import attnres_core as ac
from attnres_core.engine import sweep
from attnres_core.engine.resources import keep_freed_memory
from attnres_core.models.model import AttnResModel
from attnres_core.models.networks import decoder, network
from attnres_core.planning.material import CHUNK
from attnres_core.prompts import WINDOW
from attnres_core.quantities.intervention import SHAM, Intervention, cells, resolve

# hidden, layers, blocks, feed-forward, vocabulary, mode
SHAPES = {
    128: (128, 12, 4, 384, 4096, "block"),
    512: (512, 8, 4, 1536, 8192, "block"),
    1024: (1024, 2, 2, 3072, 8192, "block"),
}
DROPS = 8
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::addmv"}
ATTENTION = "aten::_scaled_dot_product"
REST = "rest (observers, sums of states, Python)"
FLOPS, BYTES = "FLOP", "bytes"


class Parts:
    """What each part of the engine has to compute or to move, counted as it runs."""

    def __init__(self) -> None:
        self.work: Counter[str] = Counter()

    def labelled(self, part: str, function: Callable[..., Any], work: Callable[..., float]) -> Callable[..., Any]:
        """The same function, whose operations the profiler finds under the part's name."""

        def called(*given: Any, **options: Any) -> Any:
            with record_function(f"part:{part}"):
                found = function(*given, **options)
            self.work[part] += int(work(found, *given))
            return found

        return called

    @contextlib.contextmanager
    def watched(self, model: AttnResModel) -> Iterator[None]:
        """As long as this lasts, the engine's parts are labelled."""
        vocabulary = model.network.vocabulary

        def linear(found: Tensor, given: Tensor, weight: Tensor, *_: Any) -> float:
            return 2 * weight.numel() * (given.numel() // given.shape[-1])

        def attended(found: Tensor, query: Tensor, key: Tensor, *_: Any) -> float:
            return 2 * 2 * query.numel() * key.shape[-2] / 2  # (half of the square)

        def scored(found: Any, model: AttnResModel, batch: Any, clean: Tensor, hidden: Any, *_: Any) -> float:
            return 4 * vocabulary * int(batch.scored.sum()) * (1 + len(hidden))  # (logits, read once)

        def gated(found: Tensor, module: Any, state: Tensor) -> float:
            return 4 * 3 * module.up_proj.out_features * (state.numel() // state.shape[-1])

        mlp = type(model.network.model.layers[0].mlp)
        functional = torch.nn.functional
        places: list[tuple[Any, str, str, Callable[..., float]]] = [
            (functional, "linear", "products", linear),
            (functional, "scaled_dot_product_attention", "attention", attended),
            (decoder.RMSNorm, "forward", "norms", lambda found, module, state: 2 * nbytes(state)),
            (network, "route", "routing", lambda found, sources, *_: nbytes(found.mixture) * (len(sources) + 1)),
            (modeling_qwen3, "apply_rotary_pos_emb", "rotary", lambda found, *given: 2 * sum(map(nbytes, given[:2]))),
            (mlp, "forward", "SwiGLU", gated),
            (sweep, "score", "scoring", scored),
            (sweep, "picked_rows", "copies", lambda found, stream, index: 0),
        ]
        with contextlib.ExitStack() as patched:
            for owner, name, part, work in places:
                own = self.labelled(part, getattr(owner, name), work)
                patched.enter_context(mock.patch.object(owner, name, own))
            yield


def nbytes(tensor: Tensor) -> int:
    """The size of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


def part_of(event: Any) -> str:
    """The part that an operation counts for."""
    if event.name in PRODUCTS:
        return "products"
    if event.name.startswith(ATTENTION):
        return "attention"
    while event is not None:
        if event.name.startswith("part:"):
            return str(event.name.removeprefix("part:"))
        event = event.cpu_parent
    return REST


def copy_rate(size: int, seconds: float = 0.5) -> float:
    """Bytes read and written per second by copies of so many bytes."""
    source = torch.randn(size // 4)
    target = torch.empty_like(source)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        target.copy_(source)
        count += 1
    return 2 * size * count / (time.perf_counter() - start)


def measured(width: int) -> str:
    """The table of one width."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), SHAPES[width])
        model, half = ac.load_model(folder), ac.load_model(folder, dtype="bfloat16")
    every = [ac.drop(f, site.sublayer, range(site.layer, site.layer + 1)) for site, f in cells(model.sites)]
    step = max(1, len(every) // DROPS)
    wanted: list[Intervention] = [resolve(what, model.sites, model.num_layers) for what in every[::step]][:DROPS]
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, model.network.vocabulary, (CHUNK, WINDOW), generator=generator).tolist()

    def swept(model: AttnResModel) -> float:
        start = time.process_time()
        sweep.sweep_chunk(model, prompts, [*wanted, SHAM])
        return time.process_time() - start

    swept(model)
    swept(half)
    whole, rounded = (min(swept(each) for _ in range(2)) for each in (model, half))
    parts = Parts()
    with parts.watched(model), profile(activities=[ProfilerActivity.CPU]) as profiled:
        swept(model)
    own: Counter[str] = Counter()
    for event in profiled.events():
        own[part_of(event)] += event.self_cpu_time_total / 1e6
    rates = {FLOPS: dense_rate(0.5), BYTES: copy_rate(4 * width * CHUNK * WINDOW * 4)}
    rows = [
        f"Width {width}: {whole:.2f} s of CPU a sweep ({sum(own.values()):.2f} s under the profiler); "
        f"limits of this run: {rates[FLOPS] / 1e9:.0f} GFLOP/s, {rates[BYTES] / 1e9:.1f} GB/s.",
        f"In bfloat16: {rounded:.2f} s, {whole / rounded:.1f} times as fast.\n",
        "| part | CPU seconds | share | limit, seconds | against its limit |",
        "|---|---|---|---|---|",
    ]
    for part, seconds in own.most_common():
        unit = FLOPS if part in ("products", "attention") else BYTES
        limit = parts.work[part] / rates[unit]
        against = f"{limit:.3f} | {seconds / limit:.1f} x" if limit else "- | -"
        rows.append(f"| {part} | {seconds:.3f} | {seconds / sum(own.values()):.0%} | {against} |")
    return "\n".join(rows)


def main() -> None:
    """Print a table a width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", choices=SHAPES, default=list(SHAPES), help="default: all")
    widths = parser.parse_args().widths
    torch.set_num_threads(1)
    keep_freed_memory()
    for width in widths:
        print(measured(width) + "\n", flush=True)


if __name__ == "__main__":
    main()
