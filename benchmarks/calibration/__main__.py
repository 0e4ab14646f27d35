"""Attained error rates, power and cost of the decision rule, on simulated columns and on columns of real models.

python -m benchmarks.calibration simulated   # miss rates and wrong verdicts, simulated columns
python -m benchmarks.calibration real        # the same, columns of the reference checkpoints as super-populations
python -m benchmarks.calibration suite       # P(any wrong verdict) in a suite with every margin at the truth
python -m benchmarks.calibration rare        # false SUPPORTED where few documents carry the effect
python -m benchmarks.calibration picks       # claims about picked families: false verdicts, formerly and now
python -m benchmarks.calibration early       # deciding early: false verdicts, verdicts lost, documents saved
python -m benchmarks.calibration power       # P(SUPPORTED) against the true effect and n
python -m benchmarks.calibration formulas    # figures of docs/deciding.md that follow from a formula
python -m benchmarks.calibration cost        # time and memory to judge 200 columns x 512 prompts, against the plain way
python -m benchmarks.calibration             # all of them

Tables go to the standard output as markdown, progress to the error output. Every number comes from the library's own
rule. Only data sets that Student's t misses are bootstrapped (no other can be missed), and a few more, on which exactly
that is checked; `--every` bootstraps all. Control variates, which were measured and not taken, have a script of their
own: benchmarks/control_variates.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from .cost import WAYS, cost, judge_once
from .early import early
from .formulas import formulas
from .options import ALL_SIZES, QUICK, Options
from .picks import picks
from .power import power
from .rare import rare
from .real import real
from .simulated import simulated
from .suite import suite
from .tables import note

PARTS: dict[str, Callable[[Options], None]] = {
    "simulated": simulated,
    "real": real,
    "suite": suite,
    "rare": rare,
    "picks": picks,
    "early": early,
    "power": power,
    "formulas": formulas,
    "cost": cost,
}


def main() -> None:
    """Run one part or all."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.calibration", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="seconds, on made-up columns: shows that everything runs")
    parser.add_argument("--long", action="store_true", help="every size and rate")
    parser.add_argument("--times", type=float, default=1.0, help="so many times as many data sets (1)")
    parser.add_argument("--every", action="store_true", help="bootstrap every data set (hours)")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = replace(QUICK if given.quick else Options(), long=given.long, every=given.every)
    options = options if given.times == 1 else options.times(given.times)
    options = replace(options, sizes=ALL_SIZES) if given.long else options
    if given.one:
        judge_once(options, given.one)
        return
    for name, run in PARTS.items():
        if given.part in (name, "all"):
            start = time.monotonic()
            print(f"\n### {name}\n")
            run(options)
            note(f"{name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
