"""One claim's entry in a run's record: what was decided, on what, and what it looks like, as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from attnres_core.claims.estimands import estimands
from attnres_core.claims.statements import Decision, Linear, Operator, Statement, Verdict
from attnres_core.engine.measurements import Measurements
from attnres_core.exploration.kept_searches import Speaking, speaking_to
from attnres_core.judging import gates
from attnres_core.judging.decisions import Adjusted, deciding
from attnres_core.judging.outcomes import Excess, Outcome
from attnres_core.prompts import Split
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import (
    Ablation,
    Prediction,
    Quantity,
    Relation,
)
from attnres_core.quantities.units import unit_of
from attnres_core.records.examples import examples
from attnres_core.records.schema import (
    ClaimEntry,
    EstimandEntry,
    ExcessEntry,
    KindEntry,
    LayerEntry,
    PathEntry,
    PermutationEntry,
    SearchEntry,
    StatementEntry,
    StratumEntry,
)
from attnres_core.shapes import Column
from attnres_core.statistics import intervals, power
from attnres_core.statistics.associations import PERMUTATIONS
from attnres_core.suite.expected_verdicts import Expected
from attnres_core.suite.suite import Suite

DIGITS = 7
"""What a float32 can tell: digits beyond are nobody's."""
DRAWN = 8
"""Values at most that a record holds of a claim's distribution in one stratum."""
LONGEST = 60
"""Characters of a token that are shown."""
CONTROL = "control"
"""The `group` of claims that check the suite itself; they are counted apart."""


def number(value: float) -> float | None:
    """A JSON number of DIGITS significant digits; None for infinities and NaN."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def cut(token: str) -> str:
    """A token as it is shown."""
    return token if len(token) <= LONGEST else f"{token[:LONGEST]}…"


def claim_entry(
    outcome: Outcome, expected: Expected | None, suite: Suite, adjusted: Adjusted | None = None, *, source: str
) -> ClaimEntry:
    """One claim, as the record lists it.

    Args:
        outcome: what was decided about it.
        expected: the verdict that is known of it, where one is.
        suite: the run's material.
        adjusted: its p-values over the registered set, where the whole of it was decided.
        source: the test's own code.
    """
    statements = [_statement_entry(decision) for decision in outcome.decisions]
    searches = speaking_to(
        [decision.statement for decision in outcome.decisions],
        lambda role: suite.inputs.material.checkpoint(role).digest,
        suite.inputs.store,
    )
    leading = None if outcome.shown is None else statements[outcome.shown]
    ablations = [q for q in outcome.quantities if isinstance(q.what, Ablation)] if outcome.decisions else []
    split = outcome.standing.split
    prompts = suite.prompts(outcome.claim).splits[split].head(outcome.documents)
    measured = suite.measured(outcome.claim)
    records = [measured.record(quantity, split, outcome.documents) for quantity in ablations]
    reasons = [outcome.reason, *(f"{pick} is {family}" for pick, family in outcome.chosen.items())]
    reasons.append(outcome.disagreement)
    reasons += [decision.reason for decision in outcome.decisions]
    if outcome.verdict is not Verdict.SUPPORTED:
        reasons += [f"the title, or its negation, also takes: {decision}" for decision in outcome.beside]
    permutations = _permutations(outcome, measured)
    reasons += map(_told, permutations)
    return {
        "node_id": outcome.claim.node_id,
        "title": outcome.claim.title,
        "group": outcome.claim.group,
        "cites": outcome.claim.cites,
        "contradicts": list(outcome.claim.contradicts),
        "control": outcome.claim.group == CONTROL,
        "verdict": "ERROR" if outcome.error else outcome.verdict.value,
        "expected": {"verdict": expected.verdict.value, "reason": expected.reason} if expected else None,
        "registration": outcome.standing.status,
        "registration_note": outcome.standing.note,
        "split": split.value,
        "alpha": outcome.standing.alpha,
        "p_value": number(adjusted.p) if adjusted else None,
        "p_holm": number(adjusted.holm) if adjusted else None,
        "p_by": number(adjusted.by) if adjusted else None,
        "p_max_t": number(adjusted.max_t) if adjusted else None,
        "statement": " and ".join(map(str, outcome.claim.statements)),
        "statements": statements,
        "deciding": outcome.shown,
        "quantities": [str(quantity) for quantity in outcome.quantities],
        "estimate": leading["estimate"] if leading else None,
        "interval": [leading["low"], leading["high"]] if leading else None,
        "threshold": leading["threshold"] if leading else None,
        "n": leading["n"] if leading else None,
        "under": _kind_entries(outcome) if outcome.decisions else [],
        "chosen": {str(pick): str(family) for pick, family in outcome.chosen.items()},
        "disagreement": outcome.disagreement,
        "excesses": [_excess_entry(excess) for excess in outcome.excesses],
        "documents": len(prompts.documents) if outcome.decisions else None,
        "prompts": len(prompts) if outcome.decisions else None,
        "prompt_set": outcome.claim.prompts,
        "kept_mass": number(min((record.kept_mass for record in records), default=math.nan)),
        "kept_mass_min": number(min((record.kept_mass_min for record in records), default=math.nan)),
        "beyond": number(max((r.beyond for r in records if not math.isnan(r.beyond)), default=math.nan)),
        "sites_touched": _union(record.sites for record in records),
        "duplicates": _union(record.duplicates for record in records),
        "no_ops": _union(record.no_ops for record in records),
        "by_stratum": _by_stratum(outcome, suite),
        "estimand": _estimand_entry(outcome) if outcome.decisions else None,
        "examples": [
            {"prompt": example.prompt.id, "effect": number(example.effect), "trace": _milli(example.trace)}
            for example in examples(outcome, measured)
        ],
        "counterexamples": [_search_entry(speaking) for speaking in searches],
        "by_layer": [row for quantity in ablations for row in _by_layer(quantity, measured, split, outcome.documents)],
        "by_path": _by_path(ablations, measured, split, outcome.documents),
        "permutations": permutations,
        "reason": outcome.error or "; ".join(filter(None, dict.fromkeys(reasons))),
        "needed_prompts": needed_documents(outcome.decisions),
        "source": source,
    }


def needed_documents(decisions: Sequence[Decision]) -> int | None:
    """How many documents would decide a claim's open statements; None where more of them would not, or none is open."""
    found = list[int]()
    for one in (decision for decision in decisions if decision.verdict is Verdict.INCONCLUSIVE):
        needed = power.needed_units(one.statement.operator, one.statement.threshold, one.interval)
        if one.interval.gate or needed is None or needed <= one.interval.n:
            return None
        found.append(needed)
    return max(found, default=None)


