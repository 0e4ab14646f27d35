"""Miss rates and wrong verdicts on simulated columns."""

from __future__ import annotations

import numpy as np

from .options import Options
from .populations import POPULATIONS, Population
from .rule import SEED, Flags, cells, gates, heads, joined, outcomes, student_misses
from .tables import header, line, note


def tally(population: Population, n: int, alpha: float, sets: int, whole: int, seed: int = SEED) -> Flags:
    """Student's misses and the rule's outcomes, `[set, field]`; `whole` data sets are judged whatever Student says."""
    rng, strata, missed, judged = np.random.default_rng([seed, n, len(population.name)]), population.strata(n), [], []
    for start in range(0, sets, 2000):
        data = population.draw(rng, min(2000, sets - start), n)
        units = data.shape[1]
        groups = strata or (np.arange(units),)
        squares = [len(rows) * data[:, rows].var(1, ddof=1) for rows in groups]
        error = np.sqrt(np.sum(squares, axis=0)) / units
        missed.append(student_misses(data.mean(1), error, units - len(groups), alpha))
        judged += list(data[missed[-1].any(1) | (start + np.arange(len(data)) < whole)])
    student = np.concatenate(missed)
    chosen = student.any(1) | (np.arange(sets) < whole)
    return joined(student, chosen, outcomes(judged, alpha, seed, strata))


def simulated(options: Options) -> None:
    """Attained / nominal rates on simulated columns."""
    print(f"{options.sets[0]:,} and {options.sets[1]:,} data sets a row (clustered: prompts: a tenth)")
    header(["column", "n", *heads(options)])
    for population in POPULATIONS:
        for n in (n for n in options.sizes if n <= population.largest):
            texts, seen = list[str](), list[str]()
            for alpha, asked in zip(options.alphas, options.sets, strict=True):
                sets = max(1, int(asked * population.share))
                whole = sets if options.every else min(sets, options.whole)
                found = tally(population, n, alpha, sets, whole)
                texts, seen = texts + cells(found, alpha, options), gates(found[:whole])
            line(population.name, str(n), *texts, *seen)
            note(f"{population.name} {n}")
