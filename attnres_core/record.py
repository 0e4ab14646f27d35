"""A run's record: outcomes and columns as plain data, for the JSON file, the report and the terminal."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from attnres_core import __version__, power, statistics
from attnres_core.claims import ALPHA, CLAIM_ALPHA
from attnres_core.columns import ROUTING, interventions_for
from attnres_core.estimates import Decision
from attnres_core.expected import Expected
from attnres_core.judging import Adjusted, combine
from attnres_core.mapping import is_measured, map_rows
from attnres_core.outcomes import EarlyDeciding, Outcome
from attnres_core.prompts import WINDOW, Split
from attnres_core.quantities import Ablation, Association, Pick, Quantity, RoutingSummary
from attnres_core.statistics import Verdict
from attnres_core.suite import Suite
from attnres_core.summaries import mass
from attnres_core.vocabulary import AnyRole, Metric, Positions, Role, Statistic, Summary, layers_text

QUESTION = "Which routing pathways are causal in this checkpoint?"
_UNITS = {
    Summary.MASS: "depth weight",
    Summary.UNIFORM_MASS: "depth weight",
    Summary.PEAK: "depth weight",
    Summary.ENTROPY: "nats",
    Summary.SPREAD: "max depth-weight error",
    Summary.CLOSED_FORM_ERROR: "max depth-weight error",
}
_METRIC_UNITS = {
    Metric.DELTA_NLL: "nats/token",
    Metric.KL: "nats/token",
    Metric.LOGIT_DIFFERENCE: "logits",
    Metric.ANSWER_PROBABILITY: "probability",
}
CONTROL = "control"
"""The `family` of claims that check the suite itself; they are counted apart."""


def number(value: float) -> float | None:
    """A JSON number: None for infinities and NaN."""
    return float(value) if math.isfinite(value) else None


def unit_of(quantity: Any) -> str:
    """A quantity's unit, in words."""
    if not isinstance(quantity, Quantity):
        return "nats/token"
    if isinstance(quantity.what, RoutingSummary):
        return _UNITS[quantity.what.kind]
    if isinstance(quantity.what, Association):
        return "nats/token per mass" if quantity.what.kind is Statistic.SLOPE else "correlation"
    assert quantity.metric is not None, "an effect has a metric"
    return _METRIC_UNITS[quantity.metric]


def claim_entry(
    outcome: Outcome, expected: Expected | None, suite: Suite, adjusted: Adjusted | None = None
) -> dict[str, Any]:
    """One claim, as the record lists it; `adjusted` where the whole registered set was decided."""
    statements = [_statement_entry(decision) for decision in outcome.decisions]
    deciding = (s for s in statements if s["verdict"] == outcome.verdict.value)
    leading = next(deciding, statements[0] if statements else None)  # (kinds that disagree have none that decides)
    ablations = [q for q in outcome.quantities if isinstance(q.what, Ablation)] if outcome.decisions else []
    split = outcome.standing.split
    records = [suite.measurements.record(quantity, split, outcome.documents) for quantity in ablations]
    reasons = [outcome.reason, *(f"{pick} is {family}" for pick, family in outcome.chosen.items())]
    reasons += [outcome.disagreement, *outcome.redundancy]
    reasons += [decision.reason for decision in outcome.decisions]
    needed = [
        power.needed_units(d.statement.operator, d.statement.threshold, d.interval)
        for d in outcome.decisions
        if d.verdict is Verdict.INCONCLUSIVE and not d.interval.gate
    ]
    return {
        "node_id": outcome.claim.node_id,
        "title": outcome.claim.title,
        "family": outcome.claim.family,
        "cites": outcome.claim.cites,
        "control": outcome.claim.family == CONTROL,
        "verdict": "ERROR" if outcome.error else outcome.verdict.value,
        "expected": {"verdict": expected.verdict.value, "reason": expected.reason} if expected else None,
        "registration": outcome.standing.status,
        "registration_note": outcome.standing.note,
        "split": split.value,
        "alpha": outcome.standing.alpha,
        "p_value": number(adjusted.p) if adjusted else None,
        "p_holm": number(adjusted.holm) if adjusted else None,
        "p_max_t": number(adjusted.max_t) if adjusted else None,
        "statement": " and ".join(map(str, outcome.claim.statements)),
        "statements": statements,
        "quantities": [str(quantity) for quantity in outcome.quantities],
        "estimate": leading["estimate"] if leading else None,
        "interval": [leading["low"], leading["high"]] if leading else None,
        "threshold": leading["threshold"] if leading else None,
        "n": leading["n"] if leading else None,
        "under": [_kind_entry(kind, found) for kind, found in outcome.by_kind.items()] if outcome.decisions else [],
        "disagreement": outcome.disagreement,
        "redundancy": list(outcome.redundancy),
        "sites_touched": _union(record.sites for record in records),
        "duplicates": _union(record.duplicates for record in records),
        "no_ops": _union(record.no_ops for record in records),
        "by_stratum": _by_stratum(outcome, suite),
        "by_layer": [row for quantity in ablations for row in _by_layer(quantity, suite, split, outcome.documents)],
        "reason": outcome.error or "; ".join(filter(None, dict.fromkeys(reasons))),
        "needed_prompts": max((n for n in needed if n), default=None),
    }


