"""The common parts of the report's charts: the figure record, axes over orders of magnitude, one look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

Row = dict[str, Any]

SYMLOG_RANGE = 100
"""An axis is linear until its largest value exceeds its smallest threshold by more than this factor."""
LABEL_PIXELS = {"top": 46, "bottom": 46, "left": 18, "right": 18}
"""Pixels along an axis that a tick's label takes, its distance from the next among them."""
INK = "#85898f"
"""Readable on light and on dark; the page's style sheet overrides it for words."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, the sentence that stands in for it, and its data (none where they are on the page anyhow)."""

    key: str
    title: str
    summary: str
    spec: dict[str, Any]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: str = ""
    """How much is not in the chart, and why."""


PLAIN = ".4~g"
"""The format of ticks: without a precision, `g` writes 60 as 6e+1."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale over given values: linear, or symlog (linear within ±`constant`) over orders of magnitude."""

    constant: float | None
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], bend: float, *, symlog: bool | None = None) -> Axis:
        """The axis that holds `values` and zero, bent at `bend` if it must be."""
        known = [*values, 0.0]
        if symlog is None:
            symlog = max(map(abs, known)) > SYMLOG_RANGE * bend
        flat = cls(bend if symlog else None, 0.0, 0.0)
        low, high = flat._forward(min(known)), flat._forward(max(known))
        pad = 0.04 * (high - low) or 1.0
        return cls(flat.constant, flat._inverse(low - pad), flat._inverse(high + pad))

    def _forward(self, value: float) -> float:
        return value if self.constant is None else math.copysign(math.log1p(abs(value) / self.constant), value)

    def _inverse(self, value: float) -> float:
        return value if self.constant is None else math.copysign(math.expm1(abs(value)) * self.constant, value)

    @property
    def scale(self) -> alt.Scale:
        """The Vega-Lite scale."""
        if self.constant is None:
            return alt.Scale(domain=[self.low, self.high], nice=False, zero=False)
        return alt.Scale(type="symlog", constant=self.constant, domain=[self.low, self.high], nice=False)

    def axis(self, title: str, orient: alt.AxisOrient_T, pixels: float) -> alt.Axis:
        """The Vega-Lite axis, with as many ticks as so many pixels hold: if symlog, at zero and at powers of ten."""
        if self.constant is None:
            count = max(2, min(7, int(pixels / LABEL_PIXELS[orient])))
            return alt.Axis(title=title, format=PLAIN, tickCount=count, orient=orient)
        top = max(abs(self.low), abs(self.high))
        powers = range(math.floor(math.log10(self.constant)), math.ceil(math.log10(top)) + 1)
        apart = LABEL_PIXELS[orient] / pixels * (self._forward(self.high) - self._forward(self.low))
        sizes = [0.0]
        for size in (float(f"1e{power}") for power in powers):
            if self._forward(size) - self._forward(sizes[-1]) >= apart:
                sizes.append(size)
        ticks = sorted({sign * size for size in sizes for sign in (-1, 1)})
        shown = [tick + 0.0 for tick in ticks if self.low <= tick <= self.high]
        return alt.Axis(title=title, format=PLAIN, values=shown, orient=orient)


def clamped(low: float | None, high: float | None, axis: Axis) -> Row:
    """Limits to draw: an infinite one ends at the axis and is marked open."""
    return {
        "low": axis.low if low is None else low,
        "high": axis.high if high is None else high,
        "low_open": low is None,
        "high_open": high is None,
    }


def rounded(value: float | None) -> float | None:
    """Enough digits for a place on a chart; what a reader sees of the number is written apart."""
    return None if value is None else float(f"{value:.4g}")


def finite(*values: float | None) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]


def tooltips(**titles: str) -> list[alt.Tooltip]:
    """One line for each field, in order, under its title."""
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def cells(rows: list[Row], *keys: str) -> tuple[tuple[str, ...], ...]:
    """The rows as a table of the given fields."""
    return tuple(tuple(row[key] for key in keys) for row in rows)


def panels_in_rows(spec: Row, *, whole: int, together: int, fixed: int, flexible: int, smallest: float) -> Row:
    """Return what the page's script needs to lay a chart of panels out in less room.

    Args:
        spec: a concatenation.
        whole: the pixels of all its columns.
        together: how many panels may not be parted.
        fixed: the pixels of so many that stay (axes, gaps).
        flexible: those that shrink (plots).
        smallest: the share to which they shrink before fewer panels stand in a row; a panel alone shrinks as it must.
    """
    layout = {"whole": whole, "together": together, "fixed": fixed, "flexible": flexible, "smallest": smallest}
    return spec | {"usermeta": layout}


def finish(chart: Any, **datasets: list[Row]) -> dict[str, Any]:
    """The chart's spec in the report's look, with the data sets that it names.

    Its parameters, which the page's script sets: `dark`, whether the page is; `stacked`, whether the panels of one row
    stand in several.
    """
    words: Row = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    lines: Row = {"domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.18}
    look = alt.Config(
        background="transparent",
        font="system-ui, sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(titleFontWeight="normal", **words, **lines),
        header=alt.HeaderConfig(labelFontWeight="bold", **words),
        title=alt.TitleConfig(color=INK, fontSize=12, fontWeight="bold", anchor="middle"),
        legend=alt.LegendConfig(**words),
    )
    spec: dict[str, Any] = chart.to_dict(validate=False)  # (a second for a whole page; its tests draw every chart)
    spec.pop("$schema")
    params = [{"name": name, "value": False} for name in ("dark", "stacked")]
    return spec | {"config": look.to_dict(validate=False), "datasets": datasets, "params": params}
