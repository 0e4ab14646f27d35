"""Attained error rates, power and cost of the decision rule, on simulated columns and on columns of real models.

python -m benchmarks.calibration simulated   # miss rates and wrong verdicts, simulated columns
python -m benchmarks.calibration real        # the same, columns of the reference checkpoints as super-populations
python -m benchmarks.calibration suite       # P(any wrong verdict) in a suite with every margin at the truth
python -m benchmarks.calibration power       # P(SUPPORTED) against the true effect and n
python -m benchmarks.calibration rare        # false SUPPORTED where few documents carry the effect
python -m benchmarks.calibration early       # deciding early: false verdicts, verdicts lost, documents saved
python -m benchmarks.calibration cost        # time and memory to judge 200 columns x 512 prompts at alpha / 40
python -m benchmarks.calibration all

Every number comes from the library's own rule. By default only data sets that Student's t misses are bootstrapped (no
other can be missed), after checking exactly that on `--whole` data sets a row; `--every` bootstraps all.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .cost import cost, judge_once
from .early import early
from .power import power
from .rare import rare
from .real import real
from .simulated import simulated
from .suite import suite
from .tables import note

PARTS = {
    "cost": cost,
    "simulated": simulated,
    "real": real,
    "suite": suite,
    "rare": rare,
    "power": power,
    "early": early,
}


def main() -> None:
    """Run one part or all; tables go to the standard output as markdown, progress to the error output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    pair = {"type": int, "nargs": 2, "metavar": ("AT_.025", "AT_.00125")}
    parser.add_argument("--sets", **pair, default=(8000, 20000), help="simulated data sets a row (8000 20000)")
    parser.add_argument("--real-sets", **pair, default=(2000, 8000), help="data sets a real column (2000 8000)")
    parser.add_argument("--suites", type=int, default=40000, help="suites of 40 claims (40000)")
    parser.add_argument("--rare-sets", type=int, default=100000, help="data sets a cell of the rare effects (100000)")
    parser.add_argument("--power-sets", type=int, default=256, help="data sets a row of the power table (256)")
    parser.add_argument("--early-sets", type=int, default=40, help="data sets a real column that may end early (40)")
    parser.add_argument("--whole", type=int, default=64, help="a row: judged whatever Student says (64)")
    parser.add_argument("--every", action="store_true", help="bootstrap every data set (hours at the default numbers)")
    parser.add_argument("--columns", type=Path, help="real columns (.npz); default: measured once into .attnres/")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        judge_once()
        return
    for name, run in PARTS.items():
        if arguments.part in (name, "all"):
            start = time.monotonic()
            print(f"\n### {name}\n")
            run(arguments)
            note(f"{name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
