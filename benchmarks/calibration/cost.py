"""Time and memory to judge 200 columns of 512 documents at alpha / 40, beside the plain way to the same limits."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attnres_core.claims.statements import Operator
from attnres_core.engine.resources import keep_freed_memory
from attnres_core.shapes import Column
from attnres_core.statistics import intervals

from .options import Options
from .rule import SEED
from .tables import header, line

WAYS = ("plain", "ours")
DRAWN = 8192
"""Resamples that the plain way draws at once."""
ROWS, COLUMNS = 1024, 64
"""Resamples and columns that it takes at once."""


def cost(options: Options) -> None:
    """CPU time and peak memory of one judgement of 200 columns x 512 prompts at alpha / 40, each way in a process.

    Raises:
        RuntimeError: the ways' limits differ.
    """
    header(["way", "columns x prompts", "resamples", "wall", "CPU", "libraries", "peak", "CPU against ours"])
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.calibration", "--one", way]
        command += ["--quick"] if options.quick else []
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for way in WAYS:
        line(way, *found[way]["cells"], f"{found[way]['cpu'] / found['ours']['cpu']:.1f} x")
    if not np.allclose(found["plain"]["limits"], found["ours"]["limits"], rtol=1e-6, atol=0):
        raise RuntimeError("the two ways' limits differ by more than a part in a million")


def judge_once(options: Options, way: str) -> None:
    """In a fresh process: resample once in one of the `WAYS`, and take the limits and p-values."""

    def used() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    columns = list(np.random.default_rng(SEED).lognormal(0, 0.5, (20 if options.quick else 200, 512)))
    alpha, before = options.alphas[1], used()
    limits = plainly(columns, alpha) if way == "plain" else ours(columns, alpha)
    after, resamples = used(), intervals.resamples_for(alpha)
    times = [later - earlier for earlier, later in zip(before[:2], after[:2], strict=True)]
    cells = [f"{len(columns)} x 512", f"{resamples:,}", *(f"{each:.1f} s" for each in times)]
    cells += [f"{before[2]:.0f} MiB", f"{after[2]:.0f} MiB"]
    print(json.dumps({"cells": cells, "cpu": times[1], "limits": limits}))


def ours(columns: list[Column], alpha: float) -> list[tuple[float, float, float]]:
    """Low, high and the p-value of a mean above 1, as a suite has them."""
    keep_freed_memory()
    limits = []
    for made in intervals.bootstraps(columns, [alpha] * len(columns)):
        if isinstance(made, str):
            raise RuntimeError(made)
        found = made.interval(alpha)
        limits.append((found.low, found.high, made.p_value(Operator.ABOVE, 1.0)))
    return limits


def plainly(columns: list[Column], alpha: float) -> list[tuple[float, float, float]]:
    """Return the same by drawing shares, three products a block, and putting every column's statistics in order."""
    resamples, n = intervals.resamples_for(alpha), len(columns[0])
    statistics = plain_statistics(np.stack(columns, axis=1), resamples)
    statistics.sort(axis=1)
    rank, limits = max(1, int(alpha * (resamples + 1) + 1e-9)), []
    student = float(stats.t.ppf(1 - alpha, n - 1))
    for column, ordered in zip(columns, statistics, strict=True):
        error, mean = float(stats.sem(column)), float(column.mean())
        low = mean - max(float(ordered[-rank]), student) * error
        high = mean - min(float(ordered[rank - 1]), -student) * error
        skewness = float(stats.skew(column))
        if abs(skewness) * float(stats.norm.ppf(1 - alpha)) / n**0.5 >= intervals.TAIL:
            low, high = (low, np.inf) if skewness > 0 else (-np.inf, high)
        t = (mean - 1.0) / error
        beyond = resamples - int(np.searchsorted(ordered, t, "left"))
        limits.append((low, high, max((1 + beyond) / (resamples + 1), float(stats.t.sf(t, n - 1)))))
    return limits


def plain_statistics(columns: NDArray[np.float64], resamples: int) -> NDArray[np.float32]:
    """`bootstrap_t` of one stratum, `[column, resample]`, as it was computed at first."""
    n, width = columns.shape
    rng, found = np.random.default_rng(intervals.SEED), np.empty((width, resamples), dtype=np.float32)
    centred = columns - columns.mean(0)
    roots = centred / math.sqrt(n - 1)
    blocks = [slice(start, start + COLUMNS) for start in range(0, width, COLUMNS)]
    both = [np.concatenate([centred[:, own], roots[:, own] ** 2], axis=1) for own in blocks]
    for start in range(0, resamples, DRAWN):
        count = min(DRAWN, resamples - start)
        drawn = rng.integers(0, n, size=(count, n)) + n * np.arange(count)[:, None]
        shares = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n) / n
        for first in range(0, count, ROWS):
            rows = slice(first, first + ROWS)
            for own, moments in zip(blocks, both, strict=True):
                shift, variance = np.hsplit(shares[rows] @ moments, 2)
                variance -= (shares[rows] @ roots[:, own]) ** 2
                t = shift / np.sqrt(np.maximum(variance, 0))
                found[own, start : start + count][:, rows] = np.where(np.isnan(t), 0.0, t).T
    return found
