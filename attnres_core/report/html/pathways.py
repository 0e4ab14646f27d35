"""The pathways: mass against effect as points, and side by side, for each model beside the others.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from attnres_core.records.schema import ColumnEntry
from attnres_core.report.html.answer import is_plain_drop
from attnres_core.report.html.figure import (
    INK,
    Axis,
    Figure,
    Row,
    cells,
    clamped,
    finish,
    finite,
    panels_in_rows,
    rounded,
    tooltips,
)
from attnres_core.report.numbers import DASH, interval, number

MATTERS, NO_ROLE = 0.02, 0.01
"""Nats per token: the effect that counts as causal, and the margin within which there is no role."""
FAMILY_COLOURS = {"embedding": "#d39a00", "current": "#7d5fd0", "recent": "#12a07c", "older": "#d0659d"}
SUBLAYER_SHAPES = {"attn": "circle", "mlp": "square", "final": "triangle-up"}
ROLES = ("trained", "wrapped", "untrained")
"""The models drawn, in order; the others are in the claims' own tables."""
_SPLITS = ("confirmation", "exploration")


BANDS = ("early", "mid", "late", "all")


def family_drops(columns: Sequence[ColumnEntry]) -> list[ColumnEntry]:
    """The columns that drop one family in one band of one sublayer, each once."""
    chosen: dict[tuple[str | None, ...], ColumnEntry] = {}
    for column in columns:
        known = column["family"] in FAMILY_COLOURS and column["sublayer"] in SUBLAYER_SHAPES and column["role"] in ROLES
        if not is_plain_drop(column) or not known or column["mass"] is None or column["mean"] is None:
            continue
        key = (column["role"], column["family"], column["sublayer"], column["layers"])
        if key not in chosen or _split_rank(column) < _split_rank(chosen[key]):
            chosen[key] = column
    return list(chosen.values())


def mass_against_effect(columns: Sequence[ColumnEntry]) -> Figure | None:
    """Every family drop: the depth weight it removes against the loss it causes."""
    drops = family_drops(columns)
    if not drops:
        return None
    values = [v for c in drops for v in finite(c["mean"], c["low"], c["high"])]
    axis = Axis.over([*values, MATTERS, -NO_ROLE], NO_ROLE, symlog=True)
    rows: list[Row] = [
        clamped(rounded(c["low"]), rounded(c["high"]), axis)
        | {
            "role": c["role"],
            "family": c["family"],
            "sublayer": c["sublayer"],
            "layers": c["layers"],
            "mass": rounded(c["mass"]),
            "mean": rounded(c["mean"]),
            "uniform": rounded(c["uniform"]),
            "pathway": f"{c['family']} → {c['layers']} {c['sublayer']}",
            "n": c["n"],
            "effect": number(c["mean"], "nats/token"),
            "share": number(c["mass"]),
            "even": number(c["uniform"]),
            "limits": interval((c["low"], c["high"]), "nats/token"),
            "note": ", ".join(c["duplicates"]) or "none",
        }
        for c in drops
    ]
    most = max(rows, key=lambda row: float(row["mean"]))
    others = len(columns) - len(drops)
    return Figure(
        key="scatter",
        title="Mass against effect",
        summary=f"Scatter of {len(rows)} family drops, mass against rise in loss. The largest effect is "
        f"{most['pathway']} on {most['role']}: {most['effect']} nats/token at mass {most['share']}.",
        spec=_scatter(rows, axis),
        header=("model", "dropped", "mass", "mass if uniform", "effect, nats/token", "interval", "identical sources"),
        rows=cells(rows, "role", "pathway", "share", "even", "effect", "limits", "note"),
        left_out=f"{len(rows)} of {len(columns)} measured columns are drawn: those that drop one family in one band of "
        f"layers of one sublayer. The other {others} are combined drops, other kinds, metrics and models, and single "
        "sites; the claims show those that they rest on."
        if others
        else "",
    )


def _split_rank(column: ColumnEntry) -> int:
    return _SPLITS.index(column["split"])


PLOT_HEIGHT, AXIS = 380, 62
"""Pixels of the scatter's plots, and of what stands left of each."""


