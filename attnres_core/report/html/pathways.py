"""The pathways: mass against effect as points and as bars, for each model beside the others.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from attnres_core.records.schema import ColumnEntry
from attnres_core.report.html.figure import (
    INK,
    Axis,
    Figure,
    Row,
    cells,
    clamped,
    finish,
    finite,
    rounded,
    tooltips,
)
from attnres_core.report.numbers import interval, number

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
        is_drop = column["kind"] == "drop" and column["metric"] == "delta_nll" and column["family"] in FAMILY_COLOURS
        shown = column["role"] in ROLES and not column["per_site"] and not (column["control"] or column["at"])
        if not is_drop or not shown or column["mass"] is None or column["mean"] is None:
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
    return Figure(
        key="scatter",
        title="Mass against effect",
        summary=f"Scatter of {len(rows)} family drops, mass against rise in loss. The largest effect is "
        f"{most['pathway']} on {most['role']}: {most['effect']} nats/token at mass {most['share']}.",
        spec=_scatter(rows, axis),
        header=("model", "dropped", "mass", "mass if uniform", "effect, nats/token", "interval", "identical sources"),
        rows=cells(rows, "role", "pathway", "share", "even", "effect", "limits", "note"),
    )


def _split_rank(column: ColumnEntry) -> int:
    return _SPLITS.index(column["split"])


def _scatter(rows: list[Row], axis: Axis) -> Row:
    panels: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: ROLES.index(row["role"]) if row["role"] in ROLES else len(ROLES)):
        panels.setdefault(row["role"], []).append(row)
    width = {1: 760, 2: 510}.get(len(panels), 310)
    mass = alt.X(
        "mass:Q",
        scale=alt.Scale(domain=[-0.02, 1.02], nice=False),
        axis=alt.Axis(title="mass: mean depth weight on the family", values=[0, 0.2, 0.4, 0.6, 0.8, 1], format="~g"),
    )
    families = [family for family in FAMILY_COLOURS if any(row["family"] == family for row in rows)]
    sublayers = [sublayer for sublayer in SUBLAYER_SHAPES if any(row["sublayer"] == sublayer for row in rows)]
    legend: Row = {"orient": "bottom", "direction": "horizontal", "symbolOpacity": 1}
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
        return alt.Y(f"{field}:Q", scale=axis.scale, axis=axis.axis(title, orient="left"))

    def words(field: str, content: str) -> Any:
        mark = backdrop.mark_text(align="right", baseline="bottom", dy=-2, fontSize=11, color=INK, text=content)
        return mark.encode(x=alt.value(width - 2), y=y(field)).properties(name=f"words_{field}")

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
    names = [words("matters", f"matters: above {MATTERS}"), words("below", f"no role: within ±{NO_ROLE}")]
    charts = [
        alt.layer(
            *levels, *points, *(names if index == 0 else []), data=alt.NamedData(name=f"panel-{index}")
        ).properties(title=role, width=width, height=380)
        for index, role in enumerate(panels)
    ]
    datasets = {f"panel-{index}": members for index, members in enumerate(panels.values())}
    level = {"below": -NO_ROLE, "above": NO_ROLE, "matters": MATTERS}
    return finish(alt.concat(*charts, columns=3, spacing=20), levels=[level], **datasets)


def mass_beside_effect(columns: Sequence[ColumnEntry]) -> Figure | None:
    """Bars of mass beside bars of effect, every family in every band: each model beside the others."""
    drops = family_drops(columns)
    if not drops:
        return None
    axis = Axis.over([v for c in drops for v in finite(c["mean"], c["low"], c["high"])], NO_ROLE, symlog=True)
    rows: list[Row] = [
        clamped(rounded(c["low"]), rounded(c["high"]), axis)
        | {
            "role": c["role"],
            "family": c["family"],
            "mass": rounded(c["mass"]),
            "mean": rounded(c["mean"]),
            "uniform": rounded(c["uniform"]),
            "pathway": f"{c['layers']} {c['sublayer']} ← {c['family']}",
            "place": _place(c),
            "effect": number(c["mean"], "nats/token"),
            "share": number(c["mass"]),
            "even": number(c["uniform"]),
            "limits": interval((c["low"], c["high"]), "nats/token"),
        }
        for c in sorted(drops, key=_place)
    ]
    roles = [role for role in ROLES if any(row["role"] == role for row in rows)]
    pathways = list(dict.fromkeys(row["pathway"] for row in rows))
    return Figure(
        key="bars",
        title="Mass beside effect",
        summary=f"Bars of mass and of the rise in loss when dropped, for {len(pathways)} pathways on the "
        f"{', '.join(roles)} models; a tick is the mass that uniform weights would give. No bar: not measured.",
        spec=_bars({role: [row for row in rows if row["role"] == role] for role in roles}, pathways, axis),
        header=(),
        rows=(),  # the scatter's table has them
    )


def _place(column: ColumnEntry) -> tuple[int, ...]:
    assert column["sublayer"] is not None, "a drop reads one sublayer's sources"
    assert column["family"] is not None, "a family drop has a family"
    bands = BANDS.index(column["layers"]) if column["layers"] in BANDS else len(BANDS)
    return list(SUBLAYER_SHAPES).index(column["sublayer"]), bands, list(FAMILY_COLOURS).index(column["family"])


def _bars(rows: dict[str, list[Row]], pathways: list[str], axis: Axis) -> Row:
    families = alt.Scale(domain=list(FAMILY_COLOURS), range=list(FAMILY_COLOURS.values()))
    told = {"pathway": "pathway", "role": "model", "share": "mass", "even": "mass if uniform", "effect": "effect"}
    share = alt.Axis(title="mass", format="~g", values=[0, 0.5, 1])
    charts: list[Any] = []
    for role in rows:
        for measure in ("mass", "effect"):
            labels = alt.Axis(title=None, grid=False, ticks=False, domain=False, labels=not charts, labelLimit=220)
            base = alt.Chart().encode(y=alt.Y("pathway:N", scale=alt.Scale(domain=pathways), axis=labels))
            bar = base.mark_bar(height=11).encode(
                color=alt.Color("family:N", scale=families, legend=None), tooltip=tooltips(**told, limits="interval")
            )
            if measure == "mass":
                mark, width = base.mark_tick(color=INK, thickness=2).encode(x="uniform:Q"), 90
                bar = bar.encode(x=alt.X("mass:Q", scale=alt.Scale(domain=[0, 1]), axis=share))
            else:
                low, width = alt.X("low:Q", scale=axis.scale), 200
                mark = base.mark_rule(color=INK, strokeWidth=1.5).encode(x=low, x2="high")
                bar = bar.encode(
                    x=alt.X("mean:Q", scale=axis.scale, axis=axis.axis("rise in loss, nats/token", "bottom"))
                )
            panel = alt.layer(bar, mark, data=alt.NamedData(name=f"bars-{role}"))
            charts.append(panel.properties(title=f"{role}: {measure}", width=width, height=alt.Step(17)))
    return finish(alt.hconcat(*charts, spacing=14), **{f"bars-{role}": members for role, members in rows.items()})
