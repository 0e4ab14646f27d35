"""The page's first words: which pathways the run's claims call causal, and its claims under each kind of ablation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attnres_core.records.schema import ClaimEntry, ColumnEntry, KindEntry, Record, StatementEntry
from attnres_core.report.by_source import by_source
from attnres_core.report.numbers import number

CAUSAL, NO_ROLE, LESS = "causal", "no role", "less"


@dataclass(frozen=True, slots=True)
class PathwayFinding:
    """One claim's decision about one pathway of the trained model."""

    pathway: str
    """`embedding → early mlp`: the family dropped alone, and what reads it."""
    effect: str
    """The rise in loss, nats per token."""
    claim: ClaimEntry


def pathway_findings(record: Record) -> dict[str, list[PathwayFinding]]:
    """The pathways that claims decide, each once, under `causal`, `no role` and `less`; the largest effects first.

    A pathway is `causal` where a SUPPORTED claim says that dropping it alone costs more than a threshold, has `no role`
    where one says that the cost is within a margin, and costs `less` than claimed where such a claim is REFUTED by it.
    """
    drops = {column["name"]: column for column in record["columns"] if _is_pathway(column)}
    found: dict[str, dict[str, tuple[float, PathwayFinding]]] = {CAUSAL: {}, NO_ROLE: {}, LESS: {}}
    for claim in record["claims"]:
        for statement in [] if claim["control"] else claim["statements"]:
            column, what = drops.get(statement["column"]), _decides(claim, statement)
            plain = statement["text"].lstrip("|")[:1].isalpha()  # (neither its negative nor a part of it)
            if column is None or what is None or statement["estimate"] is None or not plain:
                continue
            pathway = f"{column['family']} → {column['layers']} {column['sublayer']}"
            effect = number(statement["estimate"], "nats/token")
            told = statement["estimate"], PathwayFinding(pathway, effect, claim)
            found[what].setdefault(pathway, told)
    return {
        what: [finding for _, finding in sorted(members.values(), key=lambda told: -told[0])]
        for what, members in found.items()
    }


def is_plain_drop(column: ColumnEntry) -> bool:
    """Return whether a column is what a drop costs in loss, all at once, over the run's own prompts as they are."""
    changed = column["per_site"] or column["control"] or column["at"] or column.get("via")
    other = " over " in column["name"]  # (another set's prompts, or a variant's)
    return column["kind"] == "drop" and column["metric"] == "delta_nll" and not (changed or other)


def _is_pathway(column: ColumnEntry) -> bool:
    one_family = column["family"] is not None and column["sublayer"] is not None
    return is_plain_drop(column) and one_family and column["role"] == "trained"


def _decides(claim: ClaimEntry, statement: StatementEntry) -> str | None:
    verdicts = claim["verdict"], statement["verdict"]
    if statement["op"] == "abs<":
        return NO_ROLE if verdicts == ("SUPPORTED", "SUPPORTED") else None
    if statement["op"] != ">" or statement["threshold"] < 0:
        return None
    return {("SUPPORTED", "SUPPORTED"): CAUSAL, ("REFUTED", "REFUTED"): LESS}.get(verdicts)


@dataclass(frozen=True, slots=True)
class KindsTable:
    """The claims that were decided under several kinds of ablation, by source."""

    kinds: tuple[str, ...]
    rows: Mapping[str, list[tuple[ClaimEntry, dict[str, KindEntry]]]]
    """By source: a claim, and what it comes to under each kind."""


def under_each_kind(record: Record) -> KindsTable | None:
    """The table of kinds; None where every claim was decided under one."""
    rows = {
        row.source: [(claim, {each["kind"]: each for each in claim["under"]}) for claim in row.claims if claim["under"]]
        for row in by_source(record["claims"])
    }
    kinds = tuple(dict.fromkeys(each["kind"] for claim in record["claims"] for each in claim["under"]))
    return KindsTable(kinds, {name: members for name, members in rows.items() if members}) if kinds else None
