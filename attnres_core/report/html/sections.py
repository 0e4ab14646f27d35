"""The sections of the page, in their order: what each is called, and what its template is given beside the record.

A section is a template in `templates/sections/` and a line of SECTIONS; one that draws has its charts in a file here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attnres_core.records.contradictions import contradictions
from attnres_core.records.schema import Record
from attnres_core.report import wording
from attnres_core.report.html import forest, map_chart, pathways, routing_chart

Values = Mapping[str, Any]


def nothing(record: Record) -> Values:
    """The record alone."""
    return {}


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page."""

    anchor: str
    """Its id in the page, and its template's name."""
    name: str
    """What the navigation calls it."""
    values: Callable[[Record], Values] = nothing
    """What its template names; see `optional`."""
    optional: bool = False
    """Whether it is left out where all its values are empty."""

    @property
    def template(self) -> str:
        """Its template's path."""
        return f"sections/{self.anchor}.html.j2"


SECTIONS = (
    Section("evidence", "Evidence", lambda record: {"forests": forest.forests(record["claims"])}),
    Section(
        *("effects", "Mass against effect"),
        lambda record: {
            "scatter": pathways.mass_against_effect(record["columns"]),
            "bars": pathways.mass_beside_effect(record["columns"]),
        },
    ),
    Section("map", "Site by site", lambda record: {"whole_map": map_chart.whole_map(record["maps"])}),
    Section("routing", "Routing", lambda record: {"heatmap": routing_chart.routing_heatmap(record["routing"])}),
    Section(
        *("contradictions", "Contradictions"),
        lambda record: {"contradictions": contradictions(record["claims"])},
        optional=True,
    ),
    Section("verdicts", "Claims"),
    Section("reproduce", "Reproduce"),
)


def shown(record: Record) -> tuple[list[Section], dict[str, Any]]:
    """The sections that a record has something for, and all that their templates name."""
    sections, values = list[Section](), dict[str, Any](groups=wording.by_group(record["claims"]))
    for section in SECTIONS:
        own = section.values(record)
        if any(own.values()) or not section.optional:
            sections.append(section)
            values |= own
    return sections, values
