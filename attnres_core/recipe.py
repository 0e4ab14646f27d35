"""Claims about a training recipe, from the records of one run for each of its checkpoints.

A suite's verdict is about one checkpoint. Here checkpoints are the units: the same recipe trained from several seeds,
every one measured over the same documents. Limits are Student's t over the checkpoints' estimates. Because
the documents are the same for all of them, their error does not show in how the checkpoints differ, so it is added: the
squared standard error is s^2 / K, between checkpoints, plus the mean of their own squared standard errors over
documents, which bounds it whatever the correlation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from attnres_core.card import escaped
from attnres_core.claims import claim_key
from attnres_core.comparing import Record, read_record
from attnres_core.estimates import Decision, Linear, Statement
from attnres_core.judging import agreed
from attnres_core.report.text import interval, number, threshold
from attnres_core.statistics import Interval, Operator, Verdict, decide

MIN_CHECKPOINTS = 5
"""Fewer seeds than this say too little of how checkpoints differ."""
_SHAPE = ("dialect", "num_layers", "num_blocks", "parameters")


@dataclass(frozen=True, slots=True)
class Across:
    """One statement over the checkpoints."""

    text: str
    unit: str
    op: str
    threshold: float
    estimates: tuple[float | None, ...]
    """Each checkpoint's, in the order of the records; None where a gate forbids it."""
    errors: tuple[float, ...]
    """Each estimate's standard error over documents; 0 where it is exact."""

    def interval(self, alpha: float) -> Interval:
        """The mean over checkpoints with one-sided limits at `alpha` each."""
        found = [estimate for estimate in self.estimates if estimate is not None]
        count = len(self.estimates)
        mean = float(np.mean(found)) if found else math.nan
        if len(found) < count:
            missing = f"{count - len(found)} of {count} checkpoints have no estimate"
            return Interval(mean, -math.inf, math.inf, count, alpha, gate=missing)
        between = float(np.var(found, ddof=1))
        if between == 0:
            same = "the checkpoints' estimates are all the same: it says nothing of how they differ"
            return Interval(mean, mean, mean, count, alpha, gate=same)
        error = math.sqrt(between / count + float(np.mean(np.square(self.errors))))
        half = float(special.stdtrit(count - 1, 1 - alpha)) * error
        return Interval(mean, mean - half, mean + half, count, alpha, error * math.sqrt(count))


