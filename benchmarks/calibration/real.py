"""The same on columns of the reference checkpoints, which serve as super-populations."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .columns import columns_of
from .options import Options
from .populations import Numbers
from .rule import FIELDS, SEED, Flags, cells, gates, heads, joined, outcomes, student_misses
from .tables import header, line, note


def standardised(columns: Numbers) -> Numbers:
    """The super-population of each column with mean 0 and sd 1."""
    return np.asarray((columns - columns.mean(0)) / columns.std(0))


def resampled(columns: Numbers, n: int, alpha: float, sets: int, whole: int = 0, seed: int = SEED) -> Flags:
    """Student's misses and the rule's outcomes `[set, column, field]` on documents drawn with replacement.

    Every column of a data set has the same documents, as in a suite; the first `whole` data sets are judged in full.
    """
    documents, width = columns.shape
    drawn = np.random.default_rng([seed, n]).integers(0, documents, (sets, n), dtype=np.int16)
    student = np.zeros((sets, width, 2), np.bool_)
    for start in range(0, sets, 1000):
        part = slice(start, start + 1000)
        weights = np.stack([np.bincount(row, minlength=documents) for row in drawn[part]]) / n
        mean = weights @ columns
        error = np.sqrt(np.maximum(weights @ columns**2 - mean**2, 0) / (n - 1))
        student[part] = student_misses(mean, error, n - 1, alpha)
    chosen = np.asarray(student.any(-1))
    chosen[:whole] = True
    judged = [columns[drawn[row], place] for row, place in np.argwhere(chosen)]
    return joined(student, chosen, outcomes(judged, alpha, seed))


def real(options: Options) -> None:
    """Attained / nominal rates on real columns: over all columns, and of the worst."""
    names, columns = columns_of(options)
    data = standardised(columns)
    spread = ", ".join(f"{q:.1f}" for q in np.quantile(np.abs(stats.skew(columns)), [0, 0.25, 0.5, 0.75, 1]))
    print(f"{len(names)} columns of {len(data):,} documents; |skewness|, smallest, quartiles, largest: {spread}")
    print(f"{options.real_sets[0]:,} and {options.real_sets[1]:,} data sets; ± as if columns were independent")
    print("worst: of the column that is worst in the first half of the data sets, in the second half")
    header(["n", "columns", *heads(options)])
    for n in options.sizes:
        every, worst, seen = list[str](), list[str](), list[str]()
        for alpha, sets in zip(options.alphas, options.real_sets, strict=True):
            whole = sets if options.every else 2
            found = resampled(data, n, alpha, sets, whole)
            every, seen = every + cells(found, alpha, options), gates(found[:whole])
            worst += cells(_worst(found), alpha, options)
        line(str(n), "all", *every, *seen)
        line(str(n), "worst", *worst, "", "")
        note(f"real {n}")


def _worst(found: Flags) -> Flags:
    """Each field of its worst column in the first half of the data sets, in the second half: `[set, field]`."""
    half = len(found) // 2
    return found[half:, found[:half].sum(0).argmax(0), np.arange(len(FIELDS))]
