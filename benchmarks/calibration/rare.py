"""False SUPPORTED where few documents carry the effect."""

from __future__ import annotations

import math

import numpy as np

from attnres_core.shapes import Column

from .options import Options
from .rule import RULE, SEED, outcomes, student_misses
from .tables import header, line, note, scaled, told

RARE = (0.01, 0.02, 0.04, 0.06, 0.08, 0.10)
"""Of documents, that carry an effect."""
JUDGED = 64
"""Of the data sets that can be wrong at most so many are bootstrapped; they stand for all."""


def rare(options: Options) -> None:
    """False SUPPORTED of `x > m` with the truth at m, where a few documents lie 10 sd below the others."""
    alpha, sets = options.shipped_alpha, options.rare_sets
    print(f"alpha = {alpha:g}; {sets:,} data sets a cell; normal, but a share lies 10 sd below the rest")
    header(["documents", *(f"carried by {share:.0%}" for share in RARE)])
    for n in (64,) if options.quick else (128, 256, 512) if options.long else (128, 256):
        line(str(n), *(told(*_false_supported(n, share, alpha, sets), alpha) for share in RARE))
        note(f"rare {n}")


def _false_supported(n: int, share: float, alpha: float, sets: int) -> tuple[float, float]:
    """The share of so many data sets that is SUPPORTED, and its error; what Student's t does not miss is not."""
    rng, suspects = np.random.default_rng([SEED, n, round(1000 * share)]), list[Column]()
    for start in range(0, sets, 2000):
        size = (min(2000, sets - start), n)
        data = rng.normal(size=size) - 10.0 * ((rng.random(size) < share) - share)
        misses = student_misses(data.mean(1), data.std(1, ddof=1) / math.sqrt(n), n - 1, alpha)
        suspects += list(data[misses[:, 0]])
    wrong = outcomes(suspects[:JUDGED], alpha)[:, RULE.index("> SUPP.")]
    return scaled(len(suspects), wrong.tolist(), sets)
