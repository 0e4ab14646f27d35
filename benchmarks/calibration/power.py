"""P(SUPPORTED) against the true effect and the number of documents."""

from __future__ import annotations

import argparse
import math

import numpy as np
from scipy import stats

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.statistics import intervals

from .populations import POPULATIONS, SIZES, Population
from .real import columns_of, standardised
from .rule import ALPHAS, BATCH, SEED
from .tables import header, line, note


def power(arguments: argparse.Namespace) -> None:
    """P(SUPPORTED) of `effect > m` at alpha / 40, by the distance of the truth from m in sd."""
    effects, alpha, sets = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5), ALPHAS[1], arguments.power_sets
    names, columns = columns_of(arguments.columns)
    data, order = standardised(columns), np.argsort(stats.skew(columns))
    chosen = [POPULATIONS[0], POPULATIONS[2]]
    for place in (order[len(order) // 2], order[-1]):
        name = f"{names[place]} (skewness {stats.skew(columns[:, place]):.1f})"
        chosen.append(Population(name, lambda rng, sets, n, column=data[:, place]: rng.choice(column, (sets, n))))
    z = stats.norm.ppf(1 - alpha)
    print(f"alpha = {alpha:g}; {sets} data sets a row, ± at most {0.5 / math.sqrt(sets):.3f}")
    print("`forecast` is the normal one that `needed_units` and `detectable` make.")
    header(["n", "column", *(f"{d:g} sd" for d in effects)])
    for n in SIZES:
        line(str(n), "forecast", *(f"{stats.norm.cdf(d * math.sqrt(n) - z):.2f}" for d in effects))
        for population in chosen:
            columns = list(population.draw(np.random.default_rng([SEED, n]), sets, n))
            batches = [columns[start : start + BATCH] for start in range(0, sets, BATCH)]
            made = (intervals.intervals(b, [[alpha]] * len(b), seed=SEED + k) for k, b in enumerate(batches))
            found = [interval for batch in made for (interval,) in batch]
            verdicts = [[intervals.decide(Operator.ABOVE, -d, i) for i in found] for d in effects]
            line(str(n), population.name, *(f"{np.mean([v is Verdict.SUPPORTED for v in vs]):.2f}" for vs in verdicts))
            note(f"power {population.name} {n}")
