"""Time and memory to judge 200 columns of 512 documents at alpha / 40."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np

from attnres_core.claims.statements import Operator
from attnres_core.statistics import intervals

from .options import Options
from .rule import SEED
from .tables import header, line


def cost(options: Options) -> None:
    """Time and peak memory of one judgement of 200 columns x 512 prompts at alpha / 40, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.calibration", "--one", *(["--quick"] if options.quick else [])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    header(["columns x prompts", "resamples", "wall", "CPU", "libraries", "peak"])
    line(*found)


def judge_once(options: Options) -> None:
    """In a fresh process: bootstrap once, and take the limits and p-values."""

    def used() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    columns = list(np.random.default_rng(SEED).lognormal(0, 0.5, (200, 512)))
    alpha, before = options.alphas[1], used()
    for made in intervals.bootstraps(columns, [alpha] * len(columns)):
        if isinstance(made, str):
            raise RuntimeError(made)
        made.interval(alpha)
        made.p_value(Operator.ABOVE, 1.0)
    after, resamples = used(), intervals.resamples_for(alpha)
    times = [f"{later - earlier:.1f} s" for earlier, later in zip(before[:2], after[:2], strict=True)]
    print(json.dumps(["200 x 512", f"{resamples:,}", *times, f"{before[2]:.0f} MiB", f"{after[2]:.0f} MiB"]))
