"""P(any wrong verdict) in a suite with every margin at the truth."""

from __future__ import annotations

import argparse
import math

import numpy as np

from .real import columns_of, resampled, standardised
from .tables import header, line, note


def suite(arguments: argparse.Namespace) -> None:
    """P(any wrong verdict) over suites of real columns at alpha / claims, every margin exactly at the truth."""
    names, columns = columns_of(arguments.columns)
    claims = 40
    data = standardised(columns)[:, np.arange(claims) % len(names)]
    alpha, sets = 0.05 / claims, arguments.suites
    print(f"{claims} claims ({len(names)} columns), alpha_i = {alpha:g}, {sets:,} suites; the bound is .05")
    place = np.arange(claims)
    header(["n", "every claim is", "P(any wrong)", "± (largest)"])
    for n in (64, 256):
        found = resampled(data, n, alpha, sets, sets if arguments.every else 0)
        mixed = [found[:, place, 4 + (place + turn) % 4] for turn in range(4)]
        kinds = {
            "Student's t, all lower / all upper": (found[..., 0], found[..., 1]),
            "limits before the tail rule, all lower / all upper": (found[..., 2], found[..., 3]),
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