def junit_properties(entry: ClaimEntry) -> list[tuple[str, str]]:
    """A claim's main numbers as properties of its test, for JUnit XML and other readers of pytest's own reports."""
    low, high = entry["interval"] or (None, None)
    values = {
        "verdict": entry["verdict"],
        "effect": entry["estimate"],
        "low": low,
        "high": high,
        "threshold": entry["threshold"],
        "unit": entry["statements"][entry["deciding"]]["unit"] if entry["deciding"] is not None else None,
        "n": entry["n"],
        "statement": entry["statement"],
        "cites": entry["cites"],
        "registration": entry["registration"],
        "registration_note": entry["registration_note"],
        "split": entry["split"],
        "alpha": entry["alpha"],
        "expected": entry["expected"]["verdict"] if entry["expected"] else None,
        "reason": entry["reason"],
    }
    return [(f"attnres_{name}", str(value)) for name, value in values.items() if value not in (None, "")]


def undecided_entry(node_id: str, title: str, group: str, reason: str, *, source: str) -> ClaimEntry:
    """The entry of a claim that could not be traced or measured."""
    return {
        "node_id": node_id,
        "title": title,
        "group": group,
        "cites": None,
        "contradicts": [],
        "control": group == CONTROL,
        "verdict": "ERROR",
        "expected": None,
        "registration": None,
        "registration_note": None,
        "split": None,
        "alpha": None,
        "p_value": None,
        "p_holm": None,
        "p_by": None,
        "p_max_t": None,
        "statement": "",
        "statements": [],
        "deciding": None,
        "quantities": [],
        "estimate": None,
        "interval": None,
        "threshold": None,
        "n": None,
        "under": [],
        "chosen": {},
        "disagreement": "",
        "excesses": [],
        "documents": None,
        "prompts": None,
        "kept_mass": None,
        "kept_mass_min": None,
        "sites_touched": [],
        "duplicates": [],
        "no_ops": [],
        "by_stratum": [],
        "estimand": None,
        "examples": [],
        "counterexamples": [],
        "by_layer": [],
        "permutations": [],
        "reason": reason,
        "needed_prompts": None,
        "source": source,
    }


def _kind_entries(outcome: Outcome) -> list[KindEntry]:
    verdicts = outcome.verdicts if outcome.by_kind else []
    return [
        _kind_entry(kind, own, verdict) for (kind, own), verdict in zip(outcome.by_kind.items(), verdicts, strict=True)
    ]


def _kind_entry(kind: str, decisions: Sequence[Decision], verdict: Verdict) -> KindEntry:
    """Return a claim's verdict under one kind of ablation, with the numbers of the statement that decides it there."""
    own = decisions[deciding([decisions], verdict) or 0]
    limits = own.interval
    return {
        "kind": kind,
        "verdict": verdict.value,
        "estimate": number(limits.mean),
        "low": number(limits.low),
        "high": number(limits.high),
        "unit": _unit(own.statement),
    }


