"""The map, as far as it was measured: mass beside effect, every family at every site, on one scale of layers.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from attnres_core.records.schema import MapCell
from attnres_core.report.html.figure import Figure, Row, cells, finish, rounded, tooltips
from attnres_core.report.html.pathways import MATTERS, NO_ROLE
from attnres_core.report.numbers import interval, number

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


def _spec(rows: list[Row]) -> dict[str, Any]:
    sublayers = [name for name in ("attn", "mlp", "final") if any(row["sublayer"] == name for row in rows)]
    top = max(NO_ROLE, *(abs(float(row["delta_nll"])) for row in rows if row["delta_nll"] is not None))
    height = min(22, max(9, 420 // len({row["layer"] for row in rows})))
    families = ["null"] * any(row["family"] == "null" for row in rows) + list(FAMILIES)
    x = alt.X("family:N", scale=alt.Scale(domain=families), axis=alt.Axis(title=None, labelAngle=-40, grid=False))
    y = alt.Y("layer:O", axis=alt.Axis(title="layer", grid=False, labelOverlap=True, domain=False))
    legend: Row = {"orient": "bottom", "direction": "horizontal", "gradientLength": 220, "format": "~g"}
    mass = alt.Color(
        "mass:Q", title="mass", scale=alt.Scale(domain=[0, 1], scheme="viridis"), legend=alt.Legend(**legend)
    )
    effect = alt.Color(
        "delta_nll:Q",
        title="rise in loss, nats/token",
        scale=alt.Scale(type="symlog", constant=NO_ROLE, domain=[-top, top], scheme="blueorange"),
        legend=alt.Legend(values=[-top, -MATTERS, MATTERS, top], **legend),
    )
    told = {"role": "model", "site": "site", "family": "family", "share": "mass", "uniform": "uniform mass"}
    costs = {"effect": "effect (nats/token)", "limits": "95 % t interval", "kl": "KL", "note": "identical sources"}
    charts, datasets = [], dict[str, list[Row]]()
    for role in dict.fromkeys(row["role"] for row in rows):
        for sublayer in sublayers:
            own = [row for row in rows if (row["role"], row["sublayer"]) == (role, sublayer)]
            effects = any(row["delta_nll"] is not None for row in own)
            names = [name for name in _DRAWN if effects or name not in costs]  # (what a tooltip names, each row has)
            datasets[f"{role}-{sublayer}"] = [
                {name: row[name] for name in names if row[name] is not None} for row in own
            ]
            tooltip = tooltips(**told, **(costs if effects else {}))
            for name, colour in (("mass", mass), ("effect", effect)) if effects else (("mass", mass),):
                cell = alt.Chart(alt.NamedData(name=f"{role}-{sublayer}")).mark_rect(stroke="transparent")
                shown = cell.transform_filter("isValid(datum.delta_nll)") if name == "effect" else cell
                size = {"width": alt.Step(36), "height": alt.Step(height)}
                panel = shown.encode(x=x, y=y, color=colour, tooltip=tooltip)
                charts.append(panel.properties(title=f"{name}: {role}, {sublayer}", **size))
    return finish(alt.concat(*charts, columns=4, spacing=20).resolve_scale(color="independent"), **datasets)
