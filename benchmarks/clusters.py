"""What a Ray cluster costs beside this machine's own processes, and where its driver saturates.

    python benchmarks/clusters.py            # measure, then simulate (five minutes on two busy cores)
    python benchmarks/clusters.py driver     # the same without a comparison of ways to measure
    python benchmarks/clusters.py simulate   # simulate from the figures that stand in this file

`measure` carries out the same bundles, a checkpoint's map, in four ways, each from an empty store: `local` and `ray`,
with one process and two; it holds their units against each other. Then processes that only hand back what was measured
show what the driver can do, and up to eight that take their time for it show how it serves them. `simulate` plays the
driver's loop: it takes one returned bundle at a time, hands the process the next one, and then writes the units.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import psutil

if TYPE_CHECKING:
    from attnres_core.engine.executors import Executor
    from attnres_core.planning.bundles import Bundle
    from attnres_core.planning.material import Material

os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL = 8
"""Ablations a bundle, beside the plan's own number, from which costs are told apart."""
NUMBER = 10_000
"""Bundles of a simulated run."""
SCALES = (1, 2, 4, 8)
"""Processes of the real driver where bundles only take time."""
COUNTS, SPEEDS = (1, 4, 8, 16, 32, 64), (1, 3, 10, 30)
"""What is simulated: so many processes, so many times as fast as this machine's core."""


@dataclass(frozen=True)
class Costs:
    """What the simulation knows: seconds."""

    bundle: float
    """A bundle's, whatever it holds: the clean run, scoring."""
    ablation: float
    """One ablation's of 16 prompts."""
    driver: float
    """The driver's for a bundle, whatever it holds."""
    unit: float
    """The driver's for one ablation's unit."""
    waiting: float
    """The part of the driver's time that the process waits for; the rest is writing, once it has its next bundle."""
    spread: tuple[float, ...]
    """How long measured bundles took, as parts of their mean."""


STANDING = Costs(0.206, 0.0727, 0.0016, 0.00018, 0.51, (0.78, 1.22))
"""Measured on two x86-64 cores that other work shared, load average 4 to 7; every other bundle is smaller."""


@dataclass(frozen=True)
class Carried:
    """What carrying out bundles took: seconds."""

    ablations: list[int]
    """Of every bundle."""
    wall: float
    first: float
    """Until the first bundle was settled."""
    steps: list[float]
    """CPU of this process's main thread between one settled bundle and the next."""
    first_cpu: float
    """CPU of all processes until the first bundle was settled."""
    cpu: float
    """CPU of all processes."""


def tree_seconds() -> float:
    """CPU seconds of this process and of those that it started and that live."""
    found = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # (it has just ended)
            found += sum(process.cpu_times()[:2])
    return found


def plan(prompts: int, group: int = 0) -> tuple[Material, list[Bundle]]:
    """What a map of a shipped checkpoint measures.

    Args:
        prompts: how many are read.
        group: ablations a bundle; 0: as the plan has it.
    """
    from attnres_core.exploration.pathway_map import map_quantities
    from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
    from attnres_core.planning import bundles as planning
    from attnres_core.planning.material import Material, fitting_of, reference_of
    from attnres_core.prompts import Split, load_prompts
    from attnres_core.quantities.metrics import Metric
    from attnres_core.quantities.vocabulary import Role
    from attnres_core.shipped import reference_prompts, resolved

    checkpoint, whole = inspect_checkpoint(resolved("tiny-open-block")), load_prompts(reference_prompts())
    part = whole.part(Split.EXPLORATION, prompts)
    given = ("cpu", "float32", reference_of(whole), fitting_of(whole))
    material = Material({Role.TRAINED: checkpoint}, (), {Split.EXPLORATION: part}, *given)
    asked = map_quantities(checkpoint, Role.TRAINED, Metric.DELTA_NLL)
    with mock.patch.object(planning, "GROUP", group or planning.GROUP):
        return material, planning.make_bundles(asked, Split.EXPLORATION, material)


def opened(name: str, root: Path, material: Material, processes: int) -> Executor:
    """An executor on a store of its own, with so many of this machine's processes."""
    from attnres_core.engine.executors import choose, open_executor
    from attnres_core.engine.resources import Asked
    from attnres_core.engine.store import Store

    resources = choose(name, Asked("cpu", "float32", list(material.checkpoints.values()), workers=processes))
    return open_executor(name, material.checkpoints, Store(root), "run", resources)


def carry_out(name: str, root: Path, processes: int, prompts: int, group: int = 0) -> Carried:
    """Measure a map into a store of its own.

    Args:
        name: the executor's.
        root: the store.
        processes: how many of this machine's may measure.
        prompts: how many are read.
        group: ablations a bundle; 0: as the plan has it.
    """
    material, bundles = plan(prompts, group)
    settled_at: list[tuple[float, float]] = []
    first_cpu: list[float] = []
    started, cpu = time.perf_counter(), tree_seconds()

    def tell(settled: int) -> None:
        if settled and not first_cpu:
            first_cpu.append(tree_seconds())
        if settled > len(settled_at):
            settled_at.append((time.perf_counter(), time.thread_time()))

    with opened(name, root, material, processes) as executor:
        failed = executor.carry_out(bundles, tell)
        wall, end = time.perf_counter() - started, tree_seconds()
    assert not failed, failed
    steps = [after - before for (_, before), (_, after) in itertools.pairwise(settled_at)]
    first = settled_at[0][0] - started
    return Carried([len(b.interventions) for b in bundles], wall, first, steps, first_cpu[0] - cpu, end - cpu)


