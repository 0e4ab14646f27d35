"""Would control variates need fewer prompts for the same width, and keep their level? Measured on real columns.

python benchmarks/control_variates.py    # both tables and the decision; columns are measured once, into .attnres/

A claim's effect is measured on n documents. Two covariates are known on N = 4n documents, these n among them: the clean
loss, and the first-order effect of the same ablation (`attnres_core.exploration.screening`), which one forward and one
backward pass give for all drops at once. The adjusted estimate is the regression estimator of double sampling,

    mean(y) - b (mean of x over n - mean of x over N),    variance s^2 [(1 - R^2) / n + R^2 / N].

Its limits are those of the library's rule, the outer of bootstrap-t and Student's t, on the jackknife's pseudo-values
of the estimate (in closed form; without covariates they are the column itself). The error of the mean over N is added
in quadrature, and Student's t loses a degree of freedom for each covariate. Gates are asked of the measured column.

The columns are those of the shipped claims on `tiny-open-block`: every drop of one family in a third of the layers,
and the motifs under `resample`. The super-population is all held-out documents of 80 tokens or more, without the
confirmation split. Data sets are drawn from it with replacement, so that the true mean is known.

The decision, fixed before any adjusted number was seen. Control variates ship only if all of this holds:

1. False verdicts, each: for no column, n, alpha and verdict (SUPPORTED or REFUTED of `x > m`, with the truth at m,
   after all gates) is the adjusted rule's rate above the unadjusted rule's on the same data sets by more than z
   standard errors of the difference, z being the normal quantile at 1 - .05 / (number of such comparisons).
2. False verdicts, together: the same for the mean over all columns, at each n, alpha and verdict; there the standard
   error is that over data sets, and z is taken for the number of these comparisons.
3. It pays: at every n the median over columns of the attained variance factor (variance of the adjusted estimates over
   data sets, over that of the plain means) is at most .8.

Two more tables, thought of after the decision was seen: what the same width costs in forwards, and what happens where
the covariates' mean is known from documents that also chose the claim.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.statistics import intervals

if TYPE_CHECKING:  # (torch is loaded where columns are measured)
    from attnres_core.models.model import AttnResModel
    from attnres_core.planning.requests import ResolvedQuantity
    from attnres_core.quantities.vocabulary import Family, Site

CHECKPOINT = "tiny-open-block"
SIZES = (64, 128, 256)
ALPHAS = (0.025, 0.05 / 40)
KNOWN = 4
"""The covariates' mean is known from so many times the documents that effects are measured on."""
LARGEST_FACTOR = 0.8
BACKWARD = 3
"""Forwards that a forward and a backward pass are worth."""
SEED = 20
BATCH = 64
"""Columns that share their resampling weights."""
AT_ONCE = 1000
"""Data sets held in memory at once."""
VERDICTS = (Verdict.SUPPORTED, Verdict.REFUTED)
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Effects and what is known of them beforehand, all of mean 0 and sd 1 over the documents."""

    names: tuple[str, ...]
    effects: Numbers
    """`[document, column]`."""
    covariates: Numbers
    """First-order effect and clean loss, `[document, column, covariate]`."""


def note(text: str) -> None:
    """Progress, where it stands in no table."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def line(*texts: str) -> None:
    """A row of a markdown table."""
    print("| " + " | ".join(texts) + " |", flush=True)


def header(*names: str) -> None:
    """The head of a markdown table."""
    line(*names)
    print("|" + "---|" * len(names))


def population(file: Path | None = None) -> Population:
    """The super-population, measured once (about seven CPU minutes)."""
    import attnres_core as ac

    weights = (ac.reference(CHECKPOINT) / "model.safetensors").read_bytes()
    kept = Path(__file__).parent.parent / ".attnres"
    file = file or kept / f"control-variates-{hashlib.sha256(weights).hexdigest()[:12]}.npz"
    if not file.is_file():
        names, effects, covariates = _measured()
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, names=names, effects=effects, covariates=covariates)
    with np.load(file) as stored:
        names, effects, covariates = (stored[name] for name in ("names", "effects", "covariates"))
    return Population(tuple(map(str, names)), _standardised(effects), _standardised(covariates))


