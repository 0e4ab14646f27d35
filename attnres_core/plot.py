"""Figures of a run's record, for a notebook or a paper: `ac.plot.forest(ac.load_record("reports/latest.json"))`."""

from __future__ import annotations

import json
from typing import Any

import altair

from attnres_core.report.card import having
from attnres_core.report.html.figure import INK
from attnres_core.report.html.forest import forests
from attnres_core.report.loaded import LoadedRecord

__all__ = ["forest"]

PRINTED_INK = "#24292e"


def forest(record: LoadedRecord, only: str = "") -> altair.VConcatChart:
    """Draw every claim's deciding estimate and interval on the zone that would support it, as the report does.

    Args:
        record: from `load_record`.
        only: draw claims with this in their key or title alone.

    Returns:
        An Altair chart for white paper, with one plot below the other for each unit. `.save("forest.svg")` writes it.

    Raises:
        ValueError: it is no such record, or there is no claim to draw.
    """
    if not isinstance(record, LoadedRecord):
        raise ValueError(f"`record` is {record!r}; give what `load_record(path)` returns")
    figures = forests(having(record.record["claims"], only, "the record"))
    if not figures:
        raise ValueError("no claim of the record has an estimate to draw; load one with decided claims")
    config = _inked(figures[0].spec["config"]) | {"background": "#ffffff"}
    drawn = [altair.LayerChart.from_dict(_inked(_alone(figure.spec))) for figure in figures]
    return altair.vconcat(*drawn, config=altair.Config.from_dict(config))


def _inked(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec in black, as the page's own exports are, in place of the grey that both of its papers can show."""
    inked: dict[str, Any] = json.loads(json.dumps(spec).replace(INK, PRINTED_INK))
    return inked


def _alone(spec: dict[str, Any]) -> dict[str, Any]:
    """A figure's spec with the rows that it names inside, so that it can stand beside others."""
    rows = spec["datasets"]

    def filled(part: Any) -> Any:
        if isinstance(part, list):
            return [filled(each) for each in part]
        if not isinstance(part, dict):
            return part
        if part.keys() == {"name"} and part["name"] in rows:
            return {"values": rows[part["name"]]}
        own = part.keys() - {"name"} if "mark" in part else part.keys()  # (views of one name would share their rows)
        return {key: filled(value) for key, value in part.items() if key in own}

    return {key: filled(value) for key, value in spec.items() if key not in ("config", "datasets", "usermeta")}
