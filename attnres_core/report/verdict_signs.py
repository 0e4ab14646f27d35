"""The signs of a verdict: its letter and colour in the terminal, its shape and colours on the page and in charts.

The terminal, the page's template and style sheet, its script and the charts read this table, and nothing else says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attnres_core.records.schema import VerdictWord

SHAPES = {
    "circle": '<circle r="5"/>',
    "diamond": '<path d="M0-6 6 0 0 6-6 0z"/>',
    "square": '<path d="M-4.5-4.5h9v9h-9z"/>',
    "cross": '<path d="M-2-6h4v4h4v4H2v4h-4V2h-4v-4h4z"/>',
    "bar": '<path d="M-5-1H5v2H-5z"/>',
}
"""Vega's shapes as SVG, in a square of 12 around the origin; `bar` is none of Vega's."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The signs of one verdict."""

    name: str
    """Names it in the style sheet and in the ids of marks."""
    letter: str
    """In pytest's line of progress."""
    markup: Mapping[str, bool]
    """In the terminal, as pytest's writer takes it."""
    shape: str
    """One of SHAPES."""
    chart: str | None
    """Its colour in charts, on light and on dark paper; None: its claims have no number to draw."""
    light: str
    """The colour of its word on light paper."""
    dark: str
    """The colour of its word on dark paper."""


SIGNS: Mapping[VerdictWord, Sign] = {
    "SUPPORTED": Sign("SUPPORTED", ".", {"green": True}, "circle", "#2a84c6", "#1a6fae", "#63b3ea"),
    "REFUTED": Sign("REFUTED", "R", {"red": True}, "diamond", "#dd5f13", "#b84a08", "#f58b4c"),
    "INCONCLUSIVE": Sign("INCONCLUSIVE", "I", {"yellow": True}, "square", "#8b8f96", "#646a72", "#a4abb3"),
    "NOT APPLICABLE": Sign("NOT", "n", {"light": True}, "bar", None, "#646a72", "#a4abb3"),
    "ERROR": Sign("ERROR", "E", {"red": True, "bold": True}, "cross", "#c0568f", "#a63a77", "#e58fc0"),
}


def style_sheet() -> str:
    """The colours as custom properties, `--supported` and so on, and a class that takes each."""

    def colours(of: Callable[[Sign], str]) -> str:
        return " ".join(f"--{sign.name.lower()}: {of(sign)};" for sign in SIGNS.values())

    light, dark = colours(lambda sign: sign.light), colours(lambda sign: sign.dark)
    classes = [f".{sign.name} {{ color: var(--{sign.name.lower()}); }}" for sign in SIGNS.values()]
    return "\n".join(
        [
            f":root {{ {light} }}",
            f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}",
            f"@media print {{ :root {{ {light} }} }}",
            *classes,
            "",
        ]
    )
