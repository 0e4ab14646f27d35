"""Attained error rates, power and cost of the decision rule, on simulated columns and on columns of real models.

python benchmarks/calibration.py simulated   # miss rates and wrong verdicts, simulated columns
python benchmarks/calibration.py real        # the same, columns of the reference checkpoints as super-populations
python benchmarks/calibration.py suite       # P(any wrong verdict) in a suite with every margin at the truth
python benchmarks/calibration.py power       # P(SUPPORTED) against the true effect and n
python benchmarks/calibration.py rare        # false SUPPORTED where few documents carry the effect
python benchmarks/calibration.py early       # deciding early: false SUPPORTED, verdicts lost, documents saved
python benchmarks/calibration.py cost        # time and memory to judge 200 columns x 512 prompts at alpha / 40
python benchmarks/calibration.py all

Every number comes from the library's own rule. Its limits are never inside Student's, so a data set that Student's t
does not miss cannot be missed: by default only those that Student misses are bootstrapped, after checking exactly
that on `--whole` data sets a row. `--every` bootstraps all. Up to 64 data sets share their resampling weights, which
leaves marginal rates as they are; every such batch has a seed of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, judge
from attnres_core.quantities.vocabulary import Family
from attnres_core.statistics import intervals
from attnres_core.statistics.sequential import looks

SIZES = (16, 32, 64, 128, 256, 512, 1024)
ALPHAS = (0.025, 0.05 / 40)
SEED = 5
BATCH = 64
WITHIN_DOCUMENT = 4
STRATA = ((0.4, 0.0, 1.0), (0.3, 1.0, 1.0), (0.2, 2.0, 2.0), (0.1, 4.0, 2.0))  # share of documents, mean, sd
RULE = ("limit low", "limit high", "> SUPP.", "> REF.", "abs at +m", "abs at -m", "gated", "discarded")
FIELDS = ("t low", "t high", *RULE)
RARE = (0.01, 0.02, 0.04, 0.06, 0.08, 0.10)  # of documents, that carry an effect
CHECKPOINTS = ("tiny-open-block", "tiny-kimi-block")


def note(text: str) -> None:
    """Progress, where it stands in no table."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Population:
    """What columns are drawn from, standardised: true mean 0, sd 1 (of a document; within strata if it has them)."""

    name: str
    draw: Callable[[np.random.Generator, int, int], np.ndarray]  # (generator, data sets, documents) -> [data set, unit]
    strata: Callable[[int], intervals.Strata | None] = lambda n: None
    share: float = 1.0  # of the data sets asked for: less where each is dear and rates are large
    largest: int = max(SIZES)


