"""False SUPPORTED where few documents carry the effect."""

from __future__ import annotations

import math

import numpy as np

from .options import Options
from .rule import RULE, SEED, outcomes, student_misses
from .tables import header, line, note, ratio

RARE = (0.01, 0.02, 0.04, 0.06, 0.08, 0.10)
"""Of documents, that carry an effect."""


def rare(options: Options) -> None:
    """False SUPPORTED of `x > m` with the truth at m, where a few documents lie 10 sd below the others."""
    alpha, sets = options.shipped_alpha, options.rare_sets
    print(f"alpha = {alpha:g}; {sets:,} data sets a cell; normal, but a share lies 10 sd below the rest")
    header(["documents", *(f"carried by {share:.0%}" for share in RARE)])
    for n in (64,) if options.quick else (128, 256, 512):
        line(str(n), *(ratio(_false_supported(n, share, alpha, sets), sets, alpha) for share in RARE))
        note(f"rare {n}")


def _false_supported(n: int, share: float, alpha: float, sets: int) -> int:
    """How many of so many data sets are SUPPORTED; those that Student's t does not miss cannot be."""
    rng, judged = np.random.default_rng([SEED, n, round(1000 * share)]), []
    for start in range(0, sets, 2000):
        size = (min(2000, sets - start), n)
        data = rng.normal(size=size) - 10.0 * ((rng.random(size) < share) - share)
        misses = student_misses(data.mean(1), data.std(1, ddof=1) / math.sqrt(n), n - 1, alpha)
        judged += list(data[misses[:, 0]])
    return int(outcomes(judged, alpha)[:, RULE.index("> SUPP.")].sum())
