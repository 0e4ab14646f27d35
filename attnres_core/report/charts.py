"""The pathways: mass against effect, and where each sublayer reads from.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from attnres_core.report import text
from attnres_core.report.figure import INK, Axis, Figure, Row, cells, clamped, finish, finite, tooltips

MATTERS, NO_ROLE = 0.02, 0.01
"""Nats per token: the effect that counts as causal, and the margin within which there is no role."""
FAMILY_COLOURS = {"embedding": "#d39a00", "current": "#7d5fd0", "recent": "#12a07c", "older": "#d0659d"}
SUBLAYER_SHAPES = {"attn": "circle", "mlp": "square", "final": "triangle-up"}
_ROLES = ("trained", "wrapped", "untrained")
"""The models drawn, in order; the others are in the claims' own tables."""
_SPLITS = ("confirmation", "exploration")


def mass_against_effect(columns: list[Row]) -> Figure | None:
    """Every family drop: the depth weight it removes against the loss it causes."""
    chosen: dict[tuple[str, ...], Row] = {}
    for column in columns:
        is_drop = column["kind"] == "drop" and column["metric"] == "delta_nll" and column["family"] in FAMILY_COLOURS
        shown = column["role"] in _ROLES and not column["per_site"] and not (column["control"] or column["at"])
        if not is_drop or not shown or column["mass"] is None or column["mean"] is None:
            continue
        key = (column["role"], column["family"], column["sublayer"], column["layers"])
        if key not in chosen or _split_rank(column) < _split_rank(chosen[key]):
            chosen[key] = column
    if not chosen:
        return None
    drops = list(chosen.values())
    values = [v for c in drops for v in finite(c["mean"], c["low"], c["high"])]
    axis = Axis.over([*values, MATTERS, -NO_ROLE], NO_ROLE, symlog=True)
    rows = [
        {key: c[key] for key in ("role", "family", "sublayer", "layers", "mass", "mean")}
        | clamped(c["low"], c["high"], axis)
        | {
            "pathway": f"{c['family']} → {c['layers']} {c['sublayer']}",
            "n": c["n"],
            "effect": text.number(c["mean"], "nats/token"),
            "share": text.number(c["mass"]),
            "limits": text.interval((c["low"], c["high"]), "nats/token"),
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
        header=("model", "dropped", "mass", "effect, nats/token", "interval", "identical sources"),
        rows=cells(rows, "role", "pathway", "share", "effect", "limits", "note"),
    )


def _split_rank(column: Row) -> int:
    return _SPLITS.index(column["split"]) if column["split"] in _SPLITS else len(_SPLITS)


def _scatter(rows: list[Row], axis: Axis) -> Row:
    panels: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: _ROLES.index(row["role"]) if row["role"] in _ROLES else len(_ROLES)):
        panels.setdefault(row["role"], []).append(row)
    width = 510 if len(panels) > 1 else 760
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
        n="prompts",
        note="identical sources",
    )
    backdrop = alt.Chart(alt.NamedData(name="levels"))

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=axis.scale, axis=axis.axis("rise in loss when dropped (nats/token)"))

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
    return finish(alt.concat(*charts, columns=2, spacing=20), levels=[level], **datasets)


def routing_heatmap(routing: dict[str, Row]) -> Figure | None:
    """Mean depth weight at every site, one panel per sublayer and model, on one colour scale."""
    panels: dict[tuple[str, str], list[Row]] = {}
    table: list[tuple[str, ...]] = []
    for role, depth_map in routing.items():
        if not depth_map:
            continue
        sites = zip(*(depth_map[key] for key in ("sites", "sources", "mass", "entropy", "peak")), strict=True)
        for site, families, mass, entropy, peak in sites:
            layer, _, sublayer = site.partition(".")
            weights = [
                {
                    "layer": int(layer),
                    "source": _place(index, len(mass)),
                    "family": family or "only source",
                    "mass": weight,
                    "share": text.number(weight),
                }
                for index, (family, weight) in enumerate(zip(families, mass, strict=True))
            ]
            panels.setdefault((sublayer, role), []).extend(weights)
            listed = ", ".join(f"{row['source']} {row['share']}" for row in weights)
            table.append((role, site, listed, text.number(entropy), text.number(peak)))
    if not panels:
        return None
    return Figure(
        key="heatmap",
        title="Where each sublayer reads from",
        summary=f"Heatmap of mean depth weights at {len(table)} sites: rows are layers, columns are the "
        "embedding, the completed blocks in order and the current state.",
        spec=_heatmap(dict(sorted(panels.items(), key=_panel_order))),
        header=("model", "site", "mean depth weights", "entropy, nats", "peak"),
        rows=tuple(table),
    )


def _panel_order(panel: tuple[tuple[str, str], list[Row]]) -> tuple[bool, str, str]:
    sublayer, role = panel[0]
    return sublayer == "final", sublayer, role


def _place(index: int, num_sources: int) -> str:
    if index == num_sources - 1:
        return "current"
    return str(index) if index else "emb."


def _heatmap(panels: dict[tuple[str, str], list[Row]]) -> Row:
    rows = [row for panel in panels.values() for row in panel]
    blocks = sorted({int(row["source"]) for row in rows if row["source"].isdecimal()})
    sources = ["emb.", *map(str, blocks), "current"]
    num_layers = len({row["layer"] for row in rows})
    width, height = min(46.0, max(3.0, 216 / len(sources))), min(22, max(9, 420 // num_layers))
    x = alt.X(
        "source:N",
        scale=alt.Scale(domain=sources),
        axis=alt.Axis(title="source", labelAngle=0, grid=False, labelOverlap=True, domain=False),
    )
    y = alt.Y("layer:O", axis=alt.Axis(title="layer", grid=False, labelOverlap=True, domain=False))
    weight = alt.Color(
        "mass:Q",
        title="mean depth weight",
        scale=alt.Scale(domain=[0, 1], scheme="viridis"),
        legend=alt.Legend(orient="bottom", direction="horizontal", gradientLength=300, format="~g"),
    )
    tooltip = tooltips(layer="layer", source="source", family="family", share="mean weight")
    base = alt.Chart().encode(x=x, y=y)
    layers = [base.mark_rect(stroke="transparent", strokeWidth=1).encode(color=weight, tooltip=tooltip)]
    if width >= 30 and height >= 13:
        contrast = alt.condition("datum.mass > 0.55", alt.value("#101418"), alt.value("#f4f6f8"))
        layers.append(base.mark_text(fontSize=10).encode(text=alt.Text("mass:Q", format=".2f"), color=contrast))
    step = {"width": alt.Step(width), "height": alt.Step(height)}
    charts = [
        alt.layer(*layers, data=alt.NamedData(name=f"panel-{index}")).properties(title=f"{sublayer}, {role}", **step)
        for index, (sublayer, role) in enumerate(panels)
    ]
    datasets = {f"panel-{index}": members for index, members in enumerate(panels.values())}
    return finish(alt.concat(*charts, columns=4, spacing=20), **datasets)