def junit_properties(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A claim's main numbers as properties of its test, for JUnit XML and other readers of pytest's own reports."""
    names = ("verdict", "effect", "low", "high", "threshold", "n", "statement", "reason")
    low, high = entry["interval"] or (None, None)
    values = {**entry, "effect": entry["estimate"], "low": low, "high": high}
    return [(f"attnres_{name}", str(values[name])) for name in names if values[name] not in (None, "")]


def undecided_entry(node_id: str, title: str, family: str, reason: str) -> dict[str, Any]:
    """The entry of a claim that could not be traced or measured."""
    absent = ("cites", "expected", "estimate", "interval", "threshold", "n", "needed_prompts", "split", "alpha")
    nothing = dict.fromkeys((*absent, "registration", "registration_note", "p_value", "p_holm", "p_max_t"))
    lists: dict[str, Any] = {"quantities": [], "statement": "", "statements": [], "by_layer": [], "by_stratum": []}
    lists |= {
        "sites_touched": [],
        "duplicates": [],
        "no_ops": [],
        "under": [],
        "quantities": [],
        "redundancy": [],
        "disagreement": "",
    }
    names = {"node_id": node_id, "title": title, "family": family, "control": family == CONTROL}
    return {**names, "verdict": "ERROR", "reason": reason, **nothing, **lists}


def _kind_entry(kind: str, decisions: Sequence[Decision]) -> dict[str, Any]:
    """What a claim comes to under one kind of ablation, with its first statement's numbers."""
    first = decisions[0].interval
    numbers = {"estimate": number(first.mean), "low": number(first.low), "high": number(first.high)}
    return {"kind": kind, "verdict": combine(decisions).value, **numbers}


def _statement_entry(decision: Decision) -> dict[str, Any]:
    interval = decision.interval
    units = sorted({unit_of(quantity) for quantity, _ in decision.statement.form.terms})
    return {
        "text": str(decision.statement),
        "op": decision.statement.operator.value,
        "estimate": number(interval.mean),
        "low": number(interval.low),
        "high": number(interval.high),
        "threshold": decision.statement.threshold,
        "unit": " and ".join(units),
        "p_value": None if decision.p_value is None else number(decision.p_value),
        "detectable": None if interval.exact else _or_none(power.detectable(interval)),
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "n": interval.n,
        "exact": interval.exact,
        "confidence": 1 - 2 * interval.alpha,
        "noise_floor": interval.noise,
        "unseen_share": None if interval.exact else number(power.unseen_share(interval.alpha, max(interval.n, 1))),
    }


def base_record(suite: Suite, outcomes: Sequence[Outcome], collected: int) -> dict[str, Any]:
    """What is known of a run once its claims are decided: everything but the claims as they were reported.

    Args:
        suite: the run's material.
        outcomes: its decided claims.
        collected: all its claims, those that could not be traced included.
    """
    measured: dict[tuple[Quantity, Split], int | None] = {}  # over how many documents
    for outcome in outcomes:
        for quantity in outcome.quantities if outcome.decisions else ():
            key = (quantity, outcome.standing.split)
            counts = (measured.get(key, 0), outcome.documents)
            measured[key] = None if None in counts else max(c for c in counts if c is not None)
    shown = {Role.TRAINED, Role.WRAPPED, *(quantity.role for quantity, _ in measured)}
    shares = [outcome.standing.alpha for outcome in outcomes] or [CLAIM_ALPHA]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy", "scipy")}
    return {
        "schema": 1,
        "question": QUESTION,
        "collected": collected,
        "run": {
            "versions": {"python": platform.python_version(), **versions, "attnres-core": __version__},
            "seed": statistics.SEED,
            "noise_floor": number(suite.measurements.sham()),
            "early": _early(suite.saved(outcomes)),
        },
        "models": {role.value: _model_entry(suite, role) for role in suite.checkpoints if role in shown},
        "settings": {
            "device": suite.place.device_class,
            "dtype": suite.settings.dtype,
            "quick": suite.settings.quick,
            "sequential": suite.settings.sequential,
            "alpha": ALPHA,
            "alpha_claim": min(shares),
            "resamples": statistics.resamples_for(min(shares)),
            "registrations": {"lock": suite.registry.digest, "claims": len(suite.registry.entries)},
            "prompts": {
                "name": suite.prompts_name,
                "digest": suite.prompts_digest,
                "window": WINDOW,
                **{split.value: len(part) for split, part in suite.prompts.items()},
            },
        },
        "map": _map(suite),
        "columns": [_column_entry(q, suite, split, documents) for (q, split), documents in measured.items()],
        "routing": {role.value: found for role in (Role.TRAINED, Role.WRAPPED) if (found := _routing(suite, role))},
    }


def _map(suite: Suite) -> list[dict[str, Any]] | None:
    """The trained model's whole map, where the store holds it for a split."""
    for split in (Split.CONFIRMATION, Split.EXPLORATION):
        if is_measured(suite.measurements, Role.TRAINED, split):
            rows = map_rows(suite.measurements, Role.TRAINED, split)
            return [{k: number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return None


def _early(saved: EarlyDeciding | None) -> dict[str, Any] | None:
    if saved is None:
        return None
    counts = {str(documents): count for documents, count in saved.ended.items()}
    shares = {str(documents): share for documents, share in saved.shares.items()}
    return {"text": str(saved), "shares": shares, "ended": counts, "rows": saved.rows, "rows_run": saved.run}


def completed_record(
    base: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    *,
    started: str,
    wall_seconds: float,
    command: str,
    bundles_measured: int,
    bundles_reused: int,
) -> dict[str, Any]:
    """The record of a finished (or interrupted) run, its claims in order of node id."""
    verdicts = [*(verdict.value for verdict in Verdict), "ERROR"]
    run = {"started": started, "wall_seconds": round(wall_seconds, 2), "command": command, **base["run"]}
    run |= {"bundles_measured": bundles_measured, "bundles_reused": bundles_reused}
    return {
        **base,
        "complete": len(entries) == base["collected"],
        "run": run,
        "counts": {verdict: sum(entry["verdict"] == verdict for entry in entries) for verdict in verdicts},
        "claims": sorted(entries, key=lambda entry: entry["node_id"]),
    }


def _model_entry(suite: Suite, role: AnyRole) -> dict[str, Any]:
    checkpoint = suite.checkpoints[role]
    return {
        "name": checkpoint.name,
        "path": str(checkpoint.folder),
        "repository": checkpoint.repository,
        "commit": checkpoint.commit,
        "weights_digest": checkpoint.weights_digest,
        "digest": checkpoint.digest,
        "dialect": checkpoint.dialect.name,
        "num_layers": checkpoint.num_layers,
        "num_blocks": checkpoint.dialect.num_blocks,
        "recency_bias": checkpoint.wrap,
    }


def _or_none(value: float | None) -> float | None:
    return None if value is None else number(value)


def _union(groups: Iterable[Iterable[str]]) -> list[str]:
    """Each name once, in order of appearance."""
    return list(dict.fromkeys(name for group in groups for name in group))


def _by_layer(quantity: Quantity, suite: Suite, split: Split, documents: int | None) -> list[dict[str, Any]]:
    """The effects that a per-site ablation averages, each with a descriptive 95 % t interval."""
    if not isinstance(quantity.what, Ablation) or not quantity.what.per_site or quantity.what.control:
        return []  # (a control of one layer alone would draw other sites, or other sources)
    rows = []
    for site in suite.measurements.record(quantity, split, documents).sites:
        layer = int(site.split(".")[0])
        alone = dataclasses.replace(quantity.what, layers=range(layer, layer + 1), per_site=False)
        column = suite.measurements.column(dataclasses.replace(quantity, what=alone), split, documents)
        low, mean, high = map(number, statistics.t_interval(column))
        rows.append({"quantity": str(quantity), "site": site, "mean": mean, "low": low, "high": high})
    return rows


def _by_stratum(outcome: Outcome, suite: Suite) -> list[dict[str, Any]]:
    """Documents and mean of the deciding statement in each stratum, where there are several; descriptive."""
    deciding = outcome.deciding
    split, documents = outcome.standing.split, outcome.documents
    labels = suite.prompts[split].head(documents).strata
    if deciding is None or deciding.statement.takes_worst or len(set(labels)) < 2:
        return []
    form = deciding.statement.form
    column = form.of({quantity: suite.measurements.column(quantity, split, documents) for quantity, _ in form.terms})
    rows = {label: column[[index for index, own in enumerate(labels) if own == label]] for label in sorted(set(labels))}
    return [{"stratum": label, "n": len(part), "mean": number(part.mean())} for label, part in rows.items()]


def _column_entry(quantity: Quantity, suite: Suite, split: Split, documents: int | None) -> dict[str, Any]:
    measured = suite.measurements
    column, record = measured.column(quantity, split, documents), measured.record(quantity, split, documents)
    low, mean, high = map(number, statistics.t_interval(column))
    what = quantity.what
    weight = None
    if isinstance(what, Ablation) and what.family is not None and not isinstance(what.family, Pick):
        read = dataclasses.replace(
            mass(what.family, what.sublayer, what.layers).on(quantity.role), dtype=quantity.dtype
        )
        weight = number(measured.column(read, split, documents).mean())
    return {
        "name": str(quantity),
        "role": quantity.role.value,
        "metric": quantity.metric.value if quantity.metric else None,
        "at": None if quantity.at is Positions.ALL else quantity.at.value,
        "dtype": quantity.dtype or suite.settings.dtype,
        "split": split.value,
        "n": len(column),
        "mean": mean,
        "sd": number(column.std(ddof=1)) if len(column) > 1 else None,
        "low": low,
        "high": high,
        "sites_touched": list(record.sites) if isinstance(what, Ablation) else [],
        "kept_mass": number(record.kept_mass),
        "kept_mass_min": number(record.kept_mass_min),
        "input_change": number(record.input_change),
        "duplicates": list(record.duplicates),
        "no_ops": list(record.no_ops),
        "kind": str(what.kind),
        "control": what.control.value if isinstance(what, Ablation) and what.control else None,
        "runs": len(interventions_for(what, suite.checkpoints[quantity.role])),
        "per_site": isinstance(what, Ablation) and what.per_site,
        "family": None if what.family is None else str(what.family),
        "sublayer": None if what.sublayer is None else what.sublayer.value,
        "layers": layers_text(what.layers),
        "mass": weight,
    }


def _routing(suite: Suite, role: AnyRole) -> dict[str, Any] | None:
    """Mean depth weights of every site, where the clean run was measured."""
    chunks = [chunk for chunk in suite.measurements.chunks(role, Split.CONFIRMATION) if ROUTING in chunk]
    if not chunks:
        return None
    joined = {name: np.concatenate([c[ROUTING][name] for c in chunks]).mean(0) for name in ("mean", "entropy", "peak")}
    sites = suite.checkpoints[role].sites
    return {
        "sites": [str(site) for site in sites],
        "sources": [[family.value if family else "only source" for family in site.sources] for site in sites],
        "mass": [list(map(number, joined["mean"][row, : len(site.sources)])) for row, site in enumerate(sites)],
        "entropy": list(map(number, joined["entropy"])),
        "peak": list(map(number, joined["peak"])),
    }
