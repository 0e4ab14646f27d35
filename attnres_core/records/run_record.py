"""A run's record: outcomes and columns as plain data, for the JSON file, the report and the terminal."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnres_core import __version__
from attnres_core.claims.claim import ALPHA, CLAIM_ALPHA
from attnres_core.claims.estimands import symbols, words
from attnres_core.engine.measurements import Measurements
from attnres_core.exploration.pathway_map import map_rows
from attnres_core.files import published_name
from attnres_core.judging.outcomes import EarlyDeciding, Outcome
from attnres_core.models.checkpoints.sketching import weights_sketch
from attnres_core.planning.requests import ROUTING
from attnres_core.prompts import WINDOW, PromptSet, Split
from attnres_core.quantities.quantity import Ablation, Pick, Quantity
from attnres_core.quantities.summaries import mass, uniform_mass
from attnres_core.quantities.vocabulary import AnyRole, Positions, Role, layers_text
from attnres_core.records.claim_entry import cut, number
from attnres_core.records.examples import extremes
from attnres_core.records.schema import (
    VERDICTS,
    VERSION,
    BegunRecord,
    ClaimEntry,
    ColumnEntry,
    EarlyEntry,
    ExamplePrompt,
    MapCell,
    ModelEntry,
    PromptsEntry,
    Record,
    RegistrationsEntry,
    RoutingEntry,
)
from attnres_core.statistics import intervals
from attnres_core.suite.forwards_saved import forwards_saved
from attnres_core.suite.run_prompts import OWN, RunPrompts
from attnres_core.suite.suite import Suite

SHOWN = (Role.TRAINED, Role.WRAPPED, Role.UNTRAINED)
"""The models whose routing is shown side by side."""
QUESTION = "Which routing pathways are causal in this checkpoint?"


def base_record(suite: Suite, outcomes: Sequence[Outcome], collected: int) -> BegunRecord:
    """Return everything that is known of a run once its claims are decided, but the claims as they were reported.

    Args:
        suite: the run's material.
        outcomes: its decided claims.
        collected: all its claims, those that could not be traced included.
    """
    measured: dict[tuple[str, Quantity, Split], int | None] = {}  # over how many documents of which prompt set
    for outcome in outcomes:
        for quantity in outcome.quantities if outcome.decisions else ():
            key = (outcome.claim.prompts, quantity, outcome.standing.split)
            counts = (measured.get(key, 0), outcome.documents)
            measured[key] = None if None in counts else max(c for c in counts if c is not None)
    shown = {Role.TRAINED, Role.WRAPPED, *(quantity.role for _, quantity, _ in measured)}
    shares = [outcome.standing.alpha for outcome in outcomes if outcome.standing.alpha] or [CLAIM_ALPHA]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy", "scipy")}
    return {
        "schema": VERSION,
        "question": QUESTION,
        "collected": collected,
        "run": {
            "versions": {"python": platform.python_version(), **versions, "attnres-core": __version__},
            "seed": intervals.SEED,
            "noise_floor": number(_sham(suite)),
            "early": _early(forwards_saved(suite.inputs, outcomes)),
        },
        "models": {role.value: _model_entry(suite, role) for role in suite.inputs.checkpoints if role in shown},
        "settings": {
            "device": suite.inputs.resources.device_class,
            "dtype": suite.inputs.settings.dtype,
            "quick": suite.inputs.settings.quick,
            "sequential": suite.inputs.settings.sequential,
            "alpha": ALPHA,
            "alpha_claim": min(shares),
            "resamples": intervals.resamples_for(min(shares)),
            "registrations": _registrations(suite),
            "prompts": _prompts(suite.inputs.sets[OWN]),
            "prompt_sets": {name: _prompts(own) for name, own in suite.inputs.sets.items() if name != OWN},
        },
        "estimands": {
            str(quantity): {"words": words(quantity), "symbols": symbols(quantity)}
            for outcome in outcomes
            for decision in outcome.decisions
            for quantity, _ in decision.statement.form.terms
        },
        "examples": _examples(suite, outcomes),
        "maps": {role.value: drawn for role in SHOWN if (drawn := _map(suite, role))},
        "columns": [
            _column_entry(q, suite.judges[name].measurements, split, documents)
            for (name, q, split), documents in measured.items()
        ],
        "routing": {role.value: found for role in SHOWN if (found := _routing(suite, role))},
    }


def _sham(suite: Suite) -> float:
    """The largest effect of a sham over every prompt set that was read."""
    found = [judge.measurements.sham() for judge in suite.judges.values() if not judge.unfit]
    return float(np.max(found))  # (keeps NaN)


def _prompts(read: RunPrompts) -> PromptsEntry:
    return {
        "name": read.whole.name,
        "digest": read.whole.digest,
        "window": WINDOW,
        "exploration": len(read.splits[Split.EXPLORATION]),
        "confirmation": len(read.splits[Split.CONFIRMATION]),
    }


def _registrations(suite: Suite) -> RegistrationsEntry:
    attestation = suite.inputs.attestation
    return {
        "lock": suite.inputs.registry.digest,
        "claims": len(suite.inputs.registry.entries),
        "withdrawn": suite.inputs.registry.withdrawn,
        "attestation": attestation.label,
        "commit": attestation.commit or None,
        "date": attestation.date or None,
        "note": attestation.note,
    }


def _examples(suite: Suite, outcomes: Sequence[Outcome]) -> dict[str, ExamplePrompt]:
    """The prompts that claims show as examples, by id, as the trained model's tokenizer cuts them."""
    found = [
        suite.prompts(outcome.claim).splits[outcome.standing.split].prompts[index]
        for outcome in outcomes
        for index in extremes(outcome, suite.measured(outcome.claim))
    ]
    prompts = {prompt.id: prompt for prompt in found}
    shown = PromptSet("examples", tuple(prompts[name] for name in sorted(prompts)))
    texts = shown.token_texts(suite.inputs.trained.tokenizer_file) if len(shown) else []
    return {
        prompt.id: {
            "document": prompt.document,
            "stratum": prompt.stratum,
            "tokens": list(map(cut, tokens)),
        }
        for prompt, tokens in zip(shown.prompts, texts, strict=True)
    }