def _statement_entry(decision: Decision) -> StatementEntry:
    interval = decision.interval
    column, region = claimed(decision.statement)
    return {
        "text": str(decision.statement),
        "column": column,
        "region": region,
        "op": decision.statement.operator.value,
        "estimate": number(interval.mean),
        "low": number(interval.low),
        "high": number(interval.high),
        "threshold": decision.statement.threshold,
        "unit": _unit(decision.statement),
        "p_value": None if decision.p_value is None else number(decision.p_value),
        "detectable": None if interval.exact else _or_none(power.detectable(interval)),
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": interval.n,
        "standard_error": None if interval.exact else number(interval.sd / math.sqrt(max(interval.n, 1))),
        "exact": interval.exact,
        "confidence": 1 - 2 * interval.alpha,
        "noise_floor": number(interval.noise),
        "unseen_share": None if interval.exact else number(power.unseen_share(interval.alpha, max(interval.n, 1))),
        "sparse_share": None if interval.exact else number(power.sparse_share(max(interval.n, 1))),
        "methods": {name: [number(low), number(high)] for name, low, high in interval.methods},
    }


def claimed(statement: Statement) -> tuple[str, list[float | None]]:
    """A statement's column, its terms in order and the first of them positive, and where its mean is claimed to lie."""
    edge = statement.threshold
    low, high = {
        Operator.ABOVE: (edge, None),
        Operator.BELOW: (None, edge),
        Operator.WITHIN: (-edge, edge),
    }[statement.operator]
    if min(statement.form.terms, key=lambda term: str(term[0]))[1] < 0:
        low, high = (None if end is None else -end for end in (high, low))
    return str(canonical(statement.form)), [low, high]


def canonical(form: Linear) -> Linear:
    """The same form whichever way round it was written: its terms in order, and the first of them positive."""
    terms = sorted(form.terms, key=lambda term: str(term[0]))
    sign = -1.0 if terms[0][1] < 0 else 1.0
    return Linear(tuple((quantity, sign * factor) for quantity, factor in terms))


def _estimand_entry(outcome: Outcome) -> EstimandEntry:
    related = estimands([decision.statement for decision in outcome.decisions])
    return {"relations": related["relations"], "terms": related["terms"]}


def _excess_entry(excess: Excess) -> ExcessEntry:
    return {
        "whole": str(excess.whole),
        "parts": list(map(str, excess.parts)),
        "unit": unit_of(excess.whole),
        "mean": number(excess.mean),
        "low": number(excess.low),
        "high": number(excess.high),
        "matched": list(map(number, excess.matched)),
    }


def _search_entry(speaking: Speaking) -> SearchEntry:
    """Return what a search for a prompt that violates the claim came to: exploratory, and no part of the verdict."""
    search = speaking.search
    found = search["found"]
    return {
        "statements": search["statements"],
        "prompts": search["prompts"],
        "candidates": search["candidates"],
        "forwards": search["forwards"],
        "seed": search["seed"],
        "command": search["command"],
        "unit": _unit(speaking.statement),
        "closest": number(search["closest"]),
        "found": None
        if found is None
        else {
            "statement": found["statement"],
            "token_ids": found["token_ids"],
            "tokens": list(map(cut, found["tokens"])),
            "value": number(found["value"]),
            "wrong_sign": speaking.wrong_sign,
        },
    }


def _unit(statement: Statement) -> str:
    return " and ".join(sorted({unit_of(quantity) for quantity, _ in statement.form.terms}))


def _or_none(value: float | None) -> float | None:
    return None if value is None else number(value)


def _union(groups: Iterable[Iterable[str]]) -> list[str]:
    """Each name once, in order of appearance."""
    return list(dict.fromkeys(name for group in groups for name in group))


def _by_layer(quantity: Quantity, measured: Measurements, split: Split, documents: int | None) -> list[LayerEntry]:
    """The effects that a per-site ablation averages, each with a descriptive 95 % t interval."""
    if not isinstance(quantity.what, Ablation) or not quantity.what.per_site or quantity.what.control:
        return []  # (a control of one layer alone would draw other sites, or other sources)
    rows = list[LayerEntry]()
    for site in measured.record(quantity, split, documents).sites:
        layer = int(site.split(".")[0])
        alone = dataclasses.replace(quantity.what, layers=range(layer, layer + 1), per_site=False)
        column = measured.column(dataclasses.replace(quantity, what=alone), split, documents)
        low, mean, high = map(number, intervals.t_interval(column))
        name, unit = str(quantity), unit_of(quantity)
        rows.append({"quantity": name, "site": site, "unit": unit, "mean": mean, "low": low, "high": high})
    return rows


