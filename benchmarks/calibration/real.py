"""The same on columns of the reference checkpoints, which serve as super-populations."""

from __future__ import annotations

import argparse
import hashlib
import itertools
from pathlib import Path

import numpy as np
from scipy import stats

from attnres_core.quantities.vocabulary import Family

from .populations import SIZES
from .rule import ALPHAS, FIELDS, SEED, cells, joined, outcomes, student_misses
from .tables import header, line, note, ratio

CHECKPOINTS = ("tiny-open-block", "tiny-kimi-block")


def columns_of(file: Path | None = None) -> tuple[list[str], np.ndarray]:
    """Names and columns `[prompt, column]` of the reference checkpoints' drops, all shipped prompts, measured once."""
    import attnres_core as ac
    from attnres_core.shipped import reference_prompts

    sources = [reference_prompts(), *(ac.reference(name) / "model.safetensors" for name in CHECKPOINTS)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sources)).hexdigest()
    file = file or Path(__file__).parents[2] / ".attnres" / f"calibration-{digest[:12]}.npz"
    if not file.is_file():
        import torch

        torch.set_num_threads(1)
        prompts, found = ac.load_prompts(reference_prompts()), {}
        for name in CHECKPOINTS:
            model = ac.load_model(ac.reference(name))
            places = itertools.product(Family, (ac.ATTN, ac.MLP), (ac.EARLY, ac.MID, ac.LATE))
            wanted = [drop for drop in itertools.starmap(ac.drop, places) if _applies(drop, model)]
            note(f"measuring {len(prompts)} prompts under {len(wanted)} drops of {name}")
            for drop, column in ac.measure(model, prompts, wanted).items():
                if not any(np.array_equal(column, other) for other in found.values()) and np.ptp(column) > 1e-6:
                    found[f"{drop} on {name}"] = column
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, names=list(found), columns=np.stack(list(found.values()), axis=1))
    with np.load(file) as stored:
        return [str(name) for name in stored["names"]], stored["columns"]


def _applies(drop: object, model: object) -> bool:
    from attnres_core.planning.requests import resolved
    from attnres_core.quantities.intervention import NotApplicable

    try:
        return all(not i.no_ops for i in resolved(drop, model.checkpoint).check().interventions)
    except (NotApplicable, ValueError):
        return False


def standardised(columns: np.ndarray) -> np.ndarray:
    """The super-population of each column with mean 0 and sd 1."""
    return (columns - columns.mean(0)) / columns.std(0)


def resampled(columns: np.ndarray, n: int, alpha: float, sets: int, whole: int = 0, seed: int = SEED) -> np.ndarray:
    """Student's misses and the rule's outcomes `[set, column, field]` on documents drawn with replacement.

    Every column of a data set has the same documents, as in a suite; the first `whole` data sets are judged in full.
    """
    documents, width = columns.shape
    drawn = np.random.default_rng([seed, n]).integers(0, documents, (sets, n), dtype=np.int16)
    student = np.zeros((sets, width, 2), bool)
    for start in range(0, sets, 1000):
        part = slice(start, start + 1000)
        weights = np.stack([np.bincount(row, minlength=documents) for row in drawn[part]]) / n
        mean = weights @ columns
        error = np.sqrt(np.maximum(weights @ columns**2 - mean**2, 0) / (n - 1))
        student[part] = student_misses(mean, error, n - 1, alpha)
    chosen = student.any(-1)
    chosen[:whole] = True
    judged = [columns[drawn[row], place] for row, place in np.argwhere(chosen)]
    return joined(student, chosen, outcomes(judged, alpha, seed))


def real(arguments: argparse.Namespace) -> None:
    """Attained / nominal rates on real columns: over all columns, and of the worst."""
    names, columns = columns_of(arguments.columns)
    data = standardised(columns)
    spread = ", ".join(f"{q:.1f}" for q in np.quantile(np.abs(stats.skew(columns)), [0, 0.25, 0.5, 0.75, 1]))
    print(f"{len(names)} columns of {len(data)} documents; |skewness|, smallest, quartiles, largest: {spread}")
    for alpha, sets in zip(ALPHAS, arguments.real_sets, strict=True):
        whole = sets if arguments.every else 3
        print(f"\nalpha = {alpha:g}; {sets:,} data sets; ± as if columns were independent; gates from {whole} sets")
        print("worst: of the column that is worst in the first half of the data sets, in the second half")
        header(["n", "columns", *FIELDS])
        for n in SIZES:
            found = resampled(data, n, alpha, sets, whole)
            line(str(n), "all", *cells(found, alpha, whole))
            first, second = found[: sets // 2, :, :8].sum(0), found[sets // 2 :, :, :8].sum(0)
            worst = second[first.argmax(0), range(8)]
            line(str(n), "worst", *(ratio(count, sets - sets // 2, alpha) for count in worst), "", "")
            note(f"{alpha:g} real {n}")
