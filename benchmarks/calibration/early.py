"""Deciding early: false verdicts over all looks, verdicts lost, documents saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, judge
from attnres_core.quantities.vocabulary import Statistic
from attnres_core.shapes import Column
from attnres_core.statistics import intervals
from attnres_core.statistics.associations import influence, reliable, smoothing_bias
from attnres_core.statistics.sequential import looks

from .columns import columns_of
from .options import Options
from .populations import POPULATIONS, SKEWED, Draw, Numbers, Population, labels
from .real import standardised
from .rule import BATCH, SEED, Flags
from .shipped import shipped
from .tables import header, line, note, ratio

N = 256
OPEN, SUPPORTED, REFUTED = Verdict.INCONCLUSIVE, Verdict.SUPPORTED, Verdict.REFUTED
MARGIN = 1.0  # of null claims, in sd
MARGINS = (0.02, 0.01)  # "matters" and "no role", nats per token
SITES, NOISE = 30, 0.6
FALSE = ("SUPPORTED", "REFUTED", "null")


def ended(
    data: Numbers,
    operator: Operator,
    threshold: float,
    alpha: float,
    *,
    sequential: bool,
    labels: NDArray[np.intp] | None = None,
    seed: int = SEED,
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Each data set's verdict on one statement and the documents it took, `[set]`.

    What Student's t leaves open is not bootstrapped: the rule's limits never lie inside Student's.

    Args:
        data: the data sets, `[set, document]`.
        operator: the statement's.
        threshold: the statement's.
        alpha: the claim's.
        sequential: whether to look early.
        labels: each document's stratum, resampled within at the last look, as the suite does.
        seed: of the first batch.
    """
    sets, n = data.shape
    verdicts, documents = np.full(sets, OPEN, dtype=object), np.full(sets, n)
    for number, look in enumerate(looks(n, sequential=sequential)):
        waiting = np.flatnonzero(verdicts == OPEN)
        strata = intervals.strata_of(labels.tolist()) if labels is not None and look.final else None
        head = data[waiting, : look.documents]
        chosen = waiting[_decided_by_student(head, operator, threshold, alpha * look.share, strata)]
        for start in range(0, len(chosen), BATCH):
            columns = {int(row): data[row, : look.documents] for row in chosen[start : start + BATCH]}
            stated = [Statement(Linear(((row, 1.0),)), operator, threshold) for row in columns]
            asked = [Question(statement, alpha, look=look) for statement in stated]
            found = judge(asked, columns, strata, seed + 1000 * number + start)
            for row, decision in zip(columns, found.values(), strict=True):
                if decision.verdict is not OPEN:
                    verdicts[row], documents[row] = decision.verdict, head.shape[1]
    return verdicts, documents


def _decided_by_student(
    data: Numbers, operator: Operator, threshold: float, alpha: float, strata: intervals.Strata | None
) -> Flags:
    """Which data sets Student's limits decide, `[set]`."""
    groups = strata or (np.arange(data.shape[1]),)
    error = np.sqrt(sum(len(rows) * data[:, rows].var(1, ddof=1) for rows in groups)) / data.shape[1]
    half = stats.t.ppf(1 - alpha, data.shape[1] - len(groups)) * (1 - 1e-9) * error
    low, high = data.mean(1) - half, data.mean(1) + half
    if operator is Operator.ABOVE:
        return np.asarray((low > threshold) | (high <= threshold))
    return np.asarray(((low > -threshold) & (high < threshold)) | (low >= threshold) | (high <= -threshold))


def early(options: Options) -> None:
    """False verdicts with the truth at the threshold; verdicts lost and forwards saved where it is where it is."""
    names, columns = columns_of(options)
    plan = ", ".join(f"{look.share:g} at {look.documents or N}" for look in looks(N, sequential=True))
    print(f"Looks at {N} documents spend these shares of alpha: {plan}.")
    print("False verdicts with the truth at the threshold, attained / nominal: at a fixed n, then early.")
    header(["column", "alpha", *(f"{name}: {how}" for name in FALSE for how in ("fixed", "early"))])
    real = Population("real columns", _any_of(standardised(columns).T))
    for alpha, sets, each in zip(options.alphas, options.sets, options.real_sets, strict=True):
        for population, count in (*((simulated, sets) for simulated in _shapes()), (real, each * len(names))):
            counts = false_verdicts(population, alpha, count)
            line(population.name, f"{alpha:g}", *(ratio(wrong, count, alpha) for wrong in counts.ravel().tolist()))
            note(f"early {alpha:g} {population.name}")
    correlations(options)
    lost(names, columns, options)
    if not options.quick:  # (it takes a model)
        shipped(options)


def _shapes() -> Iterator[Population]:
    """Simulated populations of documents; those with a long tail once more, with the tail to the other side."""
    shapes = [population for population in POPULATIONS if population.largest > N]
    yield from shapes
    for population in shapes:
        if population.draw in SKEWED:
            yield Population(f"{population.name}, mirrored", _mirrored(population.draw))


