"""P(SUPPORTED) against the true effect and the number of documents."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.statistics import intervals

from .columns import columns_of
from .options import ALL_SIZES, Options
from .populations import POPULATIONS, Draw, Numbers, Population
from .real import standardised
from .rule import BATCH, SEED
from .tables import header, line, note

EFFECTS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)


def power(options: Options) -> None:
    """P(SUPPORTED) of `effect > m`, by the distance of the truth from m in sd."""
    alpha, sets = options.alphas[1], options.power_sets
    names, columns = columns_of(options)
    data, skewness = standardised(columns), np.asarray(stats.skew(columns))
    order, chosen = np.argsort(skewness), [POPULATIONS[0], POPULATIONS[2]]
    for place in (order[len(order) // 2], order[-1]):
        name = f"{names[place]} (skewness {skewness[place]:.1f})"
        chosen.append(Population(name, _from(data[:, place])))
    z = stats.norm.ppf(1 - alpha)
    print(f"alpha = {alpha:g}; {sets} data sets a row, ± at most {0.5 / math.sqrt(sets):.3f}")
    print("`forecast` is the normal one that `needed_units` and `detectable` make.")
    header(["n", "column", *(f"{d:g} sd" for d in EFFECTS)])
    for n in ALL_SIZES if options.long else (16, 64, 256):
        line(str(n), "forecast", *(f"{stats.norm.cdf(d * math.sqrt(n) - z):.2f}" for d in EFFECTS))
        for population in chosen:
            drawn = list(population.draw(np.random.default_rng([SEED, n]), sets, n))
            batches = [drawn[start : start + BATCH] for start in range(0, sets, BATCH)]
            made = (intervals.intervals(b, [[alpha]] * len(b), seed=SEED + k) for k, b in enumerate(batches))
            found = [interval for batch in made for (interval,) in batch]
            verdicts = [[intervals.decide(Operator.ABOVE, -d, i) for i in found] for d in EFFECTS]
            line(str(n), population.name, *(f"{np.mean([v is Verdict.SUPPORTED for v in vs]):.2f}" for vs in verdicts))
            note(f"power {population.name} {n}")


def _from(column: Numbers) -> Draw:
    return lambda rng, sets, n: rng.choice(column, (sets, n))
