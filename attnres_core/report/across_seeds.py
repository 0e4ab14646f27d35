"""Claims about a training recipe, from the records of one run for each of its checkpoints.

A suite's verdict is about one checkpoint. Here checkpoints are the units: the same recipe trained from several seeds,
every one measured over the same documents. Limits are Student's t over the checkpoints' estimates. Since the documents
are the same for all of them, their error does not show in how the checkpoints differ, so it is added: the squared
standard error is s^2 / K, between checkpoints, plus the mean of their own squared standard errors over documents, which
bounds it whatever the correlation. Each claim has the share of alpha that it is registered with.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from attnres_core.claims.claim import claim_key
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import agreed, combine, deciding
from attnres_core.quantities.vocabulary import Role
from attnres_core.records.reading import escaped, read_record
from attnres_core.records.schema import ClaimEntry, OperatorSign, Record, StatementEntry, VerdictWord
from attnres_core.report.distinct_seeds import check_alike, check_estimates, check_weights
from attnres_core.report.numbers import interval, number, threshold
from attnres_core.statistics.intervals import decide
from attnres_core.statistics.power import unseen_share

MIN_CHECKPOINTS = 5
"""Fewer seeds than this say too little of how checkpoints differ."""
SAME = 1e-6
"""Estimates of a record, which have seven digits, that differ by less than this share of their size are the same."""
NO_NEGATION = "a statement fails, but its families were picked: records do not hold what would refute its title"
"""Why a claim with picks is not refuted over seeds."""
FIXED = frozenset(role.value for role in Role if role is not Role.TRAINED)
"""The roles of models that no seed of the trained one changes."""
_ROLE = re.compile(rf" on ({'|'.join(Role)}|step-\d+)\b")


@dataclass(frozen=True, slots=True)
class Across:
    """One statement over the checkpoints."""

    text: str
    unit: str
    op: OperatorSign
    threshold: float
    estimates: tuple[float | None, ...]
    """Each checkpoint's, in the order of the records; None where a gate forbids it."""
    errors: tuple[float, ...]
    """Each estimate's standard error over documents; 0 where it is exact."""
    noise: float = 0.0
    """The largest noise floor and bias of any: common to all, so that both limits are moved out by it."""
    has_low: bool = True
    """Whether every checkpoint has a lower limit; where a long tail took one's, there is none over them either."""
    has_high: bool = True

    @property
    def error(self) -> float:
        """The standard error of their mean, these documents' part included; all must have an estimate."""
        between = np.var(np.array(self.estimates, dtype=float), ddof=1) / len(self.estimates)
        return math.sqrt(float(between) + float(np.mean(np.square(self.errors))))

    def interval(self, alpha: float) -> Interval:
        """The mean over checkpoints with one-sided limits at `alpha` each."""
        found = [estimate for estimate in self.estimates if estimate is not None]
        count = len(self.estimates)
        if len(found) < count:
            missing = f"{count - len(found)} of {count} checkpoints have no estimate"
            return Interval(math.nan, -math.inf, math.inf, count, alpha, gate=missing)
        mean = float(np.mean(found))
        if np.ptp(found) <= SAME * np.max(np.abs(found)):
            same = "the checkpoints' estimates are all the same: it says nothing of how they differ"
            return Interval(mean, mean, mean, count, alpha, gate=same)
        error = self.error
        half = float(special.stdtrit(count - 1, 1 - alpha)) * error + self.noise
        low = mean - half if self.has_low else -math.inf
        high = mean + half if self.has_high else math.inf
        return Interval(mean, low, high, count, alpha, error * math.sqrt(count), noise=self.noise)


