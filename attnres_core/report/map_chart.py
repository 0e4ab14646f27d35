"""The whole map, where it was measured: mass beside effect, every family at every site, on one scale of layers.

Text from the record reaches a spec as data only, never inside an expression.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from attnres_core.report import text
from attnres_core.report.charts import MATTERS, NO_ROLE
from attnres_core.report.figure import Figure, Row, cells, finish, tooltips

FAMILIES = ("embedding", "older", "recent", "current")
"""In order of depth."""


def whole_map(rows: list[Row] | None) -> Figure | None:
    """Paired heatmaps of mass and of the effect of dropping a family there alone."""
    if not rows:
        return None
    drawn = [
        {key: row[key] for key in ("layer", "family", "mass", "delta_nll", "sublayer", "site")}
        | {
            "effect": text.number(row["delta_nll"], "nats/token"),
            "limits": text.interval((row["delta_nll_low"], row["delta_nll_high"]), "nats/token"),
            "share": text.number(row["mass"]),
            "uniform": text.number(row["uniform_mass"]),
            "kl": text.number(row["kl"], "nats/token"),
            "note": "has an identical twin" if row["duplicate"] else "",
        }
        for row in rows
        if row["delta_nll"] is not None
    ]
    if not drawn:
        return None
    most = max(drawn, key=lambda row: float(row["delta_nll"]))
    causal = sum(float(row["delta_nll"]) > MATTERS for row in drawn)
    return Figure(
        key="map",
        title="Effect of dropping each family at each site",
        summary=f"Heatmaps of {len(drawn)} cells, mass and effect, over {rows[0]['n']} {rows[0]['split']} documents; "
        f"{causal} cells rise by more than {MATTERS} nats/token; the largest is {most['family']} at {most['site']}: "
        f"{most['effect']} nats/token at mass {most['share']}. Single drops, descriptive: no claim rests on them.",
        spec=_spec(drawn),
        header=(
            "site",
            "family",
            "mass",
            "uniform",
            "effect, nats/token",
            "95 % t interval",
            "KL",
            "identical sources",
        ),
        rows=cells(drawn, "site", "family", "share", "uniform", "effect", "limits", "kl", "note"),
    )


def _spec(rows: list[Row]) -> dict[str, Any]:
    sublayers = [name for name in ("attn", "mlp", "final") if any(row["sublayer"] == name for row in rows)]
    top = max(NO_ROLE, *(abs(float(row["delta_nll"])) for row in rows))
    height = min(22, max(9, 420 // len({row["layer"] for row in rows})))
    x = alt.X("family:N", scale=alt.Scale(domain=list(FAMILIES)), axis=alt.Axis(title=None, labelAngle=-40, grid=False))
    y = alt.Y("layer:O", axis=alt.Axis(title="layer", grid=False, labelOverlap=True, domain=False))
    legend: Row = {"orient": "bottom", "direction": "horizontal", "gradientLength": 220, "format": "~g"}
    mass = alt.Color(
        "mass:Q", title="mass", scale=alt.Scale(domain=[0, 1], scheme="viridis"), legend=alt.Legend(**legend)
    )
    effect = alt.Color(
        "delta_nll:Q",
        title="rise in loss, nats/token",
        scale=alt.Scale(type="symlog", constant=NO_ROLE, domain=[-top, top], scheme="blueorange"),
        legend=alt.Legend(values=[-top, -MATTERS, 0, MATTERS, top], **legend),
    )
    tooltip = tooltips(
        site="site",
        family="family",
        share="mass",
        uniform="uniform mass",
        effect="effect (nats/token)",
        limits="95 % t interval",
        kl="KL",
        note="identical sources",
    )
    charts = [
        alt.Chart(alt.NamedData(name=f"map-{sublayer}"))
        .mark_rect(stroke="transparent")
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
        .properties(title=f"{name}, {sublayer}", width=alt.Step(40), height=alt.Step(height))
        for sublayer in sublayers
        for name, colour in (("mass", mass), ("effect", effect))
    ]
    datasets = {f"map-{sublayer}": [row for row in rows if row["sublayer"] == sublayer] for sublayer in sublayers}
    return finish(alt.concat(*charts, columns=4, spacing=20).resolve_scale(color="independent"), **datasets)
