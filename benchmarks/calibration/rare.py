"""False SUPPORTED where few documents carry the effect."""

from __future__ import annotations

import argparse
import math

import numpy as np

from .rule import RULE, SEED, outcomes, student_misses
from .tables import header, line, ratio

RARE = (0.01, 0.02, 0.04, 0.06, 0.08, 0.10)  # of documents, that carry an effect


def rare(arguments: argparse.Namespace) -> None:
    """False SUPPORTED of `x > m` with the truth at m, where a few documents lie 10 sd below the others."""
    print(f"\nalpha = .05/128; {arguments.rare_sets:,} data sets a cell; normal, but a share lies 10 sd below the rest")
    alpha = 0.05 / 128
    header(["documents", *(f"carried by {share:.0%}" for share in RARE)])
    for n in (128, 256, 512):
        rates = [
            ratio(_false_supported(n, share, alpha, arguments.rare_sets), arguments.rare_sets, alpha) for share in RARE
        ]
        line(str(n), *rates)


def _false_supported(n: int, share: float, alpha: float, sets: int) -> int:
    """How many of so many data sets are SUPPORTED; those that Student's t does not miss cannot be."""
    rng, judged = np.random.default_rng([SEED, n, round(1000 * share)]), []
    for start in range(0, sets, 2000):
        size = (min(2000, sets - start), n)
        data = rng.normal(size=size) - 10.0 * ((rng.random(size) < share) - share)
        misses = student_misses(data.mean(1), data.std(1, ddof=1) / math.sqrt(n), n - 1, alpha)
        judged += list(data[misses[:, 0]])
    return int(outcomes(judged, alpha)[:, RULE.index("> SUPP.")].sum())