def _standardised(values: Numbers) -> Numbers:
    return np.asarray((values - values.mean(0)) / values.std(0), dtype=np.float64)


def _measured() -> tuple[list[str], Numbers, Numbers]:
    """Names, effects `[document, column]` and covariates `[document, column, covariate]`, nats per token."""
    import torch

    import attnres_core as ac
    from attnres_core.exploration.screening import screen
    from attnres_core.planning.material import CHUNK
    from attnres_core.planning.requests import resolved
    from attnres_core.quantities.vocabulary import Family

    torch.set_num_threads(1)
    model = ac.load_model(ac.reference(CHECKPOINT))
    drops = [
        ac.drop(f, s, b)
        for f in Family
        if f is not Family.NULL
        for s in (ac.ATTN, ac.MLP)
        for b in (ac.EARLY, ac.MID, ac.LATE)
    ]
    motifs = [(ac.EMBEDDING, ac.MLP, ac.EARLY), (ac.CURRENT, ac.ATTN, ac.EARLY)]
    motifs += [(ac.CURRENT, ac.MLP, ac.EARLY), (ac.OLDER, ac.ATTN, ac.LATE)]
    asked = {str(what): what for what in [*drops, *(ac.resample(*motif) for motif in motifs)]}
    found = {name: resolved(what, model.checkpoint) for name, what in asked.items()}
    acting = {name: each for name, each in found.items() if each.resolved and not each.no_op}
    ids = held_out(model.checkpoint.tokenizer_file)
    note(f"measuring {len(ids)} documents under {len(acting)} ablations of {CHECKPOINT}")
    columns = ac.measure(model, ids, [asked[name] for name in acting])
    note("measured; now their first-order effects")
    effects = np.stack([columns[asked[name]] for name in acting], axis=1)
    first, losses = [], []
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        rises = screen(model, part)
        losses.append(clean_losses(model, part))
        first.append(np.stack([first_order(each, rises) for each in acting.values()], axis=1))
    screened, loss = np.concatenate(first), np.concatenate(losses)
    return list(acting), effects, np.stack([screened, np.broadcast_to(loss[:, None], screened.shape)], axis=2)


def first_order(asked: ResolvedQuantity, rises: dict[tuple[Site, Family], Numbers]) -> Numbers:
    """The sum of the screened effects of the families that an ablation takes away, over its sites, `[document]`."""
    touched = (pair for each in asked.interventions for pair in each.touched)
    cells = dict.fromkeys((site, site.sources[index]) for site, indices in touched for index in indices)
    rows = [rises[site, family] for site, family in cells if family is not None]
    return np.asarray(np.sum(rows, axis=0), dtype=np.float64)


def clean_losses(model: AttnResModel, ids: list[list[int]]) -> Numbers:
    """The clean run's loss of each document, nats per token, `[document]`."""
    import torch

    logits = model.logits(torch.tensor(ids))
    each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), torch.tensor(ids)[:, 1:], reduction="none")
    return np.asarray(each.double().mean(1).numpy())


def held_out(tokenizer_file: Path) -> list[list[int]]:
    """First 64 tokens of all held-out documents that can be prompts, without those that the suite confirms on."""
    from tokenizers import Tokenizer

    import attnres_core as ac
    from attnres_core.prompts import Split
    from attnres_core.shipped import reference_prompts
    from attnres_core.training.corpus import build
    from attnres_core.training.prompts import MIN_TOKENS

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    confirming = {prompt.id for prompt in ac.load_prompts(reference_prompts()).part(Split.CONFIRMATION).prompts}
    texts = (document.text for document in build().held_out if document.digest[:16] not in confirming)
    ids = (tokenizer.encode(text).ids for text in texts)
    return [each[:64] for each in ids if len(each) >= MIN_TOKENS]


@dataclass(frozen=True)
class Estimates:
    """One estimate a data set."""

    columns: Numbers
    """What the rule decides: measured values, or pseudo-values; `[set, document]`."""
    errors: Numbers
    """Standard errors of their means, `[set]`."""
    freedom: int

    @property
    def means(self) -> Numbers:
        """The estimates, `[set]`."""
        return np.asarray(self.columns.mean(1))

    def student(self, alpha: float) -> NDArray[np.bool_]:
        """Data sets where one of Student's limits misses a true mean of 0, `[set]`."""
        reach = stats.t.ppf(1 - alpha, self.freedom) * (1 - 1e-9) * self.errors
        return np.asarray(np.abs(self.means) > reach)


