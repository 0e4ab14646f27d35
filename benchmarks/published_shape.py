"""The shape of the published 0.6 B checkpoint for real: written in shards, loaded from them, swept, timed.

python benchmarks/published_shape.py                      # CPU, float32: 8 drops x 4 prompts (about 4 minutes, 5 GiB)
python benchmarks/published_shape.py --device cuda --dtype bfloat16 --map --prompts 512 --tokens 128

Weights are random, in the shape of `wdlctc/open-attnres-0.6b-block`: what is measured is time and memory, and no claim.
The checkpoint is written once into --folder; the time that a suite takes is forecast from the rate of this sweep.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

SUITE_ROWS = 192_000
"""Forward rows (a prompt of 64 tokens, clean or ablated) of `pytest hypotheses/` from an empty store, all models."""


def write(folder: Path) -> None:
    """The checkpoint, in shards of 500 MB with an index; in a process of its own, whose memory is not measured."""
    from memory import LARGE, write_checkpoint

    write_checkpoint(folder, *LARGE.values(), max_shard_size="500MB")


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Load the shards and sweep."""
    import torch
    from engine import needed_flops

    import attnres_core as ac
    from attnres_core.engine.resources import need_of
    from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
    from attnres_core.quantities.intervention import cells, resolve

    checkpoint = inspect_checkpoint(arguments.folder)
    need = need_of(checkpoint, arguments.dtype)
    size = f"{checkpoint.parameters / 1e6:.0f} M weights in {len(checkpoint.files)} shards"
    print(f"{checkpoint.name}: {size}; needs {need}")
    started = time.perf_counter()
    model = ac.load_model(arguments.folder, device=arguments.device, dtype=arguments.dtype)
    loaded = time.perf_counter() - started
    places = cells(model.sites)
    every = list(dict.fromkeys(ac.drop(f, site.sublayer, range(site.layer, site.layer + 1)) for site, f in places))
    ablations = every if arguments.map else [what for what in every if what.layers.start % 7 == 0][:8]
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.prompts, arguments.tokens)
    prompts = torch.randint(0, model.network.vocabulary, shape, generator=generator).tolist()
    ac.measure(model, prompts[:1], ablations[:1])  # (what is done once)
    started = time.perf_counter()
    ac.measure(model, prompts, ablations)
    swept = time.perf_counter() - started
    flop = needed_flops(model, prompts, [resolve(what, model.sites, model.num_layers) for what in ablations])
    row = needed_flops(model, [prompts[0][:64]], [])  # one whole pass; a suite's rows resume, and take less
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if arguments.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    return {
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "cpu",
        "dtype": arguments.dtype,
        "load_seconds": round(loaded, 1),
        "ablations": len(ablations),
        "prompts": arguments.prompts,
        "tokens": arguments.tokens,
        "sweep_seconds": round(swept, 1),
        "gflop_per_second": round(flop / swept / 1e9),
        "peak_gib": round(peak / 2**30, 2),
        "suite_hours_at_most": round(SUITE_ROWS * row / (flop / swept) / 3600, 1),
    }


def main() -> None:
    """Write where needed, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("training-runs/random-0.6b"), help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="default: %(default)s")
    parser.add_argument("--prompts", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--tokens", type=int, default=64, help="of each; default: %(default)s")
    parser.add_argument("--map", action="store_true", help="every family at every site instead of 8 drops")
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.folder)
        return
    if not (arguments.folder / "config.json").is_file():
        subprocess.run([sys.executable, __file__, "--folder", str(arguments.folder), "--write"], check=True)
    print(json.dumps(measure(arguments), indent=1))


if __name__ == "__main__":
    main()