@dataclass(frozen=True, slots=True)
class RecipeClaim:
    """A claim's verdict about the recipe, beside its verdicts about each checkpoint."""

    key: str
    title: str
    registration: str | None
    """`registered` or `post hoc`; None where the first checkpoint has an ERROR."""
    registrations: tuple[str | None, ...]
    """Likewise on each checkpoint, in the order of the records."""
    alpha: float
    """Its registered one-sided share."""
    verdict: Verdict
    reason: str
    each: tuple[VerdictWord, ...]
    """The verdict on each checkpoint, in the order of the records."""
    statements: tuple[tuple[Across, Interval, Verdict], ...]
    deciding: int | None = None
    """Which of them is shown for it."""
    picked: bool = False
    """Whether the data chose its families: then records do not hold what would refute it (see `judging.negation`)."""
    kinds: int = 1
    """Under how many kinds of ablation it is decided; its statements are the same for each, in their order."""
    stated: tuple[tuple[str, ...], ...] = ()
    """What it states on each checkpoint, whether or not it applies to all."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Claims decided with checkpoints as units."""

    checkpoints: tuple[tuple[str, str, str], ...]
    """Each one's label, which its record's file gives, its name and its weights' digest."""
    documents: int
    claims: tuple[RecipeClaim, ...]
    registered: int = 0
    """How many claims the lock holds, controls included."""
    unchecked: tuple[str, ...] = ()
    """Labels of those whose records hold no sketch of weights: nothing shows that they are seeds of their own."""


def decide_recipe(files: Sequence[Path], only: str = "") -> Recipe:
    """Decide the registered claims that every record holds, about the recipe.

    Args:
        files: the JSON record of a run for each checkpoint: seeds of one recipe, not steps of one run or copies.
        only: show claims with this in their key or title alone; it changes no verdict.

    Raises:
        ValueError: too few records, or they are not of one suite over checkpoints of one shape; says which.
    """
    records = [read_record(file) for file in files]
    if len(records) < MIN_CHECKPOINTS:
        found = f"{len(records)} record{'s' if len(records) != 1 else ''}"
        needed = f"a claim about a recipe needs {MIN_CHECKPOINTS} or more"
        raise ValueError(f"{found}; {needed}: run the claims on more seeds")
    return _decided(records, _labels(files), only)


def _labels(files: Sequence[Path]) -> list[str]:
    """Return what the records are called: their files' names, or paths where names would not tell them apart."""
    names = [file.stem for file in files]
    return names if len(set(names)) == len(names) else list(map(str, files))


def _decided(records: Sequence[Record], names: Sequence[str], only: str) -> Recipe:
    check_alike(records, names)
    unchecked = check_weights(records, names)
    each = [_claims_of(record, name) for record, name in zip(records, names, strict=True)]
    keys = [key for key in each[0] if all(key in own for own in each)]
    check_estimates([[value for key in keys for value in _moving(own[key])] for own in each], names)
    shown = [key for key in keys if only.lower() in f"{key} {each[0][key]['title']}".lower()]
    if not shown:
        wanted = f" with {only!r} in their names" if only else ""
        found = f"the records share no registered claims about the trained model{wanted}"
        raise ValueError(f"{found}; run the same registered claims on every checkpoint")
    claims = tuple(_claim(key, [own[key] for own in each], names) for key in shown)
    models = [record["models"]["trained"] for record in records]
    documents = records[0]["settings"]["prompts"]["confirmation"]
    units = zip(names, models, strict=True)
    checkpoints = tuple((label, model["name"], model["weights_digest"]) for label, model in units)
    registered = records[0]["settings"]["registrations"]["claims"]
    return Recipe(checkpoints, documents, claims, registered, tuple(unchecked))


def _claims_of(record: Record, name: str) -> dict[str, ClaimEntry]:
    """A record's registered claims about what differs between seeds, by key."""
    found: dict[str, ClaimEntry] = {}
    for claim in record["claims"]:
        key = claim_key(claim["node_id"])
        if key in found:
            raise ValueError(f"{name} holds {key} twice, from two folders; give a record of one folder of claims")
        moving = not claim["quantities"] or any(_roles(text) - FIXED for text in claim["quantities"])
        decided = claim["registration"] in ("registered", "post hoc") and claim["split"] == "confirmation"
        if moving and not claim["control"] and (decided or claim["verdict"] == "ERROR"):
            found[key] = claim
    return found


def is_fixed(text: str) -> bool:
    """Return whether a statement is about models alone that no seed changes."""
    return bool(_roles(text)) and _roles(text) <= FIXED


def _roles(text: str) -> frozenset[str]:
    return frozenset(_ROLE.findall(text))


def _moving(entry: ClaimEntry) -> list[float | None]:
    """A claim's estimates of what differs between seeds."""
    return [_estimate(statement) for statement in entry["statements"] if _roles(statement["text"]) - FIXED]


