"""A claim's effect over documents: one chart for all claims, filled and drawn by the page's script.

Text from the record reaches the chart as data only, never inside an expression.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from attnres_core.report.html.figure import INK, PLAIN, finish, tooltips

VALUE_COLOUR = "#2a84c6"


def template() -> dict[str, Any]:
    """A strip for each stratum: documents as dots, their mean as a tick, thresholds as rules across all."""
    x = alt.X("value:Q", axis=alt.Axis(title="value on a document", format=PLAIN, tickCount=7))
    y = alt.Y("stratum:N", axis=alt.Axis(title=None, grid=False, labelLimit=180))
    dots = alt.Chart(alt.NamedData(name="values")).mark_circle(size=34, opacity=0.5, color=VALUE_COLOUR)
    means = alt.Chart(alt.NamedData(name="means")).mark_tick(thickness=3, height=18, color=INK)
    edges = alt.Chart(alt.NamedData(name="edges")).mark_rule(color=INK, strokeDash=[5, 4])
    told = tooltips(stratum="stratum", n="documents", mean="mean")
    chart = alt.layer(
        edges.encode(x=x),
        dots.encode(x=x, y=y, tooltip=alt.Tooltip("value:Q", format=".4g")),
        means.encode(x=x, y=y, tooltip=told),
    ).properties(width=620, height=alt.Step(24))
    return finish(chart, values=[], means=[], edges=[])
