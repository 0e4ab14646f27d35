"""The sections of the page, in their order: what each is called, and what its template is given beside the record.

A section is a template in `templates/sections/` and a line of SECTIONS; one that draws has its charts in a file here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attnres_core.records.contradictions import contradictions
from attnres_core.records.schema import Record
from attnres_core.report import by_source, wording
from attnres_core.report.html import answer, forest, map_chart, pathways, routing_chart

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
    """Its heading, and what the navigation calls it."""
    values: Callable[[Record], Values] = nothing
    """What its template names; see `optional`."""
    optional: bool = False
    """Whether it is left out where all its values are empty."""

    @property
    def template(self) -> str:
        """Its template's path."""
        return f"sections/{self.anchor}.html.j2"


def _disagreeing(record: Record) -> Values:
    claims = record["claims"]
    return {
        "contradictions": contradictions(claims),
        "split": [claim for claim in claims if "disagree" in claim["disagreement"]],
        "changed": list(filter(by_source.changed, claims)),
    }


SECTIONS = (
    Section(
        *("sources", "Verdicts by source"),
        lambda record: {
            "sources": by_source.by_source(record["claims"]),
            "kinds_table": answer.under_each_kind(record),
        },
    ),
    Section("disagreements", "What disagrees", _disagreeing, optional=True),
    Section("evidence", "The evidence for each claim", lambda record: {"forests": forest.forests(record["claims"])}),
    Section("verdicts", "The claims"),
    Section(
        *("effects", "Mass against effect"),
        lambda record: {
            "scatter": pathways.mass_against_effect(record["columns"]),
            "pairs": pathways.mass_beside_effect(record["columns"]),
        },
    ),
    Section(
        *("map", "Mass and effect, site by site"), lambda record: {"whole_map": map_chart.whole_map(record["maps"])}
    ),
    Section(
        *("routing", "Where each sublayer reads from"),
        lambda record: {"heatmap": routing_chart.routing_heatmap(record["routing"])},
    ),
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