def _scatter(rows: list[Row], axis: Axis) -> Row:
    panels: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: ROLES.index(row["role"]) if row["role"] in ROLES else len(ROLES)):
        panels.setdefault(row["role"], []).append(row)
    width = {1: 760, 2: 510}.get(len(panels), 312)
    mass = alt.X(
        "mass:Q",
        scale=alt.Scale(domain=[-0.02, 1.02], nice=False),
        axis=alt.Axis(title="mass: mean depth weight", values=[0, 0.2, 0.4, 0.6, 0.8, 1], format="~g"),
    )
    families = [family for family in FAMILY_COLOURS if any(row["family"] == family for row in rows)]
    sublayers = [sublayer for sublayer in SUBLAYER_SHAPES if any(row["sublayer"] == sublayer for row in rows)]
    legend: Row = {"orient": "bottom", "direction": "horizontal", "symbolOpacity": 1, "columns": 2}
    colour = alt.Color(
        "family:N",
        scale=alt.Scale(domain=families, range=[FAMILY_COLOURS[family] for family in families]),
        legend=alt.Legend(title="family dropped", **legend),
    )
    shape = alt.Shape(
        "sublayer:N",
        scale=alt.Scale(domain=sublayers, range=[SUBLAYER_SHAPES[sublayer] for sublayer in sublayers]),
        legend=alt.Legend(title="read by", symbolFillColor=INK, symbolStrokeColor=INK, **legend),
    )
    tooltip = tooltips(
        pathway="dropped",
        role="model",
        effect="effect (nats/token)",
        limits="interval",
        share="mass",
        even="mass if uniform",
        n="prompts",
        note="identical sources",
    )
    backdrop = alt.Chart(alt.NamedData(name="levels"))

    def y(field: str) -> alt.Y:
        title = "rise in loss when dropped (nats/token)"
        return alt.Y(f"{field}:Q", scale=axis.scale, axis=axis.axis(title, orient="left", pixels=PLOT_HEIGHT))

    def words(field: str, content: str) -> Any:
        mark = backdrop.mark_text(align="right", baseline="bottom", dx=-2, dy=-2, fontSize=11, color=INK, text=content)
        return mark.encode(x=alt.value("width"), y=y(field)).properties(name=f"words_{field}")

    levels = [
        backdrop.mark_rect(color=INK, opacity=0.16).encode(y=y("below"), y2="above"),
        backdrop.mark_rule(color=INK, strokeDash=[2, 3]).encode(y=y("above")),
        backdrop.mark_rule(color=INK, strokeDash=[6, 3]).encode(y=y("matters")),
    ]
    base = alt.Chart().encode(x=mass, color=colour)
    points = [
        base.mark_rule(opacity=0.45, strokeDash=[1, 3]).encode(y=y("mean"), x2="uniform"),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(y=y("low"), y2="high"),
        base.mark_point(filled=True, size=75, opacity=0.9).encode(y=y("mean"), shape=shape, tooltip=tooltip),
    ]
    names = [words("matters", f"matters: above {MATTERS}"), words("below", f"no effect beyond ±{NO_ROLE}")]
    charts = [
        alt.layer(
            *levels, *points, *(names if index == 0 else []), data=alt.NamedData(name=f"panel-{index}")
        ).properties(title=role, width=width, height=PLOT_HEIGHT)
        for index, role in enumerate(panels)
    ]
    datasets = {f"panel-{index}": members for index, members in enumerate(panels.values())}
    level = {"below": -NO_ROLE, "above": NO_ROLE, "matters": MATTERS}
    spec = finish(alt.concat(*charts, columns=len(charts), spacing=20), levels=[level], **datasets)
    whole = len(charts) * (width + AXIS + 20)
    return panels_in_rows(spec, whole=whole, together=1, fixed=AXIS + 8, flexible=width, smallest=0.5)


def mass_beside_effect(columns: Sequence[ColumnEntry]) -> Figure | None:
    """Mass as bars beside effects as points, every family in every band: each model beside the others."""
    drops = sorted(family_drops(columns), key=_place)
    if not drops:
        return None
    axis = Axis.over([v for c in drops for v in finite(c["mean"], c["low"], c["high"])], NO_ROLE, symlog=True)
    pathways = {_name(c): c["family"] for c in drops}
    roles = [role for role in ROLES if any(c["role"] == role for c in drops)]
    measured = {role: [_pair(c, axis) for c in drops if c["role"] == role] for role in roles}
    missing = {
        role: [{"pathway": name} for name in pathways if name not in {row["pathway"] for row in rows}]
        for role, rows in measured.items()
    }
    absent = ", ".join(f"{len(rows)} on {role}" for role, rows in missing.items() if rows)
    return Figure(
        key="pairs",
        title="Mass beside effect",
        summary=f"Mass as bars, and the rise in loss when dropped as points, for {len(pathways)} pathways on the "
        f"{', '.join(roles)} models; a tick is the mass that uniform weights would give.",
        spec=_pairs(measured, missing, list(pathways), axis),
        header=(),
        rows=(),  # the scatter's table has them
        left_out=f"A dash marks what was not measured: {absent}." if absent else "",
    )


def _pair(column: ColumnEntry, axis: Axis) -> Row:
    return clamped(rounded(column["low"]), rounded(column["high"]), axis) | {
        "role": column["role"],
        "family": column["family"],
        "mass": rounded(column["mass"]),
        "mean": rounded(column["mean"]),
        "uniform": rounded(column["uniform"]),
        "pathway": _name(column),
        "effect": number(column["mean"], "nats/token"),
        "share": number(column["mass"]),
        "even": number(column["uniform"]),
        "limits": interval((column["low"], column["high"]), "nats/token"),
    }


