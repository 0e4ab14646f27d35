"""A record as tables of plain values: a row a claim, a row a statement, a row a measured column. Imports no pandas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attnres_core.records.schema import ClaimEntry, Record, StatementEntry
from attnres_core.report.wording import deciding

Rows = list[dict[str, Any]]

_EFFECTS: dict[str, Callable[[ClaimEntry, StatementEntry], object]] = {
    "claim": lambda claim, statement: claim["node_id"],
    "title": lambda claim, statement: claim["title"],
    "group": lambda claim, statement: claim["group"],
    "registration": lambda claim, statement: claim["registration"],
    "alpha": lambda claim, statement: claim["alpha"],
    "p_holm": lambda claim, statement: claim["p_holm"],
    "p_by": lambda claim, statement: claim["p_by"],
    "p_max_t": lambda claim, statement: claim["p_max_t"],
    "claim_verdict": lambda claim, statement: claim["verdict"],
    "statement": lambda claim, statement: statement["text"],
    "verdict": lambda claim, statement: statement["verdict"],
    "estimate": lambda claim, statement: statement["estimate"],
    "low": lambda claim, statement: statement["low"],
    "high": lambda claim, statement: statement["high"],
    "op": lambda claim, statement: statement["op"],
    "threshold": lambda claim, statement: statement["threshold"],
    "unit": lambda claim, statement: statement["unit"],
    "n": lambda claim, statement: statement["n"],
    "p_value": lambda claim, statement: statement["p_value"],
    "detectable": lambda claim, statement: statement["detectable"],
}
EFFECTS = tuple(_EFFECTS)
"""The columns of the table of effects."""
_CLAIM = ("title", "group", "cites", "control", "verdict", "registration", "split", "alpha", "documents", "reason")
_DECIDING = ("estimate", "low", "high", "op", "threshold", "unit", "n", "p_value")
CLAIMS = ("claim", *_CLAIM, "statement", *_DECIDING, "p_holm", "p_by", "p_max_t")
"""The columns of the table of claims; the numbers are of the statement that decides each."""
COLUMNS = (
    *("name", "role", "metric", "at", "family", "sublayer", "layers", "kind", "control", "split", "n"),
    *("mean", "low", "high", "sd", "kept_mass", "input_change", "beyond", "mass", "uniform"),
)
"""The columns of the table of measured columns; limits are of 95 % t intervals."""


def effects(record: Record) -> Rows:
    """One row a statement."""
    return [
        {name: read(claim, statement) for name, read in _EFFECTS.items()}
        for claim in record["claims"]
        for statement in claim["statements"]
    ]


def claims(record: Record) -> Rows:
    """One row a claim."""
    rows = []
    for claim in record["claims"]:
        own = deciding(claim)
        numbers = {name: None if own is None else own[name] for name in _DECIDING}  # type: ignore[literal-required]
        told = {name: claim[name] for name in _CLAIM}  # type: ignore[literal-required]
        text = None if own is None else own["text"]
        adjusted = {name: claim[name] for name in ("p_holm", "p_by", "p_max_t")}
        rows.append({"claim": claim["node_id"], **told, "statement": text, **numbers, **adjusted})
    return rows


def columns(record: Record) -> Rows:
    """One row a measured column."""
    return [{name: column.get(name) for name in COLUMNS} for column in record["columns"]]
