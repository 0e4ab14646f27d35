"""The forest plots: every claim's deciding estimate and interval on the zone that would support it.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from attnres_core.records.schema import ClaimEntry, StatementEntry
from attnres_core.report import numbers, wording
from attnres_core.report.html.figure import (
    INK,
    Axis,
    Figure,
    Row,
    clamped,
    finish,
    finite,
    rounded,
    tooltips,
)
from attnres_core.report.numbers import given
from attnres_core.report.verdict_signs import SIGNS

DRAWN = {word: (sign.shape, sign.chart) for word, sign in SIGNS.items() if sign.chart is not None}
"""Shape and colour of the verdicts that a chart shows."""
WIDTH, LABELS, NARROW = 430, 472, 300
"""Pixels of the plot, of the claims beside it, and of the plot at least where the window is narrow."""
WHOLE = 1172
"""Pixels of the whole figure: in less, labels stand above their rows and the numbers are left to the list of claims."""
_FALLBACK_BEND = 0.01


def forests(claims: Sequence[ClaimEntry]) -> list[Figure]:
    """One forest plot per unit, the one of most claims first; a row a claim, under their groups.

    The page's script filters and orders rows.
    """
    units: dict[str, list[Row]] = {}
    for group, members in wording.by_group(claims).items():
        for place, claim in members:
            statement = wording.deciding(claim)
            if statement and statement["estimate"] is not None and claim["verdict"] in DRAWN:
                units.setdefault(statement["unit"], []).append(_row(group, place, claim, statement))
    ordered = sorted(units.items(), key=lambda item: -len(item[1]))
    return [_forest(index, unit, rows) for index, (unit, rows) in enumerate(ordered)]


def _row(group: str, place: int, claim: ClaimEntry, statement: StatementEntry) -> Row:
    more = len(claim["statements"]) - 1
    return {
        "claim": place,
        "group": group,
        "label": claim["title"],
        "text": statement["text"] + (f" (and {more} more)" if more else ""),
        "verdict": claim["verdict"],
        "estimate": statement["estimate"],
        "numbers": numbers.number(statement["estimate"], statement["unit"]),
        "limits": wording.limits(statement),
        "against": wording.against(statement),
        "statement": statement,
    }


def _place(rows: list[Row]) -> Axis:
    """Fix the axis of the rows, and on it each row's limits and the zone that would support it."""
    statements: list[StatementEntry] = [row.pop("statement") for row in rows]
    values = [v for s in statements for v in finite(s["estimate"], s["low"], s["high"], s["threshold"])]
    values += [-s["threshold"] for s in statements if s["op"] == "abs<"]
    thresholds = [abs(s["threshold"]) for s in statements if s["threshold"]]
    axis = Axis.over(values, min(thresholds, default=max(map(abs, values)) or _FALLBACK_BEND))
    for row, statement in zip(rows, statements, strict=True):
        edge, within = statement["threshold"], statement["op"] == "abs<"
        row |= clamped(statement["low"], statement["high"], axis)
        row |= {"edge": edge, "far_edge": -edge if within else edge}
        row["zone_low"] = -edge if within else axis.low if statement["op"] == "<" else edge
        row["zone_high"] = axis.high if statement["op"] == ">" else edge
        row |= {name: rounded(row[name]) for name in ("low", "high", "zone_low", "zone_high")}
    return axis


def _number_lines(rows: list[Row]) -> list[Row]:
    """Give every row its line, and return the headings, each on a line of its own."""
    headings: list[Row] = []
    for index, row in enumerate(rows):
        if not headings or headings[-1]["heading"] != row["group"]:
            headings.append({"heading": row["group"], "line": len(headings) + index})
        row["line"] = len(headings) + index
    return headings


def _forest(index: int, unit: str, rows: list[Row]) -> Figure:
    axis, headings = _place(rows), _number_lines(rows)
    words = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in DRAWN}
    counts = ", ".join(f"{count} {verdict.lower()}" for verdict, count in words.items() if count)
    return Figure(
        key=f"forest-{index}",
        title=unit,
        summary=f"Forest plot in {unit}: {len(rows)} claim{'s' if len(rows) > 1 else ''}, {counts}. Each row shows the "
        "estimate with its interval; shading marks where the claim would be supported.",
        spec=finish(_chart(unit, axis), rows=rows, headings=headings) | {"usermeta": _narrow(unit, axis)},
        header=(),
        rows=(),  # the list of claims is its table
    )


def _narrow(unit: str, axis: Axis) -> Row:
    """Return what the page's script draws in place of the chart where the window has fewer pixels than `below`."""
    spec = finish(_chart(unit, axis, narrow=True))
    return {"below": WHOLE, "label": LABELS - 8, "narrow": {name: spec[name] for name in ("layer", "height")}}


def _chart(unit: str, axis: Axis, *, narrow: bool = False) -> Any:
    shapes, colours = zip(*DRAWN.values(), strict=True)
    verdicts = list(DRAWN)
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=verdicts, range=list(colours)), legend=None)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=verdicts, range=list(shapes)), legend=None)
    line = alt.Y("line:O", axis=None)  # (no domain: the lines are those of the rows and headings shown)
    base = alt.Chart().encode(y=line)

    def x(field: str) -> alt.X:
        within = "" if axis.constant is None else f"±{given(axis.constant)}"
        bent = within and (f", log beyond {within}" if narrow else f", linear within {within} and logarithmic beyond")
        ticks = axis.axis(f"{unit}{bent}", orient="top", pixels=NARROW if narrow else WIDTH)
        return alt.X(f"{field}:Q", scale=axis.scale, axis=ticks)

    def edge(field: str) -> Any:
        return base.mark_tick(color=INK, thickness=2, height=15).encode(x=x(field))

    def open_end(field: str, pointer: str) -> Any:
        size = alt.condition(f"datum.{field}_open", alt.value(60), alt.value(0))
        return base.mark_point(shape=pointer, filled=True, opacity=1).encode(x=x(field), color=colour, size=size)

    def words(field: str, at: int, align: alt.Align_T, **style: Any) -> Any:
        mark = base.mark_text(align=align, fontSize=12, color=INK, **style)
        name = "above" if field == "label" and narrow else field
        return mark.encode(x=alt.value(at), text=f"{field}:N").properties(name=f"words_{name}")

    tooltip = tooltips(
        label="claim",
        text="statement",
        verdict="verdict",
        numbers="estimate",
        limits="interval",
        against="threshold",
    )
    left = 0 if narrow else -LABELS
    whole = alt.ExprRef("width") if narrow else LABELS + WIDTH
    headings = words("heading", left, "left", fontWeight="bold", dy=3, limit=whole)
    label = words("label", left, "left", **({"dy": -16} if narrow else {}))  # (the page's script cuts it to its room)
    beside = [] if narrow else [words("numbers", WIDTH + 82, "right"), words("limits", WIDTH + 92, "left")]
    return alt.layer(
        headings.properties(data=alt.NamedData(name="headings")),
        label,
        base.mark_bar(color=INK, opacity=0.16, height=15).encode(x=x("zone_low"), x2="zone_high"),
        edge("edge"),
        edge("far_edge"),
        base.mark_rule(strokeWidth=2).encode(x=x("low"), x2="high", color=colour),
        open_end("low", "triangle-left"),
        open_end("high", "triangle-right"),
        base.mark_point(filled=True, size=85, opacity=1).encode(
            x=x("estimate"), color=colour, shape=shape, tooltip=tooltip
        ),
        *beside,
        data=alt.NamedData(name="rows"),
    ).properties(width=WIDTH, height=alt.Step(42 if narrow else 20))
