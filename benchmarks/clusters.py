"""What a Ray cluster costs beside one process, and where its driver saturates.

    python benchmarks/clusters.py            # measure, then simulate (five minutes on two cores)
    python benchmarks/clusters.py simulate   # simulate from the figures that stand in this file

`measure` carries out the same bundles, a checkpoint's map, by `local` and by `ray` with one process and two on this
machine, and holds the units against each other. `simulate` plays the driver's loop: it takes one returned bundle at a
time, hands the process the next one, and then writes the units.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

DRIVER_SECONDS = 0.06
"""What the driver does for a bundle: hand it out, take its units, write them. `measure` prints this machine's."""
HANDING = 0.2
"""The part of it that a process waits for: the next bundle is handed out before units are written."""
UNIT_SECONDS = 0.03
"""What a GPU takes for one ablation of 16 prompts of 128 tokens of a 0.6 B model: 28 layers, half of them on average,
2 x 0.6e9 x 2048 tokens x 0.5 = 1.2e12 operations at a tenth of an H200's 400e12 in bfloat16."""
CLEAN_SECONDS = 0.1
"""What a bundle takes beside its ablations: the clean run, scoring, tokens."""


@dataclass(frozen=True)
class Carried:
    """What carrying out bundles took."""

    bundles: int
    wall: float
    first: float
    """Seconds until the first bundle was settled."""
    driver_cpu: float
    """CPU seconds of this process alone."""


def carry_out(name: str, root: Path, processes: int, prompts: int) -> Carried:
    """Measure a map into a store of its own."""
    from attnres_core.engine.executors import choose, open_executor
    from attnres_core.engine.resources import Asked
    from attnres_core.engine.store import Store
    from attnres_core.exploration.pathway_map import map_quantities
    from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
    from attnres_core.planning.bundles import make_bundles
    from attnres_core.planning.material import Material, fitting_of, reference_of
    from attnres_core.prompts import Split, load_prompts
    from attnres_core.quantities.metrics import Metric
    from attnres_core.quantities.vocabulary import Role
    from attnres_core.shipped import reference_prompts, resolved

    checkpoint, whole = inspect_checkpoint(resolved("tiny-open-block")), load_prompts(reference_prompts())
    part = whole.part(Split.EXPLORATION, prompts)
    given = ("cpu", "float32", reference_of(whole), fitting_of(whole))
    material = Material({Role.TRAINED: checkpoint}, (), {Split.EXPLORATION: part}, *given)
    bundles = make_bundles(map_quantities(checkpoint, Role.TRAINED, Metric.DELTA_NLL), Split.EXPLORATION, material)
    resources = choose(name, Asked("cpu", "float32", [checkpoint], workers=processes))
    times: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()

    def tell(settled: int) -> None:
        if settled and not times:
            times.append(time.perf_counter() - started)

    with open_executor(name, material.checkpoints, Store(root), "run", resources) as executor:
        failed = executor.carry_out(bundles, tell)
    assert not failed, failed
    return Carried(len(bundles), time.perf_counter() - started, times[0], time.process_time() - cpu)


def carried_by(name: str, root: Path, processes: int, prompts: int) -> Carried:
    """The same by several of this machine's processes, as `-n` has them, or by a cluster's."""
    if name == "ray" or processes == 1:
        return carry_out(name, root, processes, prompts)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        given = [(name, root, processes, prompts)] * processes
        each = list(pool.map(carry_out, *zip(*given, strict=True)))
    slowest = max(each, key=lambda one: one.wall)
    cpu = sum(one.driver_cpu for one in each)
    return Carried(slowest.bundles, slowest.wall, min(one.first for one in each), cpu)


def same(first: Path, second: Path) -> int:
    """How many arrays two stores share; every one of them must be equal to the bit."""
    import numpy as np

    from attnres_core.engine.store import Store

    stores, arrays = (Store(first), Store(second)), 0
    for folder in (first / "units").glob("*/*/"):
        one, other = (store.units(folder.parent.name, folder.name) for store in stores)
        assert one.keys() == other.keys()
        for key, unit in one.items():
            for name, array in unit.items():
                np.testing.assert_array_equal(array, other[key][name])
                arrays += 1
    return arrays


def measure(prompts: int) -> float:
    """Print what each way costs; returns the driver's CPU seconds a bundle."""
    import ray

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("| who measures | bundles | wall s | first bundle after, s | CPU s of this process a bundle |")
        print("|---|---|---|---|---|")
        for name, processes in (("local", 1), ("local", 2), ("ray", 1), ("ray", 2)):
            if name == "ray":
                ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            done = carried_by(name, root / f"{name}-{processes}", processes, prompts)
            if name == "ray":
                ray.shutdown()
            each = done.driver_cpu / done.bundles
            print(
                f"| {name}, {processes} | {done.bundles} | {done.wall:.1f} | {done.first:.1f} | {each:.3f} |",
                flush=True,
            )
        print(f"\n{same(root / 'local-1', root / 'ray-2')} arrays are equal to the bit.\n")
        return each


def simulated(processes: int, bundles: Sequence[float], driver: float) -> float:
    """Seconds for bundles of these durations, when each also takes the driver, which does one thing at a time."""
    waiting, free = list(bundles)[::-1], 0.0
    busy = [(0.0, process) for process in range(processes)]
    heapq.heapify(busy)
    ended = 0.0
    while busy:
        done, process = heapq.heappop(busy)
        free = max(free, done) + HANDING * driver
        if waiting:
            heapq.heappush(busy, (free + waiting.pop(), process))
        free += (1 - HANDING) * driver
        ended = max(ended, free)
    return ended


def simulate(driver: float, show: Callable[[str], object] = print) -> None:
    """A table of how much of so many processes' time is spent measuring, by the size of bundles."""
    counts, sizes = (1, 4, 8, 16, 32, 64), (8, 16, 48, 96, 192)
    show(
        f"Share of the processes' time that measures; the driver takes {driver:.3f} s a bundle, an ablation "
        f"{UNIT_SECONDS} s, a bundle {CLEAN_SECONDS} s more.\n"
    )
    show("| ablations a bundle | bundle, s | " + " | ".join(f"{n} GPUs" for n in counts) + " |")
    show("|" + "---|" * (len(counts) + 2))
    for size in sizes:
        seconds, count = CLEAN_SECONDS + size * UNIT_SECONDS, 64 * 200
        shares = [seconds * count / (n * simulated(n, [seconds] * count, driver)) for n in counts]
        show(f"| {size} | {seconds:.2f} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    show(f"\nThe driver saturates at {1 / driver:.0f} bundles a second.")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("simulate",))
    parser.add_argument(
        "--prompts", type=int, default=128, help="exploration prompts of the map (default: %(default)s)"
    )
    arguments = parser.parse_args()
    simulate(DRIVER_SECONDS if arguments.part else measure(arguments.prompts))


if __name__ == "__main__":
    sys.exit(main())