def _by_path(
    quantities: Sequence[Quantity], measured: Measurements, split: Split, documents: int | None
) -> list[PathEntry]:
    """The parts of the effects that a claim takes apart by path: in logits, where they add up.

    Beside them the whole and, where no read is in two parts, what they leave of it: paths that the claim does not
    name, and what the parts do together.
    """
    rows = list[PathEntry]()
    for whole, parts in decompositions(quantities).items():
        columns = {one: measured.column(one, split, documents) for one in (whole, *parts) if one in quantities}
        shown: list[tuple[Literal["total", "path", "rest"], str, Column]] = []
        shown += [("total", "every later read", columns[whole])] if whole in columns else []
        shown += [("path", label, columns[one]) for one, label in parts.items()]
        if whole in columns and _are_apart(parts, measured):
            shown.append(("rest", "the rest", columns[whole] - sum(columns[one] for one in parts)))
        for part, label, column in shown:
            low, mean, high = map(number, intervals.t_interval(column))
            name, unit = str(whole), unit_of(whole)
            rows.append(
                {"whole": name, "part": part, "label": label, "unit": unit, "mean": mean, "low": low, "high": high}
            )
    return rows


def decompositions(quantities: Sequence[Quantity]) -> dict[Quantity, dict[Quantity, str]]:
    """By effect in logits that some of these quantities are paths of: the paths, each with its reads in words."""
    found = dict[Quantity, dict[Quantity, str]]()
    for quantity in quantities:
        what = quantity.what
        if isinstance(what, Ablation) and what.via and quantity.metric is Metric.LOGIT_DIFFERENCE:
            whole = dataclasses.replace(quantity, what=dataclasses.replace(what, via=None))
            found.setdefault(whole, {})[quantity] = what.via.label
    return found


def _are_apart(paths: Iterable[Quantity], measured: Measurements) -> bool:
    """Whether no source of a read is in two of these paths."""
    runs = [measured.material.resolved(path).interventions for path in paths]
    each = [{(str(site), index) for run in own for site, indices in run.via for index in indices} for own in runs]
    return sum(map(len, each)) == len(set().union(*each))


def _permutations(outcome: Outcome, measured: Measurements) -> list[PermutationEntry]:
    """Beside a claim about predicting the loss: the permutation test's p-values, over the same documents.

    `p` is about what the claim states, the statistic over all documents; `p_within` about that within strata alone.
    """
    asked = [q for q in outcome.quantities if isinstance(q.what, Prediction)] if outcome.decisions else []
    where = (outcome.standing.split, outcome.documents)
    return [
        {
            "quantity": str(quantity.what),
            "p": number(gates.unrelated_p(measured, quantity, *where)),
            "p_within": number(gates.unrelated_p(measured, quantity, *where, within=True)),
        }
        for quantity in asked
    ]


def _told(test: PermutationEntry) -> str:
    """A permutation test in words."""

    def p(value: float | None) -> str:
        if value is None:
            return "p unknown"
        return f"p {'<=' if value <= 1 / (1 + PERMUTATIONS) else '='} {value:.2g}"

    within = f"{p(test['p_within'])} within strata"
    return f"`{test['quantity']}`: {p(test['p'])} that they are unrelated, {within}, by {PERMUTATIONS:,} permutations"


def _by_stratum(outcome: Outcome, suite: Suite) -> list[StratumEntry]:
    """Return how the shown statement's form is distributed over documents, stratum by stratum; descriptive.

    `values`: the documents', sorted, or where there are many DRAWN evenly spaced quantiles of them.
    """
    own = outcome.deciding
    split, documents = outcome.standing.split, outcome.documents
    labels = suite.prompts(outcome.claim).splits[split].head(documents).strata
    if own is None or any(isinstance(q.what, Relation) for q, _ in own.statement.form.terms):
        return []
    form = own.statement.form
    measured = suite.measured(outcome.claim)
    column = form.of({quantity: measured.column(quantity, split, documents) for quantity, _ in form.terms})
    rows = {label: column[[index for index, own in enumerate(labels) if own == label]] for label in sorted(set(labels))}
    return [
        {"stratum": label, "n": len(part), "mean": number(part.mean()), "values": _drawn(part)}
        for label, part in rows.items()
    ]


def _drawn(column: Column) -> list[float | None]:
    levels = np.linspace(0, 1, DRAWN)  # the smallest and the largest among them
    values = np.sort(column) if len(column) <= DRAWN else np.quantile(column, levels)
    return [number(float(f"{value:.3g}")) for value in values]


def _milli(trace: Column | None) -> list[int] | None:
    """A token trace in whole thousandths of a nat."""
    return None if trace is None or not np.isfinite(trace).all() else [round(1000 * float(rise)) for rise in trace]