def _claim(key: str, entries: Sequence[ClaimEntry], names: Sequence[str]) -> RecipeClaim:
    first, each = entries[0], tuple(entry["verdict"] for entry in entries)
    alpha = math.nan if first["alpha"] is None else first["alpha"]  # (an ERROR has none)
    registrations = tuple(entry["registration"] for entry in entries)
    about = (key, first["title"], first["registration"], registrations, alpha)
    texts = tuple(tuple(statement["text"] for statement in entry["statements"]) for entry in entries)
    for stop, verdict in (("ERROR", Verdict.INCONCLUSIVE), (Verdict.NOT_APPLICABLE.value, Verdict.NOT_APPLICABLE)):
        if stop in each:
            where = [name for name, own in zip(names, each, strict=True) if own == stop]
            told = "every checkpoint" if len(where) == len(each) else ", ".join(where)
            error = "" if stop == verdict.value else f"{stop} "
            return RecipeClaim(*about, verdict, f"{error}on {told}", each, (), stated=texts)
    stated = [(entry["statement"], [under["kind"] for under in entry["under"]], entry["alpha"]) for entry in entries]
    forms = [[(s["op"], s["threshold"], s["unit"]) for s in entry["statements"]] for entry in entries]
    if any(form != forms[0] for form in forms) or any(one != stated[0] for one in stated) or not forms[0]:
        raise ValueError(f"{key} does not state the same in every record; run the same claims on every checkpoint")
    kinds, refuters = stated[0][1] or [""], sum(Operator(op).limits for op, _, _ in forms[0])
    found = [
        _statement([entry["statements"][place] for entry in entries], alpha, refuters) for place in range(len(forms[0]))
    ]
    decisions = [
        Decision(Statement(Linear(((across.text, 1.0),)), Operator(across.op), across.threshold), verdict, limits)
        for across, limits, verdict in found
    ]
    size = len(decisions) // len(kinds)
    groups = [decisions[i : i + size] for i in range(0, len(decisions), size)]
    picked = any(entry["chosen"] for entry in entries)
    verdict, reason = agreed(groups, kinds, _verdicts(groups, picked))
    if picked and any(combine(group) is Verdict.REFUTED for group in groups):
        reason = "; ".join(filter(None, [reason, NO_NEGATION]))
    gates = [(kinds[place // size], limits.gate) for place, (_, limits, _) in enumerate(found) if limits.gate]
    reasons = [reason, *(f"{kind}: {gate}" if kind else gate for kind, gate in gates)]
    reason = "; ".join(filter(None, dict.fromkeys(reasons)))
    shown = deciding(groups, verdict)
    return RecipeClaim(*about, verdict, reason, each, tuple(found), shown, picked, len(kinds), texts)


def _verdicts(groups: Sequence[Sequence[Decision]], picked: bool) -> list[Verdict]:
    """A claim's verdict under each kind of ablation; one whose families were picked is never refuted."""
    found = [combine(group) for group in groups]
    return [Verdict.INCONCLUSIVE if picked and verdict is Verdict.REFUTED else verdict for verdict in found]


def _statement(own: Sequence[StatementEntry], alpha: float, refuters: int) -> tuple[Across, Interval, Verdict]:
    """One statement over the checkpoints; one about models that no seed changes keeps its own limits and verdict."""
    first = own[0]
    across = Across(
        text=first["text"] if len({s["text"] for s in own}) == 1 else "of families that differ by checkpoint",
        unit=first["unit"],
        op=first["op"],
        threshold=first["threshold"],
        estimates=tuple(map(_estimate, own)),
        errors=tuple(0.0 if s["exact"] else s["standard_error"] or math.inf for s in own),
        noise=max(s["noise_floor"] or 0.0 for s in own),
        has_low=all(s["low"] is not None for s in own),
        has_high=all(s["high"] is not None for s in own),
    )
    if is_fixed(first["text"]):
        low, high = (
            (-math.inf if first["low"] is None else first["low"]),
            (math.inf if first["high"] is None else first["high"]),
        )
        error = math.nan if first["exact"] else first["standard_error"] or math.nan
        mean = math.nan if first["estimate"] is None else first["estimate"]
        limits = Interval(mean, low, high, first["n"], alpha, error * math.sqrt(first["n"]), first["exact"])
        return across, limits, Verdict(first["verdict"])
    wide, strict = across.interval(alpha), across.interval(alpha / refuters)
    verdict = decide(Operator(across.op), across.threshold, wide, strict)
    return across, strict if verdict is Verdict.REFUTED else wide, verdict


def _estimate(statement: StatementEntry) -> float | None:
    """A statement's estimate on one checkpoint; None where no limit stands, since a gate forbids both."""
    free = statement["low"] is not None or statement["high"] is not None
    return statement["estimate"] if free else None


def as_json(recipe: Recipe) -> dict[str, Any]:
    """All of it, for a machine; infinite limits are None."""
    claims = [
        {
            **{name: getattr(claim, name) for name in ("key", "title", "registration", "reason")},
            "alpha": claim.alpha if math.isfinite(claim.alpha) else None,
            "verdict": claim.verdict.value,
            "each": list(claim.each),
            "deciding": claim.deciding,
            "picked": claim.picked,
            "kinds": claim.kinds,
            "statements": [
                dataclasses.asdict(across)
                | {"errors": [error if math.isfinite(error) else None for error in across.errors]}
                | {
                    "gate": limits.gate,
                    "mean": _finite(limits.mean),
                    "low": _finite(limits.low),
                    "high": _finite(limits.high),
                }
                | {"verdict": verdict.value}
                for across, limits, verdict in claim.statements
            ],
        }
        for claim in recipe.claims
    ]
    checkpoints = [dict(zip(("label", "name", "weights_digest"), unit, strict=True)) for unit in recipe.checkpoints]
    about = {"checkpoints": checkpoints, "unchecked": list(recipe.unchecked), "documents": recipe.documents}
    return {**about, "claims": claims}


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


def as_markdown(recipe: Recipe) -> str:
    """Return what was decided on, and a table of the claims, for a reader."""
    return "\n".join([*introduction(recipe), "", *table(recipe.claims)]) + "\n"


def introduction(recipe: Recipe) -> list[str]:
    """Return the sentences on the checkpoints, their documents, and what the limits hold."""
    count = len(recipe.checkpoints)
    names = ", ".join(
        f"{escaped(label)} ({escaped(name)} {escaped(digest[:12])})" for label, name, digest in recipe.checkpoints
    )
    alpha = min((claim.alpha for claim in recipe.claims if math.isfinite(claim.alpha)), default=math.nan)
    return [
        f"{count} checkpoints of one recipe are the units, in this order: {names}.",
        f"Each was measured over the same {recipe.documents} prompts, or those that a claim names.",
        f"{len(recipe.claims)} of {recipe.registered} registered claims are here: those about the trained model that "
        "all records hold, controls left out.",
        *_unchecked(recipe),
        "",
        f"Limits: Student's t, {count - 1} degrees of freedom, at each claim's registered share of alpha, {alpha:.2g};",
        "the standard error holds how checkpoints differ and, since they share the documents, these documents' error.",
        f"What {unseen_share(alpha, count):.0%} of seeds have, all {count} may have missed: no limit knows of it.",
    ]


def _unchecked(recipe: Recipe) -> list[str]:
    """A line that names the checkpoints whose weights were not compared; none: all were."""
    named = ", ".join(map(escaped, recipe.unchecked))
    return [f"Whether they are separate trainings was not checked by weights for {named}."] if named else []


def table(claims: Sequence[RecipeClaim]) -> list[str]:
    """A row a claim, each with the numbers of the statement that decides it."""
    head = ["| claim | recipe | mean [limits] | each checkpoint's estimate |", "|---|---|---|---|"]
    return [*head, *map(_row, claims)]


def _row(claim: RecipeClaim) -> str:
    each = ", ".join(f"{verdict} {claim.each.count(verdict)}" for verdict in dict.fromkeys(claim.each))
    title = escaped(claim.title) + (" (post hoc)" if claim.registration == "post hoc" else "")
    told = ": ".join(filter(None, [f"**{claim.verdict}**", escaped(claim.reason)]))
    if claim.deciding is None:
        return f"| {title} | {told} | | {escaped(each)} |"
    across, limits, _ = claim.statements[claim.deciding]
    ends = interval((_finite(limits.low), _finite(limits.high)), across.unit)
    against = escaped(threshold(across.op, across.threshold))
    single = ", ".join(number(estimate, across.unit) for estimate in across.estimates)
    numbers = f"{number(_finite(limits.mean), across.unit)} {ends} {against}"
    return f"| {title} | {told} | {numbers} | {single}<br>{escaped(each)} |"