@dataclass(frozen=True, slots=True)
class RecipeClaim:
    """A claim's verdict about the recipe, beside its verdicts about each checkpoint."""

    key: str
    title: str
    verdict: Verdict
    reason: str
    each: tuple[str, ...]
    """The verdict on each checkpoint, in the order of the records."""
    statements: tuple[tuple[Across, Interval, Verdict], ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Claims decided with checkpoints as units."""

    checkpoints: tuple[tuple[str, str], ...]
    """Each one's name and weights digest."""
    documents: int
    alpha: float
    """The one-sided share of each claim."""
    claims: tuple[RecipeClaim, ...]


def decide_recipe(files: Sequence[Path], only: str = "", alpha: float = 0.05) -> Recipe:
    """Decide the claims that every record holds, about the recipe.

    Args:
        files: the JSON record of a run for each checkpoint.
        only: claims with this in their key or title alone; empty: all that speak of the trained model.
        alpha: bounds the probability of any wrong verdict; the claims share it equally.

    Raises:
        ValueError: too few records, or they are not of one suite over checkpoints of one shape; says which.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"`alpha` is {alpha:g}; give a number between 0 and 0.5, such as 0.05")
    records = [read_record(file) for file in files]
    if len(records) < MIN_CHECKPOINTS:
        found = f"{len(records)} record{'s' if len(records) != 1 else ''}"
        raise ValueError(
            f"{found}; a claim about a recipe needs {MIN_CHECKPOINTS} or more: run the claims on more seeds"
        )
    try:
        return _decided(records, list(map(str, files)), only, alpha)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"a record is malformed, or another version's ({type(error).__name__}: {error})"
        raise ValueError(f"{problem}; run the claims again to write it anew") from None


def _decided(records: Sequence[Record], names: Sequence[str], only: str, alpha: float) -> Recipe:
    _check_alike(records, names)
    each = [{claim_key(c["node_id"]): c for c in record["claims"] if not c["control"]} for record in records]
    keys = [key for key in each[0] if all(key in own for own in each) and _of_trained(each[0][key], records[0])]
    keys = [key for key in keys if only.lower() in f"{key} {each[0][key]['title']}".lower()]
    if not keys:
        wanted = f" with {only!r} in their names" if only else ""
        raise ValueError(
            f"the records share no claims about the trained model{wanted}; run the same claims on every one"
        )
    share = alpha / len(keys)
    claims = tuple(_claim(key, [own[key] for own in each], names, share) for key in keys)
    models = [record["models"]["trained"] for record in records]
    documents = int(records[0]["settings"]["prompts"]["confirmation"])
    return Recipe(tuple((m["name"], m["weights_digest"]) for m in models), documents, share, claims)


def _check_alike(records: Sequence[Record], names: Sequence[str]) -> None:
    """Refuse records that one interval cannot hold."""
    seen: dict[str, str] = {}
    for record, name in zip(records, names, strict=True):
        digest = record["models"]["trained"]["weights_digest"]
        if digest in seen:
            raise ValueError(f"{seen[digest]} and {name} are of the same weights; give one record for each seed")
        seen[digest] = name
        if not record["complete"] or record["settings"]["sequential"] or record["settings"]["quick"]:
            raise ValueError(f"{name} is of an incomplete, quick or sequential run; run all claims on all documents")
        for what, read in _ALIKE.items():
            if read(record) != read(records[0]):
                raise ValueError(f"{name} has another {what} than {names[0]}: {read(record)}, {read(records[0])}")


_ALIKE = {
    "shape": lambda record: {field: record["models"]["trained"][field] for field in _SHAPE},
    "prompt set": lambda record: {field: record["settings"]["prompts"][field] for field in ("digest", "window")},
    "dtype": lambda record: record["settings"]["dtype"],
}


def _of_trained(claim: Mapping[str, Any], record: Record) -> bool:
    """Whether a claim speaks of what differs between seeds: the trained model, or a step of its run."""
    fixed = tuple(f" on {role}" for role in record["models"] if role in ("wrapped", "stock", "untrained"))
    return not claim["quantities"] or any(not name.split(" [")[0].endswith(fixed) for name in claim["quantities"])


def _claim(key: str, entries: Sequence[Mapping[str, Any]], names: Sequence[str], alpha: float) -> RecipeClaim:
    each = tuple(str(entry["verdict"]) for entry in entries)
    for name, verdict in zip(names, each, strict=True):
        if verdict in (Verdict.NOT_APPLICABLE.value, "ERROR"):
            told = f"{verdict} on {name}"
            verdict = Verdict.NOT_APPLICABLE if verdict != "ERROR" else Verdict.INCONCLUSIVE
            return RecipeClaim(key, str(entries[0]["title"]), Verdict(verdict), told, each, ())
    kinds = [under["kind"] for under in entries[0]["under"]] or [""]
    forms = [[(s["op"], s["threshold"], s["unit"]) for s in entry["statements"]] for entry in entries]
    if any(form != forms[0] for form in forms):
        raise ValueError(f"{key} does not state the same in every record; run the same claims on every checkpoint")
    refuters = len(forms[0]) // len(kinds)
    found = []
    for place, (op, limit, unit) in enumerate(forms[0]):
        own = [entry["statements"][place] for entry in entries]
        errors = tuple(0.0 if s["exact"] else float(s["standard_error"] or math.inf) for s in own)
        across = Across(own[0]["text"], unit, op, limit, tuple(map(_estimate, own)), errors)
        wide, strict = across.interval(alpha), across.interval(alpha / refuters)
        verdict = decide(Operator(op), limit, wide, strict)
        found.append((across, strict if verdict is Verdict.REFUTED else wide, verdict))
    decisions = [
        Decision(Statement(Linear(((across.text, 1.0),)), Operator(across.op), across.threshold), verdict, limits)
        for across, limits, verdict in found
    ]
    verdict, reason = agreed([decisions[i : i + refuters] for i in range(0, len(decisions), refuters)], kinds)
    reasons = [reason, *(limits.gate for _, limits, _ in found)]
    return RecipeClaim(key, str(entries[0]["title"]), verdict, "; ".join(filter(None, reasons)), each, tuple(found))


def _estimate(statement: Mapping[str, Any]) -> float | None:
    """A statement's estimate on one checkpoint; None where no limit stands, since a gate forbids both."""
    free = statement["low"] is not None or statement["high"] is not None
    return float(statement["estimate"]) if free and statement["estimate"] is not None else None


def as_json(recipe: Recipe) -> dict[str, Any]:
    """All of it, for a machine."""
    claims = [
        {
            "key": claim.key,
            "title": claim.title,
            "verdict": claim.verdict.value,
            "reason": claim.reason,
            "each": list(claim.each),
            "statements": [
                dataclasses.asdict(across)
                | {"mean": limits.mean, "low": limits.low, "high": limits.high, "verdict": verdict.value}
                for across, limits, verdict in claim.statements
            ],
        }
        for claim in recipe.claims
    ]
    checkpoints = [{"name": name, "weights_digest": digest} for name, digest in recipe.checkpoints]
    return {"checkpoints": checkpoints, "documents": recipe.documents, "alpha": recipe.alpha, "claims": claims}


def as_markdown(recipe: Recipe) -> str:
    """A table of the claims, each with its first statement's numbers, for a reader."""
    count = len(recipe.checkpoints)
    names = ", ".join(f"{escaped(name)} (`{digest[:12]}`)" for name, digest in recipe.checkpoints)
    lines = [
        f"{count} checkpoints of one recipe are the units: {names}.",
        f"Each was measured over the same {recipe.documents} documents.",
        "",
        f"Each claim has a one-sided share of {recipe.alpha:.2g}. Limits: Student's t, {count - 1} degrees of freedom;",
        "the standard error holds how checkpoints differ and, since they share the documents, these documents' error.",
        "",
        "| claim | recipe | mean [limits] | each checkpoint's estimate |",
        "|---|---|---|---|",
    ]
    for claim in recipe.claims:
        each = ", ".join(f"{verdict} {claim.each.count(verdict)}" for verdict in dict.fromkeys(claim.each))
        if not claim.statements:
            lines.append(f"| {escaped(claim.title)} | {claim.verdict}: {escaped(claim.reason)} | | {each} |")
            continue
        told = [f"**{claim.verdict}**", escaped(claim.reason)]
        shown = claim.statements if len(claim.statements) == 1 else _leading(claim)
        numbers, single = [], []
        for across, limits, _ in shown:
            low, high = (end if math.isfinite(end) else None for end in (limits.low, limits.high))
            size = f"{number(limits.mean, across.unit)} {interval((low, high), across.unit)}"
            numbers.append(f"{size} {escaped(threshold({'op': across.op, 'threshold': across.threshold}))}")
            single.append(", ".join(number(estimate, across.unit) for estimate in across.estimates))
        row = [escaped(claim.title), ": ".join(filter(None, told)), "<br>".join(numbers), "<br>".join([*single, each])]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _leading(claim: RecipeClaim) -> list[tuple[Across, Interval, Verdict]]:
    """The first statement that came to the claim's verdict, or the first of all."""
    return [next((one for one in claim.statements if one[2] is claim.verdict), claim.statements[0])]
