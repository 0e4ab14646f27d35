"""False verdicts of claims about picked families, with the truth at the margin.

A run draws exploration and confirmation documents, picks families on the former and decides on the latter, by the
library's own choice, negation, questions and decisions. The rule "before" refuted a claim as soon as one statement
about the picked families was refuted at alpha / statements.

Only what Student's limits alone would decide wrongly can be wrong, and is bootstrapped: of such runs at most `JUDGED`
a row, whose share of wrong verdicts stands for all.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.engine.measurements import Measurements
from attnres_core.judging.decisions import Question, combine, judge
from attnres_core.judging.family_selection import by_mass, choose, filled_statement
from attnres_core.judging.judge import Judge
from attnres_core.judging.negation import negation
from attnres_core.judging.outcomes import Outcome
from attnres_core.models.checkpoints.checkpoint import Checkpoint, inspect_checkpoint
from attnres_core.prompts import Split
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Pick, Quantity
from attnres_core.quantities.summaries import least_causal, most_causal, most_massive
from attnres_core.quantities.vocabulary import Band, Family, Sublayer
from attnres_core.registration.registry import Standing
from attnres_core.shapes import Column
from attnres_core.statistics import intervals
from attnres_core.statistics.sequential import ONLY

from .columns import CHECKPOINTS, FAMILIES, effect, measured, weight
from .options import Options
from .rule import SEED
from .tables import header, line, note, scaled, told

Place = tuple[Sublayer, Band]
Asked = tuple[str, Verdict]
Columns = Mapping[Quantity, Column]
Four = tuple[float, float, float, float]

DOCUMENTS = 256  # explored, and as many confirmed
JUDGED = 64  # of a row's runs that can be wrong
RUNS = 16  # that share their resampling
SURE = 0.05  # a rate that is told in percent, too
PLACES: tuple[Place, ...] = tuple(itertools.product((Sublayer.ATTN, Sublayer.MLP), (Band.MID, Band.LATE, Band.ALL)))
SHIPPED: tuple[str, Place] = (CHECKPOINTS[0], (Sublayer.ATTN, Band.ALL))  # the claim whose verdict changed
GAP = 0.0012  # there: the embedding's mass less the current state's
MASS_SD, EFFECT_SD = 0.02, 0.01  # `least_causal`: columns are scaled so that a margin is one standard deviation


@dataclass(frozen=True)
class Cell:
    """A checkpoint's place with its four families, the most massive first, and their columns over all documents."""

    checkpoint: Checkpoint
    place: Place
    families: tuple[Family, ...]
    columns: Columns

    @property
    def masses(self) -> list[Quantity]:
        """Of each family."""
        return [weight(family, *self.place) for family in self.families]

    def effects(self, metric: Metric = Metric.DELTA_NLL) -> list[Quantity]:
        """Of each family."""
        return [effect(family, *self.place, metric=metric) for family in self.families]

    def moved(self, quantities: Sequence[Quantity], means: Sequence[float], scale: float | None = None) -> Columns:
        """Columns with these means: as measured, means in the largest of their standard deviations; or of this scale.

        Args:
            quantities: whose columns.
            means: theirs.
            scale: the standard deviation that each column is given; means are in its unit.
        """
        columns = {quantity: self.columns[quantity] - self.columns[quantity].mean() for quantity in quantities}
        if scale is not None:
            columns = {quantity: column / column.std() for quantity, column in columns.items()}
        unit = scale or max(float(column.std()) for column in columns.values())
        factor = scale or 1.0
        return {q: factor * column + unit * mean for (q, column), mean in zip(columns.items(), means, strict=True)}


def cells(options: Options) -> list[Cell]:
    """Every place of the reference checkpoints that has four families."""
    import attnres_core as ac

    found = []
    for name, columns in measured(options).items():
        checkpoint = inspect_checkpoint(ac.reference(name))
        for place in PLACES:
            masses = {family: float(columns[str(weight(family, *place))].mean()) for family in FAMILIES}
            families = tuple(sorted(masses, key=lambda family: -masses[family]))
            metrics = (Metric.DELTA_NLL, Metric.KL)
            quantities = [effect(family, *place, metric=metric) for family in families for metric in metrics]
            quantities += [weight(family, *place) for family in families]
            found.append(Cell(checkpoint, place, families, {q: columns[str(q)] for q in quantities}))
    return found