def carried_by(name: str, root: Path, processes: int, prompts: int) -> Carried:
    """The same by several of this machine's processes, as `-n` has them, or by a cluster's."""
    if name == "ray":
        with a_cluster(processes):
            return carry_out(name, root, processes, prompts)
    if processes == 1:
        return carry_out(name, root, processes, prompts)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        given = [(name, root, processes, prompts)] * processes
        each = list(pool.map(carry_out, *zip(*given, strict=True)))
    first, first_cpu, cpu = min(o.first for o in each), sum(o.first_cpu for o in each), sum(o.cpu for o in each)
    return Carried(each[0].ablations, max(one.wall for one in each), first, [], first_cpu, cpu)


@contextmanager
def a_cluster(processes: int) -> Iterator[None]:
    """A Ray cluster of this machine's, with so many cores."""
    import ray

    ray.init("local", num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def replaying(recorded: Path, seconds: float = 0.0) -> Iterator[list[float]]:
    """Processes of the cluster hand back what a store holds, after so many seconds, instead of measuring it.

    Yields the driver's seconds of CPU that a process waits for, appended to from call to call.
    """
    from attnres_core.engine.executors import ray_actor
    from attnres_core.engine.executors.ray_driver import Driver

    class Replaying(ray_actor.Measurer):
        def station(self) -> ray_actor.Station:
            from attnres_core.engine.store import Store

            self._store = Store(recorded)
            return ray_actor.Station(ray_actor.versions(), ray_actor.STDERR.resolve())

        def measure(self, bundle: Any, missing: Mapping[str, frozenset[str]], *_: object) -> ray_actor.Measured:
            held = self._store.units(bundle.model, bundle.chunk)
            time.sleep(seconds)
            return ray_actor.Measured({key: held[key] for key in missing}, (), seconds, loaded=False)

    waiting: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = time.thread_time()
            try:
                return method(*given)
            finally:
                waiting.append(time.thread_time() - started)

        return call

    with (
        mock.patch.object(ray_actor, "Measurer", Replaying),
        mock.patch.object(Driver, "_outcome", timed(Driver._outcome)),
        mock.patch.object(Driver, "_assign", timed(Driver._assign)),
    ):
        yield waiting


def same(first: Path, second: Path) -> int:
    """How many arrays two stores share; every one of them must be equal to the bit."""
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


def line(one: Sequence[float], many: Sequence[float], sizes: tuple[float, float]) -> tuple[float, float]:
    """The fixed part, and the part an ablation, of means at two sizes of bundles."""
    slope = max(float(np.mean(many)) - float(np.mean(one)), 0.0) / (sizes[1] - sizes[0])
    return max(float(np.mean(one)) - slope * sizes[0], 0.0), slope


def compare(prompts: int, root: Path, alone: Carried) -> None:
    """Print what each way of measuring the same bundles costs."""
    print("| who measures | bundles | by the clock, s | until the first, s | CPU, s | until the first, CPU s |")
    print("|---|---|---|---|---|---|")
    for name, processes in (("local", 1), ("local", 2), ("ray", 1), ("ray", 2)):
        first = (name, processes) == ("local", 1)
        done = alone if first else carried_by(name, root / f"{name}-{processes}", processes, prompts)
        figures = f"{done.wall:.1f} | {done.first:.1f} | {done.cpu:.1f} | {done.first_cpu:.1f}"
        print(f"| {name}, {processes} | {len(done.ablations)} | {figures} |", flush=True)
    print(f"\n{same(root / 'local-1', root / 'ray-2')} arrays are equal to the bit.\n")


def costs_of(prompts: int, root: Path, alone: Carried) -> Costs:
    """Print what the driver takes where nothing is measured; returns what a simulation needs."""
    small, driven = carry_out("local", root / "small", 1, prompts // 4, SMALL), {}
    with replaying(root / "local-1") as waited, a_cluster(2):
        for group in (SMALL, 48):
            driven[group] = carry_out("ray", root / f"replayed-{group}", 2, prompts, group)
    for group, found in driven.items():
        pace, own = (found.wall - found.first) / len(found.steps), float(np.mean(found.steps))
        print(f"bundles of {group}, nothing measured: {own:.3f} s of the driver each, {pace:.3f} s on the clock")
    waiting = min(sum(waited) / sum(sum(found.steps) for found in driven.values()), 1.0)
    print(f"a process waits for {waiting:.0%} of that")
    sizes = SMALL, float(np.mean(alone.ablations))
    bundle, ablation = line(small.steps, alone.steps, sizes)
    driver, unit = line(driven[SMALL].steps, driven[48].steps, sizes)
    spread = tuple(float(step) for step in np.array(alone.steps) / np.mean(alone.steps))
    return Costs(bundle, ablation, driver, unit, waiting, spread)


def scaled(processes: int, prompts: int, recorded: Path, root: Path, seconds: float) -> tuple[float, int]:
    """The share of so many processes' time that measures, where a bundle of SMALL ablations only takes time.

    As on GPUs, no core is busy meanwhile; the driver is the real one. Returns the number of bundles, too.
    """
    import ray

    material, bundles = plan(prompts, SMALL)
    first, others = bundles[:processes], bundles[processes:]
    with (
        replaying(recorded, seconds),
        a_cluster(processes),
        opened("ray", root, material, processes) as executor,
    ):
        executor.carry_out(first)
        ray.get([hand.actor.station.remote() for hand in executor._driver.hands])  # all are up
        started = time.perf_counter()
        executor.carry_out(others)
        taken = time.perf_counter() - started
    return seconds * len(others) / (processes * taken), len(others)


def scale(prompts: int, recorded: Path, costs: Costs) -> None:
    """Print how the real driver serves processes whose bundles only take time, beside what the simulation says."""
    driver = costs.driver + SMALL * costs.unit
    print(f"\nBundles of {SMALL} ablations that only take time: share of the processes' time (simulated)\n")
    print(f"| bundle, s | {' | '.join(map(str, SCALES))} processes |\n|{'---|' * (len(SCALES) + 1)}")
    for seconds in (0.1, 0.4):
        shares = []
        for processes in SCALES:
            with tempfile.TemporaryDirectory() as folder:
                found, count = scaled(processes, prompts, recorded, Path(folder), seconds)
            taken = simulated(processes, [seconds] * count, driver, costs.waiting)
            shares.append(f"{found:.0%} ({seconds * count / (processes * taken):.0%})")
        print(f"| {seconds} | {' | '.join(shares)} |", flush=True)


def measure(prompts: int, part: str | None) -> Costs:
    """Print what each way costs, and what the driver can do; returns what a simulation needs."""
    print(f"{prompts} prompts; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        alone = carry_out("local", root / "local-1", 1, prompts)
        if part != "driver":
            compare(prompts, root, alone)
        costs = costs_of(prompts, root, alone)
        scale(prompts, root / "local-1", costs)
        return costs


def simulated(processes: int, bundles: Sequence[float], driver: float, waiting: float) -> float:
    """Seconds for bundles of these durations, when each also takes the driver, which does one thing at a time."""
    left, free, ended = iter(bundles), 0.0, 0.0
    busy = [(0.0, process) for process in range(processes)]
    while busy:
        done, process = heapq.heappop(busy)
        free = max(free, done) + waiting * driver
        if (seconds := next(left, None)) is not None:
            heapq.heappush(busy, (free + seconds, process))
        free += (1 - waiting) * driver
        ended = max(ended, free)
    return ended


def share(processes: int, size: int, speed: float, costs: Costs) -> float:
    """The share of so many processes' time that measures, where each is `speed` times as fast as what was measured."""
    drawn = np.random.default_rng(0).choice(costs.spread, NUMBER)
    bundles = list((costs.bundle + size * costs.ablation) / speed * drawn)
    driver = costs.driver + size * costs.unit
    return sum(bundles) / (processes * simulated(processes, bundles, driver, costs.waiting))


def simulate(costs: Costs) -> None:
    """Print how much of so many processes' time is spent measuring, by the size of bundles and the processes' speed."""
    print(
        f"\nAn ablation takes {costs.ablation:.4f} s, a bundle {costs.bundle:.3f} s more; the driver takes "
        f"{costs.driver:.4f} s a bundle and {costs.unit:.5f} s an ablation.\n"
        "Share of the processes' time that measures:\n"
    )
    heads = ("as fast as here", "ablations a bundle", "bundle, s", *(f"{count} processes" for count in COUNTS))
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for speed in SPEEDS:
        for size in (8, 48, 192):
            seconds = (costs.bundle + size * costs.ablation) / speed
            shares = (f"{share(count, size, speed, costs):.0%}" for count in COUNTS)
            print(f"| x {speed} | {size} | {seconds:.3f} | {' | '.join(shares)} |")
    print()
    for size in (8, 48, 192):
        driver = costs.driver + size * costs.unit
        print(
            f"With bundles of {size} the driver saturates at {1 / driver:.0f} a second, {size / driver:.0f} ablations."
        )
    for speed in SPEEDS:
        enough = (size for size in (1, 2, 4, 8, 16, 32, 48, 96, 192, 384) if share(64, size, speed, costs) >= 0.95)
        least = next(enough, None)
        told = f"bundles of {least} ablations or more" if least else "no bundle large enough: use several drivers"
        print(f"64 processes, x {speed}, measure 95 % of the time: {told}.")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("driver", "simulate"))
    parser.add_argument("--prompts", type=int, default=64, help="exploration prompts of the map (default: %(default)s)")
    arguments = parser.parse_args()
    simulate(STANDING if arguments.part == "simulate" else measure(arguments.prompts, arguments.part))


if __name__ == "__main__":
    sys.exit(main())