def _lognormal(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    return (rng.lognormal(size=(sets, n)) - math.exp(0.5)) / math.sqrt(math.e * (math.e - 1))


def _zero_inflated(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    """90 % zeros, otherwise exponential."""
    return (rng.exponential(size=(sets, n)) * (rng.random((sets, n)) < 0.1) - 0.1) / math.sqrt(0.19)


def _outliers(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    """Normal, and 2 % of documents 10 sd above."""
    return (rng.normal(size=(sets, n)) + 10 * (rng.random((sets, n)) < 0.02) - 0.2) / math.sqrt(1 + 100 * 0.02 * 0.98)


def _prompts(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    """Prompts of n documents, half of whose variance is their document's."""
    document, prompt = rng.normal(size=(sets, n, 1)), rng.normal(size=(sets, n, WITHIN_DOCUMENT))
    return ((document + prompt) / math.sqrt(2)).reshape(sets, -1)


def _documents(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    """The documents' means of the same prompts."""
    means = _prompts(rng, sets, n).reshape(sets, n, WITHIN_DOCUMENT).mean(2)
    return means / math.sqrt((1 + 1 / WITHIN_DOCUMENT) / 2)


def _labels(n: int) -> np.ndarray:
    """The stratum of each of n documents; their numbers are fixed."""
    bounds = np.cumsum([share for share, _, _ in STRATA]) * n
    return np.searchsorted(np.round(bounds), np.arange(n), side="right").clip(max=len(STRATA) - 1)


def _stratified(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
    """Normal within four strata of different means and sds."""
    means, sds = (np.array([row[at] for row in STRATA])[_labels(n)] for at in (1, 2))
    return (rng.normal(size=(sets, n)) * sds + means - means.mean()) / math.sqrt(np.mean(sds**2))


POPULATIONS = (
    Population("normal", lambda rng, sets, n: rng.normal(size=(sets, n))),
    Population("t5", lambda rng, sets, n: rng.standard_t(5, (sets, n)) / math.sqrt(5 / 3)),
    Population("lognormal", _lognormal),
    Population("90 % zeros", _zero_inflated),
    Population("2 % outliers", _outliers),
    Population("clustered: documents", _documents),
    Population("clustered: prompts", _prompts, share=0.1, largest=256),
    Population("stratified", _stratified, lambda n: intervals.strata_of(_labels(n))),
)

SKEWED = (_lognormal, _zero_inflated, _outliers)


def outcomes(
    columns: Sequence[np.ndarray], alpha: float, seed: int = SEED, strata: intervals.Strata | None = None
) -> np.ndarray:
    """What the rule does to columns whose true mean is 0, as booleans `[column, field]` in the order of RULE.

    The limits' misses are read off the p-value, in which there is no gate; verdicts are `decide`'s, after all gates.
    `> SUPP.`: `x > m` SUPPORTED with the truth at m; `> REF.`: REFUTED with the truth (just above) m. `abs at +m`,
    `abs at -m`: `abs(x) < m` SUPPORTED with the truth there, m being 1 sd.
    """
    found = np.zeros((len(columns), len(RULE)), bool)
    for start in range(0, len(columns), BATCH):
        part = columns[start : start + BATCH]
        made = intervals.bootstraps(part, [alpha] * len(part), strata, seed + start)
        for row, (column, one) in enumerate(zip(part, made, strict=True), start):
            if isinstance(one, str):
                interval, misses = intervals.gated(column, alpha, one), (False, False)
            else:
                interval, level = one.interval(alpha), alpha * (1 + 1e-9)
                misses = tuple(one.p_value(operator, 0.0) <= level for operator in (Operator.ABOVE, Operator.BELOW))
            above = intervals.decide(Operator.ABOVE, 0.0, interval)
            verdicts = [above is Verdict.SUPPORTED, above is Verdict.REFUTED]
            for place in (1.0, -1.0):  # the column moved there, and its limits along
                moved = replace(interval, low=interval.low + place, high=interval.high + place)
                verdicts.append(intervals.decide(Operator.WITHIN, 1.0, moved) is Verdict.SUPPORTED)
            discarded = math.isinf(interval.low) != math.isinf(interval.high)
            found[row] = (*misses, *verdicts, bool(interval.gate), discarded)
    return found


def student_misses(mean: np.ndarray, error: np.ndarray, freedom: int, alpha: float) -> np.ndarray:
    """Which one-sided limits of Student's t miss a true mean of 0, `[..., low or high]`."""
    quantile = stats.t.ppf(1 - alpha, freedom) * (1 - 1e-9)
    return np.stack([mean > quantile * error, mean < -quantile * error], axis=-1)


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


def joined(student: np.ndarray, chosen: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """All fields, `[..., field]`: those that Student's t misses and, where `chosen`, what the rule does."""
    found = np.zeros((*chosen.shape, len(FIELDS)), bool)
    found[..., :2] = student
    found[chosen, 2:] = outcome
    if (found[..., 2:4] & ~student).any():  # then leaving data sets out would be wrong
        raise RuntimeError("a limit lies inside Student's: the rule is broken")
    return found


def ratio(count: float, total: int, alpha: float) -> str:
    """Attained / nominal with its Monte-Carlo standard error; bold where it exceeds 1 by three of them."""
    rate = count / total
    error = math.sqrt(max(rate, 1 / total) * (1 - rate) / total) / alpha
    text = f"{rate / alpha:.2f} ±{error:.2f}"
    return f"**{text}**" if rate / alpha > 1 + 3 * error else text


def cells(found: np.ndarray, alpha: float, whole: int) -> list[str]:
    """A row of a table from `[set, ..., field]`; the share gated and discarded from the first `whole` sets."""
    flat, seen = found.reshape(-1, len(FIELDS)), found[:whole].reshape(-1, len(FIELDS))
    shares = (f"{share:.0%}" for share in seen[:, 8:].mean(0))
    return [*(ratio(count, len(flat), alpha) for count in flat[:, :8].sum(0)), *shares]


def header(names: Sequence[str]) -> None:
    """The head of a markdown table."""
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def line(*texts: str) -> None:
    """A row of it, as it comes."""
    print("| " + " | ".join(texts) + " |", flush=True)


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


def columns_of(file: Path | None = None) -> tuple[list[str], np.ndarray]:
    """Names and columns `[prompt, column]` of the reference checkpoints' drops, all shipped prompts, measured once."""
    import attnres_core as ac
    from attnres_core.shipped import reference_prompts

    sources = [reference_prompts(), *(ac.reference(name) / "model.safetensors" for name in CHECKPOINTS)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sources)).hexdigest()
    file = file or Path(__file__).parent.parent / ".attnres" / f"calibration-{digest[:12]}.npz"
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


def rare(arguments: argparse.Namespace) -> None:
    """False SUPPORTED of `x > m` with the truth at m, where a few documents lie 10 sd below the others."""
    print(f"\nalpha = .05/128; {arguments.rare_sets:,} data sets a cell; normal, but a share lies 10 sd below the rest")
    alpha = 0.05 / 128
    header(["documents", *(f"carried by {share:.0%}" for share in RARE)])
    for n in (128, 256, 512):
        rates = [
            ratio(_false_supported(n, share, alpha, arguments.rare_sets), arguments.rare_sets, alpha) for share in RARE
        ]
        line(str(n), *rates)


def _false_supported(n: int, share: float, alpha: float, sets: int) -> int:
    """How many of so many data sets are SUPPORTED; those that Student's t does not miss cannot be."""
    rng, judged = np.random.default_rng([SEED, n, round(1000 * share)]), []
    for start in range(0, sets, 2000):
        size = (min(2000, sets - start), n)
        data = rng.normal(size=size) - 10.0 * ((rng.random(size) < share) - share)
        misses = student_misses(data.mean(1), data.std(1, ddof=1) / math.sqrt(n), n - 1, alpha)
        judged += list(data[misses[:, 0]])
    return int(outcomes(judged, alpha)[:, RULE.index("> SUPP.")].sum())


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
    strata = None if labels is None else intervals.strata_of(labels)
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


def early(arguments: argparse.Namespace) -> None:
    """Looking early at 256 documents: false SUPPORTED with the truth at the threshold, verdicts lost, cost saved."""
    names, columns = columns_of(arguments.columns)
    n, data = 256, standardised(columns)

    def from_models(rng: np.random.Generator, sets: int, n: int) -> np.ndarray:
        return np.stack([rng.choice(column, n) for column in data.T[np.arange(sets) % len(names)]])

    real = Population("real columns", from_models)
    plan = ", ".join(f"{look.share:g} at {look.documents or n}" for look in looks(n, sequential=True))
    print(f"Looks at {n} documents spend these shares of alpha: {plan}. Truth at the threshold: attained / nominal.")
    header(["column", "alpha", "fixed n", "early", "of which before the last look"])
    for alpha, sets in zip(ALPHAS, arguments.sets, strict=True):
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
                given = {"whole": False, "labels": _labels(n)[order] if stratified else None, "seed": SEED + start}
                fixed, _ = ended(draws, 0.0, alpha, sequential=False, **given)
                verdicts, documents = ended(draws, 0.0, alpha, sequential=True, **given)
                wrong = verdicts == Verdict.SUPPORTED
                counts += (fixed == Verdict.SUPPORTED).sum(), wrong.sum(), (wrong & (documents < n)).sum()
            line(population.name, f"{alpha:g}", *(ratio(count, sets, alpha) for count in counts))
            note(f"early {alpha:g} {population.name}")
    alpha, margin, each = ALPHAS[1], 0.02, arguments.early_sets
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


def cost(arguments: argparse.Namespace) -> None:
    """Time and peak memory of one judgement of 200 columns x 512 prompts at alpha / 40, in a process of its own."""
    command = [sys.executable, __file__, "--one"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    header(["columns x prompts", "resamples", "wall", "CPU", "libraries", "peak"])
    line(*found)


def judge_once() -> None:
    """In a fresh process: bootstrap once, and take the limits and p-values."""

    def used() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    columns = list(np.random.default_rng(SEED).lognormal(0, 0.5, (200, 512)))
    alpha, before = ALPHAS[1], used()
    for made in intervals.bootstraps(columns, [alpha] * len(columns)):
        made.interval(alpha)
        made.p_value(Operator.ABOVE, 1.0)
    after, resamples = used(), intervals.resamples_for(alpha)
    times = [f"{later - earlier:.1f} s" for earlier, later in zip(before[:2], after[:2], strict=True)]
    print(json.dumps(["200 x 512", f"{resamples:,}", *times, f"{before[2]:.0f} MiB", f"{after[2]:.0f} MiB"]))


PARTS = {
    "cost": cost,
    "simulated": simulated,
    "real": real,
    "suite": suite,
    "rare": rare,
    "power": power,
    "early": early,
}


def main() -> None:
    """Run one part or all; tables go to the standard output as markdown, progress to the error output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"], default="all")
    pair = {"type": int, "nargs": 2, "metavar": ("AT_.025", "AT_.00125")}
    parser.add_argument("--sets", **pair, default=(8000, 20000), help="simulated data sets a row (8000 20000)")
    parser.add_argument("--real-sets", **pair, default=(2000, 8000), help="data sets a real column (2000 8000)")
    parser.add_argument("--suites", type=int, default=40000, help="suites of 40 claims (40000)")
    parser.add_argument("--rare-sets", type=int, default=100000, help="data sets a cell of the rare effects (100000)")
    parser.add_argument("--power-sets", type=int, default=256, help="data sets a row of the power table (256)")
    parser.add_argument("--early-sets", type=int, default=40, help="data sets a real column that may end early (40)")
    parser.add_argument("--whole", type=int, default=64, help="a row: judged whatever Student says (64)")
    parser.add_argument("--every", action="store_true", help="bootstrap every data set (hours at the default numbers)")
    parser.add_argument("--columns", type=Path, help="real columns (.npz); default: measured once into .attnres/")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        judge_once()
        return
    for name, run in PARTS.items():
        if arguments.part in (name, "all"):
            start = time.monotonic()
            print(f"\n### {name}\n")
            run(arguments)
            note(f"{name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