def plain(effects: Numbers) -> Estimates:
    """Of effects `[set, document]`: their means."""
    n = effects.shape[1]
    return Estimates(effects, effects.std(1, ddof=1) / math.sqrt(n), n - 1)


def adjusted(effects: Numbers, covariates: Numbers, known: Numbers, spread: Numbers, count: int) -> Estimates:
    """The regression estimator of double sampling.

    Args:
        effects: `[set, document]`.
        covariates: of the same documents, `[set, document, covariate]`.
        known: their means over all documents that they are known on, `[set, covariate]`.
        spread: their covariances over these, `[set, covariate, covariate]`.
        count: the number of these documents.
    """
    n, width = covariates.shape[1:]
    centre = covariates.mean(1)
    x, y = covariates - centre[:, None], effects - effects.mean(1, keepdims=True)
    inverse = np.linalg.inv(np.einsum("sip,siq->spq", x, x))
    reach = np.einsum("sip,spq->siq", x, inverse)
    slope = np.einsum("siq,si->sq", reach, y)
    left = y - np.einsum("sip,sp->si", x, slope)
    leverage = 1 / n + np.einsum("sip,sip->si", reach, x)
    weight = 1 / n + np.einsum("sip,sp->si", reach, known - centre)  # of each document in the estimate
    estimate = effects.mean(1) + np.einsum("sp,sp->s", slope, known - centre)
    values = estimate[:, None] + (n - 1) * weight * left / (1 - leverage)
    beyond = np.einsum("sp,spq,sq->s", slope, spread, slope) / count
    return Estimates(values, np.sqrt(values.var(1, ddof=1) / n + beyond), n - 1 - width)


def moments(people: Population, drawn: NDArray[np.int16]) -> tuple[Numbers, Numbers]:
    """Means `[set, column, covariate]` and covariances `[set, column, covariate, covariate]` of drawn documents."""
    documents, columns, width = people.covariates.shape
    counts = np.stack([np.bincount(row, minlength=documents) for row in drawn]) / drawn.shape[1]
    products = np.einsum("dcp,dcq->dcpq", people.covariates, people.covariates)
    means = (counts @ people.covariates.reshape(documents, -1)).reshape(-1, columns, width)
    squares = (counts @ products.reshape(documents, -1)).reshape(-1, columns, width, width)
    return means, squares - means[..., None] * means[..., None, :]


def data_sets(people: Population, n: int, sets: int) -> Iterator[tuple[int, int, Estimates, Estimates]]:
    """First data set, column, and its plain and adjusted estimates, `AT_ONCE` data sets at a time."""
    rng = np.random.default_rng([SEED, n])
    for start in range(0, sets, AT_ONCE):
        drawn = rng.integers(0, len(people.effects), (min(AT_ONCE, sets - start), KNOWN * n), dtype=np.int16)
        known, spread = moments(people, drawn)
        measured = drawn[:, :n]
        for column in range(len(people.names)):
            effects, covariates = people.effects[measured, column], people.covariates[measured, column]
            regressed = adjusted(effects, covariates, known[:, column], spread[:, column], KNOWN * n)
            yield start, column, plain(effects), regressed


@dataclass
class Missed:
    """A data set that Student's t misses, to be judged by the whole rule."""

    place: tuple[int, ...]
    """Where its verdict belongs."""
    values: Numbers
    error: float
    freedom: int
    gate: str
    """Of the measured column."""


def missed(made: Estimates, measured: Numbers, alpha: float, start: int, *place: int) -> list[Missed]:
    """The data sets that Student's t misses; limits are never inside its own, so no others bear a false verdict."""
    return [
        Missed(
            (start + int(row), *place),
            made.columns[row].copy(),
            float(made.errors[row]),
            made.freedom,
            intervals.describe_gate(measured[row], alpha),
        )
        for row in np.flatnonzero(made.student(alpha))
    ]