def most(place: Place) -> tuple[Statement, ...]:
    """`the most massive of four families is not the most causal one`, as shipped."""
    ranked = [most_massive(*place, rank=rank, of=4) for rank in range(4)]
    first, *others = (weight(pick, *place) for pick in ranked)
    causal, massive = (effect(pick, *place) for pick in (most_causal(*place), ranked[0]))
    pairs = [*((first, other) for other in others), (causal, massive)]
    return tuple(Statement(Linear(((one, 1.0), (other, -1.0))), Operator.ABOVE, 0.0) for one, other in pairs)


def least(place: Place) -> tuple[Statement, ...]:
    """`a family carries appreciable mass and no causal role`, as shipped."""
    pick = least_causal(*place)
    return (
        Statement(Linear(((weight(pick, *place), 1.0),)), Operator.ABOVE, 0.1),
        Statement(Linear(((effect(pick, *place), 1.0),)), Operator.WITHIN, EFFECT_SD),
        Statement(Linear(((effect(pick, *place, metric=Metric.KL), 1.0),)), Operator.BELOW, EFFECT_SD),
    )


@dataclass(frozen=True)
class Truth:
    """What is true in a row of the table."""

    name: str
    statements: Callable[[Place], tuple[Statement, ...]]
    columns: Callable[[Cell], Columns]
    shipped: bool = False
    """Of the shipped claim's cell alone, where the title is true; otherwise of all, where it is just true or false."""


def _shipped(cell: Cell) -> Columns:
    """As measured, but that the current state's mass is GAP less than the embedding's, which leads."""
    current, embedding = (weight(family, *cell.place) for family in (Family.CURRENT, Family.EMBEDDING))
    moved = cell.columns[embedding].mean() - GAP - cell.columns[current].mean()
    return {**cell.columns, current: cell.columns[current] + moved}


def moved_most(masses: Four, effects: Four) -> Callable[[Cell], Columns]:
    return lambda cell: {**cell.moved(cell.masses, masses), **cell.moved(cell.effects(), effects)}


def moved_least(masses: Four, effects: Four, shifts: Four) -> Callable[[Cell], Columns]:
    return lambda cell: {
        **cell.moved(cell.masses, [mass / MASS_SD for mass in masses], MASS_SD),
        **cell.moved(cell.effects(), effects, EFFECT_SD),
        **cell.moved(cell.effects(Metric.KL), shifts, EFFECT_SD),
    }


LED, IDLE = (2.0, 0.0, 0.0, 0.0), (0.0, 5.0, 5.0, 5.0)
LARGE = (0.2, 0.3, 0.3, 0.3)  # mass
TRUTHS = (
    Truth("shipped claim: current's mass .0012 below the embedding's", most, _shipped, shipped=True),
    Truth("two tied in mass; one of them leads in effect", most, moved_most((2, 2, 0, 0), LED)),
    Truth("one leads in mass, tied in effect with another", most, moved_most(LED, (2, 2, 0, 0))),
    Truth("the same; the other two 1/8 sd below in effect", most, moved_most(LED, (0, 0, -0.125, -0.125))),
    Truth("one leads in mass, tied in effect with all", most, moved_most(LED, (0, 0, 0, 0))),
    Truth("one idle, its mass at .10", least, moved_least((0.1, 0.3, 0.3, 0.3), IDLE, IDLE)),
    Truth("one idle, its effect at the margin", least, moved_least(LARGE, (1, 5, 5, 5), IDLE)),
    Truth("one idle, its KL at the margin", least, moved_least(LARGE, IDLE, (1, 5, 5, 5))),
    Truth("one idle, all three at their margins", least, moved_least((0.1, 0.3, 0.3, 0.3), (1, 5, 5, 5), (1, 5, 5, 5))),
    Truth("its effect at the margin; another has none, but KL", least, moved_least(LARGE, (1, 0, 5, 5), IDLE)),
)


class _Exact:
    """Measurements without an arithmetic error."""

    material = SimpleNamespace(dtype="float32")

    def noise_floor(self, form: Linear, alpha: float) -> float:
        return 0.0


JUDGE = Judge(cast(Measurements, _Exact()), "", sequential=False, whole=True)