def _name(column: ColumnEntry) -> str:
    return f"{column['layers']} {column['sublayer']} ← {column['family']}"


def _place(column: ColumnEntry) -> tuple[int, ...]:
    assert column["sublayer"] is not None, "a drop reads one sublayer's sources"
    assert column["family"] is not None, "a family drop has a family"
    bands = BANDS.index(column["layers"]) if column["layers"] in BANDS else len(BANDS)
    return list(SUBLAYER_SHAPES).index(column["sublayer"]), bands, list(FAMILY_COLOURS).index(column["family"])


LABELS, MASS, EFFECT, GAP = 160, 90, 206, 14
"""Pixels of the pathways' names, of the two plots of a model, and between plots."""


def _pairs(measured: dict[str, list[Row]], missing: dict[str, list[Row]], pathways: list[str], axis: Axis) -> Row:
    charts = [
        panel.properties(title=f"{role}: {measure}", width=width, height=alt.Step(17))
        for index, role in enumerate(measured)
        for measure, panel, width in (
            ("mass", _masses(role, pathways, first=index == 0), MASS),
            ("effect", _effects(role, pathways, axis), EFFECT),
        )
    ]
    datasets = {f"pairs-{role}": rows for role, rows in measured.items()}
    datasets |= {f"missing-{role}": rows for role, rows in missing.items()}
    spec = finish(alt.concat(*charts, columns=len(charts), spacing=GAP, align="each"), **datasets)
    whole = LABELS + len(measured) * (MASS + EFFECT + 2 * GAP) + 2 * GAP
    return panels_in_rows(spec, whole=whole, together=2, fixed=LABELS + 4 * GAP, flexible=MASS + EFFECT, smallest=0.5)


def _beside(role: str, pathways: list[str], labels: alt.Axis, *marks: Any, shift: int) -> Any:
    """The marks of one model's panel, and a dash where a pathway was not measured."""
    y = alt.Y("pathway:N", scale=alt.Scale(domain=pathways), axis=labels)
    dash = alt.Chart(alt.NamedData(name=f"missing-{role}")).mark_text(text=DASH, color=INK, align="left", dx=shift)
    dashes = dash.encode(y=y, x=alt.value(0), tooltip=tooltips(pathway="not measured"))
    return alt.layer(*[mark.encode(y=y) for mark in marks], dashes, data=alt.NamedData(name=f"pairs-{role}"))


_TOLD = {"pathway": "pathway", "role": "model", "share": "mass", "even": "mass if uniform", "effect": "effect"}
_FAMILY = alt.Color(
    "family:N", scale=alt.Scale(domain=list(FAMILY_COLOURS), range=list(FAMILY_COLOURS.values())), legend=None
)


def _masses(role: str, pathways: list[str], *, first: bool) -> Any:
    """Bars from 0 on a linear scale, ended by a line, so that a mass of 0 is seen; a tick where weights are uniform."""
    shown = "datum.label" if first else "stacked ? datum.label : ''"  # (`stacked`: see `figure.finish`)
    labels = alt.Axis(title=None, grid=False, ticks=False, domain=False, labelLimit=LABELS, labelExpr=shown)
    share = alt.Axis(title="mass", format="~g", values=[0, 0.5, 1])
    mass = alt.X("mass:Q", scale=alt.Scale(domain=[0, 1]), axis=share)
    tooltip = tooltips(**_TOLD, limits="interval")
    bar = alt.Chart().mark_bar(height=11, opacity=0.6).encode(x=mass, color=_FAMILY, tooltip=tooltip)
    end = alt.Chart().mark_tick(thickness=2.5, height=11).encode(x=mass, color=_FAMILY, tooltip=tooltip)
    uniform = alt.Chart().mark_tick(color=INK, thickness=2, height=15).encode(x="uniform:Q")
    return _beside(role, pathways, labels, bar, end, uniform, shift=8)


def _effects(role: str, pathways: list[str], axis: Axis) -> Any:
    """Points with their intervals: on a bent scale a bar's length says nothing."""
    ticks = axis.axis("nats/token", "bottom", EFFECT)
    labels = alt.Axis(labels=False, title=None, ticks=False, domain=False, grid=True)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=axis.scale, axis=ticks)

    limits = alt.Chart().mark_rule(strokeWidth=1.5).encode(x=x("low"), x2="high", color=_FAMILY)
    tooltip = tooltips(**_TOLD, limits="interval")
    point = alt.Chart().mark_point(filled=True, size=46, opacity=1).encode(x=x("mean"), color=_FAMILY, tooltip=tooltip)
    return _beside(role, pathways, labels, limits, point, shift=4)