def _mirrored(draw: Draw) -> Draw:
    return lambda rng, sets, n: -draw(rng, sets, n)


def _any_of(columns: Numbers) -> Draw:
    """Data sets from each of the columns in turn."""
    return lambda rng, sets, n: np.stack([rng.choice(columns[row % len(columns)], n) for row in range(sets)])


def false_verdicts(population: Population, alpha: float, sets: int, seed: int = SEED) -> NDArray[np.intp]:
    """How many data sets get each wrong verdict, `[FALSE, fixed or early]`.

    `SUPPORTED`, `REFUTED`: of `x > 0` with the truth at (just above) 0. `null`: `abs(x) < 1 sd` SUPPORTED with the
    truth at +1 sd; what is mirrored shows the other side.
    """
    rng, counts = np.random.default_rng([seed, 9]), np.zeros((len(FALSE), 2), np.intp)
    stratified = population.strata(N) is not None
    size = 100 if stratified else 2000  # data sets whose documents come in one order
    for start in range(0, sets, size):
        order = rng.permutation(N) if stratified else np.arange(N)  # not in the order of the strata
        draws = population.draw(rng, min(size, sets - start), N)[:, order]
        own = labels(N)[order] if stratified else None
        for how, sequential in enumerate((False, True)):
            asked = ((draws, Operator.ABOVE, 0.0), (draws + MARGIN, Operator.WITHIN, MARGIN))
            above, null = (ended(*one, alpha, sequential=sequential, labels=own, seed=seed + start)[0] for one in asked)
            counts[:, how] += [(above == SUPPORTED).sum(), (above == REFUTED).sum(), (null == SUPPORTED).sum()]
    return counts


def correlations(options: Options) -> None:
    """False verdicts on a correlation of sites' masses and effects, which claims about it must not meet early."""
    alpha, rng = options.alphas[0], np.random.default_rng(SEED)
    masses = rng.uniform(size=SITES)
    effects = 0.5 * masses + 0.2 * rng.normal(size=SITES)
    truth = float(np.corrcoef(masses, effects)[0, 1])
    print(f"\nThe correlation of {SITES} sites' masses and effects is {truth:.2f}, and so is the threshold of `>`.")
    print(f"Single documents scatter about each mean with sd {NOISE}. alpha = {alpha:g}; attained / nominal.")
    header(["documents", "undecided for noise", "mean estimate", "SUPPORTED", "REFUTED"])
    for n in (64, 128, 256):
        columns, asked, unreliable = dict[int, Column](), list[Question](), 0
        for row in range(options.correlations):
            one, other = (own[:, None] + NOISE * rng.normal(size=(SITES, n)) for own in (masses, effects))
            columns[row] = influence(Statistic.PEARSON, one, other)
            bias = smoothing_bias(Statistic.PEARSON, one, other, columns[row])
            gate = "" if reliable(one) and reliable(other) else "noise"
            unreliable += bool(gate)
            asked.append(Question(Statement(Linear(((row, 1.0),)), Operator.ABOVE, truth), alpha, bias=bias, gate=gate))
        found = [decision.verdict for decision in judge(asked, columns).values()]
        rates = (ratio(found.count(verdict), len(found), alpha) for verdict in (SUPPORTED, REFUTED))
        mean = float(np.mean([column.mean() for column in columns.values()]))
        line(str(n), f"{unreliable / len(found):.0%}", f"{mean:.2f}", *rates)
        note(f"early correlations {n}")


def lost(names: Sequence[str], columns: Numbers, options: Options) -> None:
    """What real columns come to where their truth is, at a fixed n and look by look."""
    alpha, each, rng = options.alphas[1], options.early_sets, np.random.default_rng([SEED, 11])
    drawn = np.concatenate([rng.choice(column, (each, N)) for column in columns.T])
    print(f"\n{len(names)} real columns, {each} data sets each, alpha = {alpha:g}:")
    header(["claim", "", "SUPPORTED", "REFUTED", "open", "lost", "turned", "documents saved"])
    for operator, margin in zip((Operator.ABOVE, Operator.WITHIN), MARGINS, strict=True):
        fixed, _ = ended(drawn, operator, margin, alpha, sequential=False)
        found, documents = ended(drawn, operator, margin, alpha, sequential=True)
        gone = (found == OPEN) & (fixed != OPEN)
        turned = (found != OPEN) & (fixed != OPEN) & (found != fixed)
        text = f"`{'effect' if operator is Operator.ABOVE else 'abs(effect)'} {str(operator)[-1]} {margin:g}`"
        for how, verdicts, rest in (
            ("fixed", fixed, ("", "", "")),
            ("early", found, (f"{gone.mean():.1%}", f"{turned.mean():.1%}", f"{1 - documents.mean() / N:.0%}")),
        ):
            line(text, how, *(f"{(verdicts == verdict).mean():.1%}" for verdict in (SUPPORTED, REFUTED, OPEN)), *rest)
        note(f"early {text}")
