"""What the installed plug-in adds to a pytest run that has no claims: alternating runs in one go, medians.

python benchmarks/plugin_cost.py              # one process, and the controller and worker of `-n 1`
python benchmarks/plugin_cost.py --runs 41
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TEST = "def test_trivial():\n    assert True\n"
OFF = ("-p", "no:attnres_core.plugin")
CASES = {
    "one process": ("-p", "no:xdist"),
    "-n 0": ("-n", "0"),
    "-n 1": ("-n", "1"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one pytest run took, in milliseconds, with the processes that it started."""

    wall: float
    cpu: float


def run(folder: Path, arguments: tuple[str, ...]) -> Cost:
    """One pytest run of one trivial test, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    before, start = spent(), time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return Cost(1000 * (time.perf_counter() - start), 1000 * (spent() - before))


def spent() -> float:
    """CPU seconds of all processes started so far that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print medians with and without the plug-in, their differences and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="pairs of runs a case (default: 15)")
    runs = parser.parse_args().runs
    print(f"{'':<12} {'without':>9} {'with':>9} {'added':>9} {'ratio':>6}   median CPU ms of {runs} runs (wall: added)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_trivial.py").write_text(TEST)
        for case, arguments in CASES.items():
            for warming in (arguments, (*arguments, *OFF)):
                run(folder, warming)
            pairs = [(run(folder, (*arguments, *OFF)), run(folder, arguments)) for _ in range(runs)]
            without, with_it = median(off.cpu for off, _ in pairs), median(on.cpu for _, on in pairs)
            added = median(on.cpu - off.cpu for off, on in pairs)
            wall = median(on.wall - off.wall for off, on in pairs)
            print(
                f"{case:<12} {without:9.0f} {with_it:9.0f} {added:9.1f} {with_it / without:6.3f}   (wall: {wall:+.1f})"
            )


if __name__ == "__main__":
    main()