def _map(suite: Suite, role: Role) -> list[MapCell] | None:
    """A model's map as far as the store holds it for a split: masses, and where measured effects of single drops."""
    if role not in suite.inputs.checkpoints:
        return None
    tables = []
    for split in (Split.CONFIRMATION, Split.EXPLORATION):
        if ROUTING in suite.measurements.whole(role, split):
            tables.append([_map_cell(row, split) for row in map_rows(suite.measurements, role, split)])
    return max(tables, key=lambda rows: sum("delta_nll" in row for row in rows), default=None)


def _map_cell(row: Mapping[str, Any], split: Split) -> MapCell:
    cell: MapCell = {
        "site": row["site"],
        "layer": row["layer"],
        "sublayer": row["sublayer"],
        "family": row["family"],
        "mass": number(row["mass"]),
        "uniform_mass": number(row["uniform_mass"]),
        "n": row["n"],
        "split": split.value,
    }
    if row["delta_nll"] is None:
        return cell
    return {
        **cell,
        "delta_nll": number(row["delta_nll"]),
        "delta_nll_low": number(row["delta_nll_low"]),
        "delta_nll_high": number(row["delta_nll_high"]),
        "kl": number(row["kl"]),
        "kept_mass": number(row["kept_mass"]),
        "input_change": number(row["input_change"]),
        "beyond": None if row["beyond"] is None else number(row["beyond"]),  # (older stores do not know it)
        "duplicate": row["duplicate"],
    }


def _early(saved: EarlyDeciding | None) -> EarlyEntry | None:
    if saved is None:
        return None
    counts = {str(documents): count for documents, count in saved.ended.items()}
    shares = {str(documents): share for documents, share in saved.shares.items()}
    return {"text": str(saved), "shares": shares, "ended": counts, "rows": saved.rows, "rows_run": saved.run}


