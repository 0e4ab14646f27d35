"""The reads of each sublayer: mean depth weights of every site, one panel per sublayer and model.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import altair as alt

from attnres_core.records.schema import RoutingEntry
from attnres_core.report.html.figure import Figure, Row, finish, panels_in_rows, rounded, tooltips
from attnres_core.report.html.pathways import ROLES
from attnres_core.report.numbers import number


def routing_heatmap(routing: Mapping[str, RoutingEntry]) -> Figure | None:
    """Mean depth weight at every site, one panel per sublayer and model, on one colour scale."""
    panels: dict[tuple[str, str], list[Row]] = {}
    table: list[tuple[str, ...]] = []
    for role, depth_map in routing.items():
        if not depth_map:
            continue
        numbers = (depth_map["mass"], depth_map["entropy"], depth_map["peak"])
        sites = zip(depth_map["sites"], depth_map["sources"], *numbers, strict=True)
        for site, families, mass, entropy, peak in sites:
            layer, _, sublayer = site.partition(".")
            weights = [
                {
                    "layer": int(layer),
                    "source": place,
                    "family": family or "only source",
                    "mass": rounded(weight),
                    "share": number(weight),
                }
                for place, family, weight in zip(_places(families), families, mass, strict=True)
            ]
            panels.setdefault((sublayer, role), []).extend(weights)
            listed = ", ".join(f"{row['source']} {row['share']}" for row in weights)
            table.append((role, site, listed, number(entropy), number(peak)))
    if not panels:
        return None
    return Figure(
        key="heatmap",
        title="Where each sublayer reads from",
        summary=f"Heatmap of mean depth weights at {len(table)} sites: rows are layers, columns are the "
        "embedding, the completed blocks (in delta models: what was added) in order and the current state.",
        spec=_heatmap(dict(sorted(panels.items(), key=_panel_order))),
        header=("model", "site", "mean depth weights", "entropy, nats", "peak"),
        rows=tuple(table),
    )


def _panel_order(panel: tuple[tuple[str, str], list[Row]]) -> tuple[bool, str, int]:
    sublayer, role = panel[0]
    return sublayer == "final", sublayer, ROLES.index(role) if role in ROLES else len(ROLES)


_NAMED = {"null": "null", "embedding": "emb.", "current": "current", None: "current"}
"""The columns of sources that there is one of; the others are numbered."""


def _places(families: Sequence[str | None]) -> list[str]:
    """The column of each source of a site, from the sources' families."""
    numbers = itertools.count(1)
    return [_NAMED[family] if family in _NAMED else str(next(numbers)) for family in families]


def _heatmap(panels: dict[tuple[str, str], list[Row]]) -> Row:
    rows = [row for panel in panels.values() for row in panel]
    blocks = sorted({int(row["source"]) for row in rows if row["source"].isdecimal()})
    there = {row["source"] for row in rows}
    sources = [place for place in ("null", "emb.", *map(str, blocks), "current") if place in there]
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
        contrast = alt.condition("datum.mass > 0.425", alt.value("#000"), alt.value("#fff"))
        layers.append(base.mark_text(fontSize=10).encode(text=alt.Text("mass:Q", format=".2f"), color=contrast))
    step = {"width": alt.Step(width), "height": alt.Step(height)}
    charts = [
        alt.layer(*layers, data=alt.NamedData(name=f"panel-{index}")).properties(title=f"{sublayer}, {role}", **step)
        for index, (sublayer, role) in enumerate(panels)
    ]
    datasets = {f"panel-{index}": members for index, members in enumerate(panels.values())}
    columns = len({role for _, role in panels})
    spec = finish(alt.concat(*charts, columns=columns, spacing=20), **datasets)
    plot = round(width * len(sources))
    return panels_in_rows(spec, whole=columns * (plot + 66), together=1, fixed=70, flexible=plot, smallest=1.0)
