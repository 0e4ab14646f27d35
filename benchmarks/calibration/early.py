"""Deciding early: false verdicts, verdicts lost, documents saved."""

from __future__ import annotations

from functools import partial

import numpy as np

from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, judge
from attnres_core.statistics import intervals
from attnres_core.statistics.sequential import looks

from .columns import columns_of
from .options import Options
from .populations import POPULATIONS, SKEWED, Population, labels
from .real import standardised
from .rule import BATCH, SEED, student_misses
from .tables import header, line, note, ratio


def ended(
    data: np.ndarray,
    threshold: float,
    alpha: float,
    *,
    sequential: bool,
    whole: bool,
    labels: np.ndarray | None = None,
    seed: int = SEED,
) -> tuple[np.ndarray, np.ndarray]:
    """Each data set's verdict on `x > threshold` and the documents it took, `[set]`; `data` is `[set, document]`.

    Args:
        data: the data sets.
        threshold: of the statement.
        alpha: of the claim.
        sequential: whether to look early.
        whole: judge every data set; otherwise those alone that Student's t calls above (enough to count SUPPORTED).
        labels: each document's stratum, resampled within at the last look, as the suite does.
        seed: of the first batch.
    """
    strata = None if labels is None else intervals.strata_of(labels.tolist())
    sets, n = data.shape
    verdicts, documents = np.full(sets, Verdict.INCONCLUSIVE, dtype=object), np.full(sets, n)
    waiting = np.arange(sets)
    for number, look in enumerate(looks(n, sequential=sequential)):
        head = data[waiting, : look.documents]
        groups = strata if strata is not None and look.final else (np.arange(head.shape[1]),)
        error = np.sqrt(sum(len(rows) * head[:, rows].var(1, ddof=1) for rows in groups)) / head.shape[1]
        clears = student_misses(head.mean(1) - threshold, error, head.shape[1] - len(groups), alpha * look.share)[:, 0]
        chosen = waiting if whole and look.final else waiting[clears]
        for start in range(0, len(chosen), BATCH):
            rows = chosen[start : start + BATCH]
            columns = {int(row): data[row, : look.documents] for row in rows}
            stated = [Statement(Linear(((row, 1.0),)), Operator.ABOVE, threshold) for row in columns]
            asked = [Question(statement, alpha, look=look) for statement in stated]
            found = judge(asked, columns, strata if look.final else None, seed + 1000 * number + start)
            for row, decision in zip(columns, found.values(), strict=True):
                verdicts[row], documents[row] = decision.verdict, head.shape[1]
        waiting = waiting[verdicts[waiting] != Verdict.SUPPORTED]
    documents[waiting] = n
    return verdicts, documents


def early(options: Options) -> None:
    """Looking early at 256 documents: false SUPPORTED with the truth at the threshold, verdicts lost, cost saved."""
    names, columns = columns_of(options)
    n, data = 256, standardised(columns)

    def from_models(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
        return np.stack([rng.choice(column, n) for column in data.T[np.arange(sets) % len(names)]])

    real = Population("real columns", from_models)
    plan = ", ".join(f"{look.share:g} at {look.documents or n}" for look in looks(n, sequential=True))
    print(f"Looks at {n} documents spend these shares of alpha: {plan}. Truth at the threshold: attained / nominal.")
    header(["column", "alpha", "fixed n", "early", "of which before the last look"])
    for alpha, sets in zip(options.alphas, options.sets, strict=True):
        shapes = [p for p in POPULATIONS if p.largest > n]
        mirrored = [
            Population(f"{p.name}, mirrored", lambda *size, p=p: -p.draw(*size)) for p in shapes if p.draw in SKEWED
        ]
        for population in (*shapes, *mirrored, real):
            rng, counts = np.random.default_rng([SEED, 9]), np.zeros(3)
            stratified = population.strata(n) is not None
            size = 100 if stratified else sets  # data sets whose documents come in one order
            for start in range(0, sets, size):
                order = rng.permutation(n) if stratified else np.arange(n)  # not in the order of the strata
                draws = population.draw(rng, min(size, sets - start), n)[:, order]
                own = labels(n)[order] if stratified else None
                run = partial(ended, draws, 0.0, alpha, whole=False, labels=own, seed=SEED + start)
                (fixed, _), (verdicts, documents) = run(sequential=False), run(sequential=True)
                wrong = verdicts == Verdict.SUPPORTED
                counts += (fixed == Verdict.SUPPORTED).sum(), wrong.sum(), (wrong & (documents < n)).sum()
            line(population.name, f"{alpha:g}", *(ratio(count, sets, alpha) for count in counts))
            note(f"early {alpha:g} {population.name}")
    alpha, margin, each = options.alphas[1], 0.02, options.early_sets
    print(f"\n`effect > {margin}` on {len(names)} real columns, {each} data sets each, alpha = {alpha:g}:\n")
    header(["", "SUPPORTED", "REFUTED", "decided", "documents saved"])
    rng = np.random.default_rng([SEED, 11])
    drawn = np.concatenate([rng.choice(column, (each, n)) for column in columns.T])
    for name, sequential in (("fixed n", False), ("early", True)):
        verdicts, documents = ended(drawn, margin, alpha, sequential=sequential, whole=True)
        supported, refuted = (float((verdicts == v).mean()) for v in (Verdict.SUPPORTED, Verdict.REFUTED))
        saved = 1 - documents.mean() / n
        line(name, f"{supported:.1%}", f"{refuted:.1%}", f"{supported + refuted:.1%}", f"{saved:.0%}")
        note(f"early real {name}")