def completed_record(
    base: BegunRecord,
    entries: Sequence[ClaimEntry],
    *,
    started: str,
    wall_seconds: float,
    command: str,
    bundles_measured: int,
    bundles_reused: int,
) -> Record:
    """The record of a finished (or interrupted) run, its claims in order of node id."""
    return {
        "schema": base["schema"],
        "question": base["question"],
        "complete": len(entries) == base["collected"],
        "collected": base["collected"],
        "run": {
            "started": started,
            "wall_seconds": round(wall_seconds, 2),
            "command": command,
            **base["run"],
            "bundles_measured": bundles_measured,
            "bundles_reused": bundles_reused,
        },
        "models": base["models"],
        "settings": base["settings"],
        "counts": {verdict: sum(entry["verdict"] == verdict for entry in entries) for verdict in VERDICTS},
        "claims": sorted(entries, key=lambda entry: entry["node_id"]),
        "estimands": base["estimands"],
        "examples": base["examples"],
        "maps": base["maps"],
        "columns": base["columns"],
        "routing": base["routing"],
    }


def _model_entry(suite: Suite, role: AnyRole) -> ModelEntry:
    checkpoint = suite.inputs.checkpoints[role]
    entry: ModelEntry = {
        "name": checkpoint.name,
        "path": checkpoint.repository or published_name(checkpoint.folder),
        "repository": checkpoint.repository,
        "commit": checkpoint.commit,
        "weights_digest": checkpoint.weights_digest,
        "digest": checkpoint.digest,
        "dialect": checkpoint.dialect_name,
        "num_layers": checkpoint.num_layers,
        "num_blocks": checkpoint.num_blocks,
        "parameters": checkpoint.parameters,
        "recency_bias": checkpoint.wrap,
    }
    if checkpoint.adapter:
        entry["adapter"] = checkpoint.adapter
    return {**entry, "sketch": weights_sketch(checkpoint)} if role is Role.TRAINED else entry


def _column_entry(quantity: Quantity, measured: Measurements, split: Split, documents: int | None) -> ColumnEntry:
    column, record = measured.column(quantity, split, documents), measured.record(quantity, split, documents)
    low, mean, high = map(number, intervals.t_interval(column))
    what = quantity.what
    weight, uniform = None, None
    if isinstance(what, Ablation) and what.family is not None and not isinstance(what.family, Pick):
        place = (what.family, what.sublayer, what.layers)
        summaries = (
            dataclasses.replace(
                of(*place).on(quantity.role, prompts=quantity.prompts), dtype=quantity.dtype, variant=quantity.variant
            )
            for of in (mass, uniform_mass)
        )
        weight, uniform = (number(measured.column(one, split, documents).mean()) for one in summaries)
    entry: ColumnEntry = {
        "name": str(quantity),
        "role": quantity.role.value,
        "metric": quantity.metric.value if quantity.metric else None,
        "at": None if quantity.at is Positions.ALL else quantity.at.value,
        "dtype": quantity.dtype or measured.material.dtype,
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
        "beyond": number(record.beyond),
        "duplicates": list(record.duplicates),
        "no_ops": list(record.no_ops),
        "kind": str(what.kind),
        "control": what.control.value if isinstance(what, Ablation) and what.control else None,
        "runs": len(measured.material.resolved(quantity).interventions),
        "per_site": isinstance(what, Ablation) and what.per_site,
        "family": None if what.family is None else str(what.family),
        "sublayer": None if what.sublayer is None else what.sublayer.value,
        "layers": layers_text(what.layers),
        "mass": weight,
        "uniform": uniform,
    }
    if isinstance(what, Ablation) and what.via:
        entry["via"] = str(what.via)
    return entry


def _routing(suite: Suite, role: AnyRole) -> RoutingEntry | None:
    """Mean depth weights of every site, where the clean run was measured."""
    chunks = [chunk for chunk in suite.measurements.chunks(role, Split.CONFIRMATION) if ROUTING in chunk]
    if not chunks:
        return None
    joined = {name: np.concatenate([c[ROUTING][name] for c in chunks]).mean(0) for name in ("mean", "entropy", "peak")}
    sites = suite.inputs.checkpoints[role].sites
    return {
        "sites": [str(site) for site in sites],
        "sources": [[family.value if family else "only source" for family in site.sources] for site in sites],
        "mass": [list(map(number, joined["mean"][row, : len(site.sources)])) for row, site in enumerate(sites)],
        "entropy": list(map(number, joined["entropy"])),
        "peak": list(map(number, joined["peak"])),
    }
