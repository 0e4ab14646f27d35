"""The parts of an effect by path: one chart for all claims, filled and drawn by the page's script.

Text from the record reaches the chart as data only, never inside an expression.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from attnres_core.report.html.figure import INK, finish, tooltips

COLOURS = {"total": INK, "path": "#2a84c6", "rest": "#a9adb3"}
"""Of the whole, a path and what the paths leave."""
EDGES = 75
"""Pixels beside the plot; the names of its rows are none of them, since they stand above its bars."""


def template() -> dict[str, Any]:
    """A bar for each part from zero to its mean, with its interval; the whole first."""
    x = alt.X("mean:Q", axis=alt.Axis(title=None, tickCount=6))
    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    base = alt.Chart(alt.NamedData(name="parts")).encode(y=alt.Y("label:N", sort=None, axis=None))
    told = tooltips(label="reads", mean="effect", low="from", high="to")
    bars = base.mark_bar(height=12, opacity=0.55, yOffset=6).encode(
        x=x, color=alt.Color("part:N", scale=scale, legend=None), tooltip=told
    )
    ends = base.mark_rule(strokeWidth=2, color=INK, yOffset=6).encode(x="low:Q", x2="high:Q")
    words = (
        base.mark_text(align="left", fontSize=12, color=INK, dy=-9)
        .encode(x=alt.value(0), text="label:N")
        .properties(name="words")
    )
    zero = base.mark_tick(thickness=1, height=18, color=INK, yOffset=6).encode(x=alt.XDatum(0))
    chart = alt.layer(bars, ends, zero, words).properties(width=560, height=alt.Step(34))
    return finish(chart, parts=[]) | {"usermeta": {"edges": EDGES}}
