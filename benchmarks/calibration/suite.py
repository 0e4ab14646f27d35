"""P(any wrong verdict) in a suite with every margin at the truth."""

from __future__ import annotations

import math

import numpy as np

from .columns import columns_of
from .options import Options
from .real import resampled, standardised
from .tables import header, line, note

CLAIMS = 40


def suite(options: Options) -> None:
    """P(any wrong verdict) over suites of real columns, every margin exactly at the truth."""
    names, columns = columns_of(options)
    data, place = standardised(columns)[:, np.arange(CLAIMS) % len(names)], np.arange(CLAIMS)
    alpha, sets = options.alphas[1], options.suites
    print(f"{CLAIMS} claims ({len(names)} columns), alpha_i = {alpha:g}, {sets:,} suites; the bound is .05")
    header(["n", "every claim is", "P(any wrong)", "± (largest)"])
    for n in (n for n in options.sizes if n <= 256):
        found = resampled(data, n, alpha, sets, sets if options.every else 0)
        mixed = [found[:, place, 4 + (place + turn) % 4] for turn in range(4)]
        kinds = {
            "Student's t alone, all lower / all upper": (found[..., 0], found[..., 1]),
            "`x > m`, truth at m: SUPPORTED": (found[..., 4],),
            "`x > m`, truth just above m: REFUTED": (found[..., 5],),
            "`abs(x) < m`, truth at m / at -m: SUPPORTED": (found[..., 6], found[..., 7]),
            "the four in turn (four rotations)": mixed,
        }
        note(f"suite {n}")
        for kind, wrong in kinds.items():
            rates = [float(w.any(1).mean()) for w in wrong]
            error = math.sqrt(max(*rates, 1 / sets) * (1 - max(rates)) / sets)
            line(str(n), kind, " / ".join(f"{rate:.4f}" for rate in rates), f"{error:.4f}")
