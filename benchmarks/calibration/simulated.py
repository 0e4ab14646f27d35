"""Miss rates and wrong verdicts on simulated columns."""

from __future__ import annotations

import argparse

import numpy as np

from .populations import POPULATIONS, SIZES, Population
from .rule import ALPHAS, FIELDS, SEED, cells, joined, outcomes, student_misses
from .tables import header, line, note


def tally(population: Population, n: int, alpha: float, sets: int, whole: int, seed: int = SEED) -> np.ndarray:
    """Student's misses and the rule's outcomes, `[set, field]`; `whole` data sets are judged whatever Student says."""
    rng, strata, missed, judged = np.random.default_rng([seed, n, len(population.name)]), population.strata(n), [], []
    for start in range(0, sets, 2000):
        data = population.draw(rng, min(2000, sets - start), n)
        units = data.shape[1]
        groups = strata or (np.arange(units),)
        error = np.sqrt(sum(len(rows) * data[:, rows].var(1, ddof=1) for rows in groups)) / units
        missed.append(student_misses(data.mean(1), error, units - len(groups), alpha))
        judged += list(data[missed[-1].any(1) | (start + np.arange(len(data)) < whole)])
    student = np.concatenate(missed)
    chosen = student.any(1) | (np.arange(sets) < whole)
    return joined(student, chosen, outcomes(judged, alpha, seed, strata))


def simulated(arguments: argparse.Namespace) -> None:
    """Attained / nominal rates on simulated columns."""
    for alpha, asked in zip(ALPHAS, arguments.sets, strict=True):
        print(f"\nalpha = {alpha:g}; {asked:,} data sets a row (clustered: prompts: a tenth); gates from the first few")
        header(["column", "n", *FIELDS])
        for population in POPULATIONS:
            sets = max(1, int(asked * population.share))
            whole = sets if arguments.every else min(sets, arguments.whole)
            for n in (n for n in SIZES if n <= population.largest):
                line(population.name, str(n), *cells(tally(population, n, alpha, sets, whole), alpha, whole))
                note(f"{alpha:g} {population.name} {n}")