def verdicts(waiting: list[Missed], alpha: float) -> Iterator[tuple[tuple[int, ...], Verdict]]:
    """Place and verdict on `x > 0` of those that no gate stops."""
    open_ones = [each for each in waiting if not each.gate]
    for start in range(0, len(open_ones), BATCH):
        part = open_ones[start : start + BATCH]
        found = intervals.bootstraps([each.values for each in part], [alpha] * len(part), None, SEED + start)
        for each, resamples in zip(part, found, strict=True):
            if not isinstance(resamples, str):
                interval = replace(resamples, error=each.error, freedom=each.freedom).interval(alpha)
                yield each.place, intervals.decide(Operator.ABOVE, 0.0, interval)


def compared(people: Population, n: int, alpha: float, sets: int) -> tuple[NDArray[np.bool_], Numbers]:
    """False verdicts `[set, column, plain or adjusted, verdict]` and estimates `[set, column, plain or adjusted]`."""
    wrong = np.zeros((sets, len(people.names), 2, len(VERDICTS)), bool)
    means, waiting = np.zeros(wrong.shape[:3]), list[Missed]()
    for start, column, *both in data_sets(people, n, sets):
        for way, made in enumerate(both):
            means[start : start + len(made.means), column, way] = made.means
            waiting += missed(made, both[0].columns, alpha, start, column, way)
    for place, verdict in verdicts(waiting, alpha):
        wrong[place] = [verdict is other for other in VERDICTS]
    return wrong, means


def chosen(people: Population, n: int, alpha: float, sets: int) -> NDArray[np.bool_]:
    """False SUPPORTED `[set, way]` of the column whose effect was largest over n exploration documents.

    Three ways: plain; covariates known on the n confirmation and the n exploration documents; on the n confirmation and
    n fresh documents.
    """
    rng, wrong, waiting = np.random.default_rng([SEED, n, 1]), np.zeros((sets, 3), bool), list[Missed]()
    for start in range(0, sets, AT_ONCE):
        drawn = rng.integers(0, len(people.effects), (min(AT_ONCE, sets - start), 3 * n), dtype=np.int16)
        rows = np.arange(len(drawn))
        picked = people.effects[drawn[:, :n]].mean(1).argmax(1)
        measured = drawn[:, n : 2 * n]
        effects, covariates = (table[measured, picked[:, None]] for table in (people.effects, people.covariates))
        ways = [plain(effects)]
        for known_on in (drawn[:, : 2 * n], drawn[:, n:]):
            known, spread = (table[rows, picked] for table in moments(people, known_on))
            ways.append(adjusted(effects, covariates, known, spread, 2 * n))
        for way, made in enumerate(ways):
            waiting += missed(made, effects, alpha, start, way)
    for place, verdict in verdicts(waiting, alpha):
        wrong[place] = verdict is Verdict.SUPPORTED
    return wrong


def excess(wrong: NDArray[Any], alpha: float) -> list[tuple[float, float]]:
    """Adjusted less plain rate / alpha of each column, and its standard error, from `[set, column, which]`."""
    difference = (wrong[..., 1] * 1.0 - wrong[..., 0]) / alpha
    errors = difference.std(0) / math.sqrt(len(difference))
    return [(float(each), float(error)) for each, error in zip(difference.mean(0), errors, strict=True)]


def explained(people: Population) -> Numbers:
    """R^2 of each column by first-order effect alone, clean loss alone, and both: `[column, 3]`."""
    rows = []
    for column in range(len(people.names)):
        y, x = people.effects[:, column], people.covariates[:, column]
        each = []
        for chosen in ([0], [1], [0, 1]):
            fit, *_ = np.linalg.lstsq(x[:, chosen], y, rcond=None)
            each.append(1 - float(np.var(y - x[:, chosen] @ fit)))
        rows.append(each)
    return np.array(rows)


