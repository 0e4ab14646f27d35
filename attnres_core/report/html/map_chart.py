"""The map, as far as it was measured: mass beside effect, every family at every site, on one scale of layers.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from attnres_core.records.schema import MapCell
from attnres_core.report.html.figure import INK, Figure, Row, cells, finish, panels_in_rows, rounded, tooltips
from attnres_core.report.html.pathways import MATTERS, NO_ROLE
from attnres_core.report.numbers import DASH, interval, number

FAMILIES = ("embedding", "older", "recent", "current")
"""In order of depth; a null source, which few models have, comes before them."""


def whole_map(maps: Mapping[str, Sequence[MapCell]]) -> Figure | None:
    """Paired heatmaps of mass and of the effect of dropping a family there alone, each model below the other."""
    drawn = [_row(role, row) for role, rows in maps.items() for row in rows]
    measured = [row for row in drawn if row["delta_nll"] is not None]
    if not measured:
        return None
    most = max(measured, key=lambda row: float(row["delta_nll"]))
    causal = sum(float(row["delta_nll"]) > MATTERS for row in measured)
    first = next(row for rows in maps.values() for row in rows if "delta_nll" in row)
    return Figure(
        key="map",
        title="Effect of dropping each family at each site",
        summary=f"Heatmaps of {len(drawn)} cells, mass and effect, over {first['n']} {first['split']} documents; "
        f"{len(measured)} effects were measured. {causal} cells rise by more than {MATTERS} nats/token; the largest is "
        f"{most['family']} at {most['site']} ({most['role']}): {most['effect']} nats/token at mass {most['share']}. "
        "Single drops, descriptive: no claim rests on them.",
        left_out=f"{len(measured)} of {len(drawn)} effects were measured; a dash marks the others. Where there is no "
        "cell, the site has no such source.",
        spec=_spec(drawn),
        header=(
            *("model", "site", "family", "mass", "uniform", "effect, nats/token", "95 % t interval", "KL"),
            "identical sources",
        ),
        rows=cells(drawn, "role", "site", "family", "share", "uniform", "effect", "limits", "kl", "note"),
    )


_DRAWN = ("layer", "family", "mass", "delta_nll", "role", "site", "effect", "limits", "share", "uniform", "kl", "note")


def _row(role: str, row: MapCell) -> Row:
    effect, unit = row.get("delta_nll"), "nats/token"
    limits = interval((row.get("delta_nll_low"), row.get("delta_nll_high")), unit)
    return {
        "layer": row["layer"],
        "family": row["family"],
        "sublayer": row["sublayer"],
        "site": row["site"],
        "role": role,
        "mass": rounded(row["mass"]),
        "delta_nll": rounded(effect),
        "effect": number(effect, unit),
        "limits": number(None) if effect is None else limits,
        "share": number(row["mass"]),
        "uniform": number(row["uniform_mass"]),
        "kl": number(row.get("kl"), unit),
        "note": "has an identical twin" if row.get("duplicate") else "none",
    }


DIVERGING = (
    ("#174a84", "#6b9fd0", "#d3d5d6", "#ec9a55", "#963d00"),
    ("#7db9f2", "#2f6ea8", "#2b3237", "#a85a17", "#ffa95c"),
)
"""Of effects from the most negative to the most positive, on light and on dark paper; the middle is zero's."""
CELL, AXIS, GAP = 36, 40, 14
"""Pixels of a cell, left of a panel, and between panels."""