@dataclass(frozen=True, eq=False)
class Chosen:
    """A claim whose picks came out as certain families."""

    outcome: Outcome
    now: tuple[Question, ...]
    """What the rule asks."""
    before: tuple[Question, ...]
    """What the former rule asked: the claim's own statements, each of which refuted it at alpha / statements."""

    def questions(self, rule: str) -> tuple[Question, ...]:
        """Those of a rule."""
        return self.now if rule == "now" else self.before

    def verdict(self, rule: str, decisions: Sequence[Decision]) -> Verdict:
        """The claim's by a rule."""
        return self.outcome.decided(tuple(decisions), None).verdict if rule == "now" else combine(decisions)


def chosen(
    statements: tuple[Statement, ...], families: Mapping[Pick, Family], ranked: tuple[Family, ...], alpha: float
) -> Chosen:
    """The claim of these statements, its picks filled in; families ranked by their mass on the exploration split."""
    claim = Claim("", "", "", None, (), statements)
    made = negation(statements, families, dict.fromkeys(families, ranked))
    standing = Standing(Split.CONFIRMATION, alpha, "registered")
    outcome = Outcome(claim, standing, Verdict.INCONCLUSIVE, chosen=families, negations=(made,))
    own = [filled_statement(statement, families) for statement in statements]
    before = tuple(Question(statement, alpha, len(own)) for statement in own)
    return Chosen(outcome, tuple(JUDGE.questions(outcome, ONLY)), before)


@dataclass(frozen=True)
class Suspect:
    """A run that Student's limits alone decide in a certain way."""

    claim: Chosen
    columns: Columns
    """On its confirmation documents."""
    by_student: Sequence[Decision]

    def open(self, rule: str) -> list[tuple[Decision, Question]]:
        """What Student's limits decide."""
        every = zip(self.by_student, self.claim.questions(rule), strict=True)
        return [(decision, question) for decision, question in every if decision.verdict is not Verdict.INCONCLUSIVE]


ASKED = (("before", Verdict.REFUTED), ("now", Verdict.REFUTED), ("now", Verdict.SUPPORTED))


def simulated(
    truth: Truth, cell: Cell, sets: int, alpha: float, rng: np.random.Generator
) -> dict[Asked, list[Suspect]]:
    """Suspects of every rule and verdict among so many runs."""
    columns, statements = truth.columns(cell), truth.statements(cell.place)
    picks = tuple(dict.fromkeys(pick for s in statements for quantity, _ in s.form.terms for pick in quantity.picks))
    table, place_of = np.stack(list(columns.values()), axis=1), {q: at for at, q in enumerate(columns)}
    make = functools.cache(
        lambda families, ranked: chosen(statements, dict(zip(picks, families, strict=True)), ranked, alpha)
    )
    found: dict[Asked, list[Suspect]] = {asked: [] for asked in ASKED}
    for start in range(0, sets, 1000):
        size = min(1000, sets - start)
        explored, confirmed = (rng.integers(0, len(table), (size, DOCUMENTS)) for _ in range(2))
        groups: dict[Chosen, list[int]] = {}
        for run, means in enumerate(_shares(explored, len(table)) @ table):
            mean_of = lambda quantity, means=means: float(means[place_of[quantity]])  # noqa: E731
            families = tuple(choose(pick, cell.checkpoint, mean_of) for pick in picks)
            groups.setdefault(make(families, tuple(by_mass(picks[0], cell.checkpoint, mean_of))), []).append(run)
        shares = _shares(confirmed, len(table))
        for claim, runs in groups.items():
            for rule, verdict in ASKED:
                every = zip(*(_by_student(q, columns, shares[runs]) for q in claim.questions(rule)), strict=True)
                for run, decisions in zip(runs, every, strict=True):
                    if claim.verdict(rule, decisions) is verdict:
                        sample = {q: column[confirmed[run]] for q, column in columns.items()}
                        found[rule, verdict].append(Suspect(claim, sample, decisions))
    return found


def _shares(drawn: NDArray[np.int64], documents: int) -> NDArray[np.float64]:
    """How often each document is drawn, as a share, `[run, document]`."""
    return np.asarray([np.bincount(row, minlength=documents) / drawn.shape[1] for row in drawn])