def main() -> None:
    """Measure, compare, decide; tables go to the standard output as markdown, progress to the error output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", type=int, nargs=2, metavar=("AT_.025", "AT_.00125"), default=(2000, 4000), help="(2000 4000)"
    )
    parser.add_argument("--columns", type=Path, help="columns (.npz); default: measured once into .attnres/")
    arguments = parser.parse_args()
    people = population(arguments.columns)
    share, factors = explained(people), dict[int, Numbers]()
    cells, together = list[tuple[float, float]](), list[tuple[float, float]]()
    columns = len(people.names)
    print(f"{columns} columns of {len(people.effects):,} documents; covariates known on {KNOWN} n.\n")
    header("n", "alpha", "verdict", "plain: attained / nominal", "adjusted", "difference", "worst column's difference")
    for alpha, sets in zip(ALPHAS, arguments.sets, strict=True):
        for n in SIZES:
            wrong, means = compared(people, n, alpha, sets)
            factors[n] = means[:, :, 1].var(0) / means[:, :, 0].var(0)
            for place, verdict in enumerate(VERDICTS):
                own = wrong[..., place]
                each, (pooled,) = excess(own, alpha), excess(own.mean(1, keepdims=True), alpha)
                cells += each
                together.append(pooled)
                rates = own.mean((0, 1)) / alpha
                worst = int(np.argmax([difference for difference, _ in each]))
                line(
                    *(str(n), f"{alpha:g}", verdict.name, *(f"{rate:.2f}" for rate in rates)),
                    f"{pooled[0]:+.2f} ±{pooled[1]:.2f}",
                    f"{each[worst][0]:+.2f} ±{each[worst][1]:.2f} ({people.names[worst]})",
                )
            note(f"{alpha:g} {n}")
    print()
    header("column", "R^2: first order", "clean loss", "both", *(f"variance factor, n = {n}" for n in SIZES))
    for column, name in enumerate(people.names):
        line(f"`{name}`", *(f"{r:.2f}" for r in share[column]), *(f"{factors[n][column]:.2f}" for n in SIZES))
    medians = [float(np.median(factors[n])) for n in SIZES]
    line("median", *(f"{r:.2f}" for r in np.median(share, axis=0)), *(f"{each:.2f}" for each in medians))
    rules = {"1. false verdicts, each": above(cells), "2. false verdicts, together": above(together)}
    rules["3. pays"] = [f"{each:.2f} > {LARGEST_FACTOR}" for each in medians if each > LARGEST_FACTOR]
    print()
    for name, failures in rules.items():
        print(f"{name}: {'holds' if not failures else f'fails {len(failures)} times: ' + '; '.join(failures)}")
    print("decision:", "does not ship" if any(rules.values()) else "ships")
    print(
        f"\nForwards at the width of {SIZES[-1]} plain documents; a forward and backward pass counts as {BACKWARD}:\n"
    )
    costs(medians[-1])
    print(
        "\nFalse SUPPORTED of the column with the largest effect over the exploration documents, attained / nominal:\n"
    )
    header("n", "alpha", "plain", "covariates known on exploration too", "on fresh documents instead")
    for n in SIZES:
        rates = chosen(people, n, ALPHAS[0], arguments.sets[1]) / ALPHAS[0]
        errors = rates.std(0) / math.sqrt(len(rates))
        both = (f"{rate:.2f} ±{error:.2f}" for rate, error in zip(rates.mean(0), errors, strict=True))
        line(str(n), f"{ALPHAS[0]:g}", *both)


def costs(factor: float) -> None:
    """A table of forwards for the same width, by the number of ablations that share the screen."""
    header("ablations", "plain", "adjusted: ablated", "adjusted: screen", "saved")
    documents = math.ceil(factor * SIZES[-1])
    screen = BACKWARD * KNOWN * documents
    for ablations in (1, 2, 10, 26, 50, 100):
        before, after = ablations * SIZES[-1], ablations * documents
        saved = 1 - (after + screen) / before
        line(str(ablations), f"{before:,}", f"{after:,}", f"{screen:,}", f"{saved:.0%}")


def above(differences: list[tuple[float, float]]) -> list[str]:
    """Those that exceed their standard error by the quantile for so many comparisons."""
    z = float(stats.norm.isf(0.05 / len(differences)))
    return [f"{each:+.2f} ±{error:.2f}" for each, error in differences if each > z * error]


if __name__ == "__main__":
    main()