def _spec(rows: list[Row]) -> dict[str, Any]:
    sublayers = [name for name in ("attn", "mlp", "final") if any(row["sublayer"] == name for row in rows)]
    roles = list(dict.fromkeys(row["role"] for row in rows))
    layers = list(range(1 + max(row["layer"] for row in rows)))
    families = ["null"] * any(row["family"] == "null" for row in rows) + list(FAMILIES)
    encodings = {"mass": _mass(), "effect": _effect(rows)}
    charts, datasets = [], dict[str, list[Row]]()
    for role in roles:
        for sublayer in sublayers:
            own = [row for row in rows if (row["role"], row["sublayer"]) == (role, sublayer)]
            effects = any(row["delta_nll"] is not None for row in own)
            names = [name for name in _DRAWN if effects or name not in _COSTS]  # (what a tooltip names, each row has)
            datasets[f"{role}-{sublayer}"] = [
                {name: row[name] for name in names if row[name] is not None} for row in own
            ]
            tooltip = tooltips(**_TOLD, **(_COSTS if effects else {}))
            for name, colour in encodings.items():
                is_last = (role, sublayer) == (roles[-1], sublayers[-1])  # one legend for all that look alike
                shown_colour = colour if is_last else colour.copy().legend(None)
                panel = _panel(name, f"{role}-{sublayer}", shown_colour, tooltip, layers, families)
                charts.append(panel.properties(title=f"{role} {sublayer}: {name}"))
    columns = 2 * len(sublayers)
    shown = alt.concat(*charts, columns=columns, spacing=GAP, align="each").resolve_scale(color="independent")
    width = len(families) * CELL
    whole = columns * (width + AXIS + GAP)
    fixed, flexible = 2 * (AXIS + GAP) + 10, 2 * width
    return panels_in_rows(
        finish(shown, **datasets), whole=whole, together=2, fixed=fixed, flexible=flexible, smallest=0.8
    )


_TOLD = {"role": "model", "site": "site", "family": "family", "share": "mass", "uniform": "uniform mass"}
_COSTS = {"effect": "effect (nats/token)", "limits": "95 % t interval", "kl": "KL", "note": "identical sources"}
_LEGEND: Row = {"orient": "bottom", "direction": "horizontal", "gradientLength": len(FAMILIES) * CELL - 10}


def _mass() -> alt.Color:
    legend = alt.Legend(format="~g", values=[0, 0.5, 1], **_LEGEND)
    return alt.Color("mass:Q", title="mass", scale=alt.Scale(domain=[0, 1], scheme="viridis"), legend=legend)


def _effect(rows: list[Row]) -> alt.Color:
    """A colour for each sign, and grey for zero; on dark paper zero is dark."""
    top = max(2 * MATTERS, *(abs(float(row["delta_nll"])) for row in rows if row["delta_nll"] is not None))
    colours: list[Any] = [alt.ExprRef(f"dark ? '{dark}' : '{light}'") for light, dark in zip(*DIVERGING, strict=True)]
    return alt.Color(
        "delta_nll:Q",
        title="rise, nats/token",
        scale=alt.Scale(
            type="symlog", constant=NO_ROLE, domain=[-top, -MATTERS, 0, MATTERS, top], range=colours, interpolate="lab"
        ),
        legend=alt.Legend(format=".2~g", values=[-top, 0, top], **_LEGEND),
    )


def _panel(
    name: str, data: str, colour: alt.Color, tooltip: list[alt.Tooltip], layers: list[int], families: list[str]
) -> Any:
    """One heatmap; a dash where a family is there and its effect was not measured."""
    height = min(22, max(9, 420 // len(layers)))
    x = alt.X("family:N", scale=alt.Scale(domain=families), axis=alt.Axis(title=None, labelAngle=-90, grid=False))
    layer = alt.Axis(title=None, grid=False, labelOverlap=True, domain=False)
    y = alt.Y("layer:O", scale=alt.Scale(domain=layers), axis=layer)
    base = alt.Chart(alt.NamedData(name=data)).encode(x=x, y=y, tooltip=tooltip)
    cell = base.mark_rect(stroke="transparent").encode(color=colour)
    size = {"width": alt.Step(CELL), "height": alt.Step(height)}
    if name == "mass":
        return cell.properties(**size)
    cell = cell.transform_filter("isValid(datum.delta_nll)")
    dash = base.transform_filter("!isValid(datum.delta_nll)").mark_text(text=DASH, color=INK)
    return alt.layer(cell, dash).properties(**size)
