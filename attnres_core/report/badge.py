"""A run as a badge: what a shields.io endpoint reads, https://shields.io/badges/endpoint-badge."""

from __future__ import annotations

from attnres_core.records.schema import Record
from attnres_core.report.by_source import changed
from attnres_core.report.wording import DECIDED, control_failed, counted

LABEL = "attnres claims"
WRONG, OPEN, SOUND = "red", "yellow", "blue"
"""Colours. Blue stands for any verdict on the model: a REFUTED claim is a finding, not a failure."""


def badge(record: Record) -> dict[str, object]:
    """Return the badge's JSON object.

    It is red where a claim could not be decided, a control did not hold or a verdict is not the expected one. It is
    yellow where the run is incomplete, leaves registered claims out, or holds none, so that it confirms nothing.
    """
    claims = record["claims"]
    counts = counted(claims, control=False)
    told = [f"{counts[verdict]} {verdict.lower()}" for verdict in DECIDED if counts[verdict]]
    wrong = any(claim["verdict"] == "ERROR" or control_failed(claim) or changed(claim) for claim in claims)
    own = sum(claim["registration"] in ("registered", "post hoc") for claim in claims)
    confirms = record["complete"] and own > 0 and own >= record["settings"]["registrations"]["claims"]
    return {
        "schemaVersion": 1,
        "label": LABEL,
        "message": ", ".join(told) or "none decided",
        "color": WRONG if wrong else SOUND if confirms else OPEN,
    }