def _by_student(question: Question, columns: Columns, shares: NDArray[np.float64]) -> Iterator[Decision]:
    """What Student's limits alone would decide in each run."""
    column, n = question.statement.form.of(columns), DOCUMENTS
    means = shares @ column
    errors = np.sqrt(np.maximum(shares @ column**2 - means**2, 0) / (n - 1))
    levels = (question.supporting, question.alpha / question.refuters)
    widths = [float(special.stdtrit(n - 1, 1 - level)) * (1 - 1e-9) for level in levels]
    for mean, error in zip(means, errors, strict=True):
        wide, strict = (
            Interval(mean, mean - width * error, mean + width * error, n, level)
            for width, level in zip(widths, levels, strict=True)
        )
        statement = question.statement
        yield Decision(statement, intervals.decide(statement.operator, statement.threshold, wide, strict), wide)


def judged(suspects: Sequence[Suspect], rule: str, seed: int) -> list[Verdict]:
    """Their verdicts by the library's own limits and gates; runs of a batch share their resampling.

    What Student's limits leave INCONCLUSIVE is so by the rule's, and is not bootstrapped.
    """
    found = list[Verdict]()
    for start in range(0, len(suspects), RUNS):
        part = list(enumerate(suspects[start : start + RUNS]))
        asked = [_of_run(d, q, run) for run, s in part for d, q in s.open(rule)]
        columns = {(run, q): column for run, suspect in part for q, column in suspect.columns.items()}
        decided = judge(asked, columns, seed=seed + start)
        for run, suspect in part:
            own = {d.statement: decided[_of_run(d, q, run)] for d, q in suspect.open(rule)}
            decisions = [
                replace(own[d.statement], statement=d.statement) if d.statement in own else d
                for d in suspect.by_student
            ]
            found.append(suspect.claim.verdict(rule, decisions))
    return found


def _of_run(decision: Decision, question: Question, run: int) -> Question:
    """The same question about the columns of a run."""
    form = decision.statement.form
    terms = tuple(((run, quantity), coefficient) for quantity, coefficient in form.terms)
    return replace(question, statement=replace(decision.statement, form=Linear(terms, form.constant)))


def rates(
    truth: Truth, people: Sequence[Cell], sets: int, alpha: float, seed: int = SEED
) -> dict[Asked, tuple[float, float]]:
    """The rate of each rule's verdict over so many runs spread over the cells, with its standard error."""
    rng = np.random.default_rng([seed, len(truth.name)])
    own = [c for c in people if not truth.shipped or (c.checkpoint.name, c.place) == SHIPPED]
    found: dict[Asked, list[Suspect]] = {asked: [] for asked in ASKED}
    total = 0
    for place, cell in enumerate(own):
        count = sets * (place + 1) // len(own) - sets * place // len(own)
        total += count
        for asked, suspects in simulated(truth, cell, count, alpha, rng).items():
            found[asked] += suspects
    result = {}
    for (rule, verdict), suspects in found.items():
        some = [suspects[at] for at in rng.permutation(len(suspects))[:JUDGED]]
        wrong = [found is verdict for found in judged(some, rule, seed)]
        result[rule, verdict] = scaled(len(suspects), wrong, total)
    return result


def picks(options: Options) -> None:
    """Rates of false verdicts by the former rule and by the rule, attained / nominal."""
    people, sets = cells(options), options.picks_sets
    print(f"{sets:,} runs a row; {DOCUMENTS} documents explored, as many confirmed; over {len(people)} cells of four")
    print("families, in the first row that of the shipped claim. The truth is at the margin: the title is just true")
    print("(then REFUTED is wrong), or just false (then SUPPORTED is).")
    header(["truth", "alpha_i", "wrong REFUTED, before", "wrong REFUTED, now", "wrong SUPPORTED"])
    for truth in TRUTHS:
        alpha = options.shipped_alpha if truth.shipped else options.alphas[1]
        found = rates(truth, people, sets, alpha)
        texts = [_told(*found[asked], alpha) for asked in ASKED]
        line(truth.name, f"{alpha:.5f}", *texts[:2], "-" if truth.shipped else texts[2])
        note(f"picks: {truth.name}")


def _told(rate: float, error: float, alpha: float) -> str:
    return f"**{rate / alpha:.0f} ({rate:.0%})**" if rate > SURE else told(rate, error, alpha)
