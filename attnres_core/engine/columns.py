"""From measured units to columns: one number per prompt for every quantity, with a record of the intervention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnres_core.models.dialects.wrapped import closed_form
from attnres_core.models.geometry import Geometry
from attnres_core.planning.requests import (
    NLL,
    ROUTING,
    cells_of,
    interventions_for,
    members_of,
    metric_of,
    summary_sites,
)
from attnres_core.quantities.intervention import cell
from attnres_core.quantities.quantity import Ablation, Association, Prediction, Request, RoutingSummary
from attnres_core.quantities.vocabulary import Site, Summary
from attnres_core.shapes import Column, Unit
from attnres_core.statistics.associations import influence, pseudo_values


@dataclass(frozen=True, slots=True)
class InterventionRecord:
    """Proof that an intervention fired, and how hard."""

    sites: tuple[str, ...]
    """The sites touched (for a routing summary: the sites read)."""
    kept_mass: float = math.nan
    """Depth weight left on the kept sources before renormalising, averaged over prompts, positions and sites."""
    kept_mass_min: float = math.nan
    """Its smallest value."""
    input_change: float = math.nan
    """The largest absolute change of a touched sublayer's input, before its norm."""
    duplicates: tuple[str, ...] = ()
    """Touched sites where a dropped source and a kept one are the same tensor: it is read less there, not lost."""
    no_ops: tuple[str, ...] = ()
    """Touched sites where all sources are one tensor: the ablation changes nothing there, by construction."""


class Columns(Mapping[Any, Column]):
    """Measured columns by what was asked for, with `record(what)` beside each."""

    def __init__(self, columns: Mapping[Any, Column], records: Mapping[Any, InterventionRecord]) -> None:
        self._columns: dict[Any, Column] = dict(columns)
        self._records: dict[Any, InterventionRecord] = dict(records)

    def __getitem__(self, what: Any) -> Column:
        """The column of a quantity, ablation or routing summary, `[prompt]`."""
        return self._columns[what]

    def __iter__(self) -> Iterator[Any]:
        """What was asked for."""
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def record(self, what: Any) -> InterventionRecord:
        """What the intervention touched."""
        return self._records[what]


def values(
    what: Request,
    field: str,
    chunks: Sequence[Mapping[str, Unit]],
    checkpoint: Geometry,
    by_document: Callable[[Column], Column] = lambda column: column,
) -> Column:
    """One column over all chunks of prompts, `[document]`: of ablations, that field of their units.

    Args:
        what: what the column is of.
        field: see `field_of`.
        chunks: the units of each chunk of prompts.
        checkpoint: the model.
        by_document: from a number for every prompt to one for every document; default: every prompt is one.

    Raises:
        ValueError: the field is one of answers, and the prompts have none.
    """
    if isinstance(what, Ablation | Association):
        keys = [intervention.key for intervention in interventions_for(what, checkpoint)]
        needs = metric_of(field).spec.needs
        if needs and any(
            field not in chunk[key] or np.isnan(chunk[key][field]).any() for chunk in chunks for key in keys
        ):
            wanted = "an `answer` and a `foil`" if needs == "foil" else "an `answer`"
            raise ValueError(f"{field} needs prompts that have {wanted}; give a file whose prompts do")
        if isinstance(what, Association):
            return influence(what.kind, *cell_tables(what, field, chunks, checkpoint, by_document))
        return np.asarray(np.stack([by_document(_joined(chunks, field, key)) for key in keys]).mean(0))
    if isinstance(what, Prediction):
        return pseudo_values(what.kind, *pairs(what, field, chunks, checkpoint, by_document))
    sites = summary_sites(what, checkpoint)
    places = {site: index for index, site in enumerate(checkpoint.sites)}
    return by_document(_summarise(what, sites, [places[site] for site in sites], chunks, checkpoint))


def pairs(
    what: Prediction,
    field: str,
    chunks: Sequence[Mapping[str, Unit]],
    checkpoint: Geometry,
    by_document: Callable[[Column], Column] = lambda column: column,
) -> tuple[Column, Column]:
    """What a prediction relates, the summary and the loss, each `[document]`; arguments as for `values`."""
    return values(what.summary, field, chunks, checkpoint, by_document), by_document(_joined(chunks, NLL))


def cell_tables(
    what: Association,
    field: str,
    chunks: Sequence[Mapping[str, Unit]],
    checkpoint: Geometry,
    by_document: Callable[[Column], Column] = lambda column: column,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Masses and effects of an association's cells, each `[cell, document]`."""
    places = {site: row for row, site in enumerate(checkpoint.sites)}
    weights = _joined(chunks, "mean")
    masses, effects = [], []
    for site, family in cells_of(what, checkpoint):
        own = weights[:, places[site], members_of(site, family)].sum(1)
        masses.append(by_document(own))
        effects.append(by_document(_joined(chunks, field, cell(site, family).key)))
    return np.stack(masses), np.stack(effects)


def record_of(what: Request, chunks: Sequence[Mapping[str, Unit]], checkpoint: Geometry) -> InterventionRecord:
    """What a column's intervention touched, over all chunks of prompts."""
    if isinstance(what, Prediction):
        return record_of(what.summary, chunks, checkpoint)
    if isinstance(what, RoutingSummary):
        return InterventionRecord(tuple(map(str, summary_sites(what, checkpoint))))
    interventions = interventions_for(what, checkpoint)

    def stacked(field: str) -> NDArray[np.float64]:  # (intervention, prompt)
        return np.stack([_joined(chunks, field, intervention.key) for intervention in interventions])

    return InterventionRecord(
        sites=tuple(dict.fromkeys(site for i in interventions for site in i.sites)),
        kept_mass=float(stacked("kept_mass").mean()),
        kept_mass_min=float(stacked("kept_mass_min").min()),
        input_change=float(stacked("input_change").max()),
        duplicates=tuple(dict.fromkeys(site for i in interventions for site in i.duplicates)),
        no_ops=tuple(dict.fromkeys(site for i in interventions for site in i.no_ops)),
    )


def _joined(chunks: Sequence[Mapping[str, Unit]], field: str, key: str = ROUTING) -> NDArray[np.float64]:
    return np.concatenate([chunk[key][field] for chunk in chunks])


def _summarise(
    what: RoutingSummary,
    sites: Sequence[Site],
    rows: Sequence[int],
    chunks: Sequence[Mapping[str, Unit]],
    checkpoint: Geometry,
) -> Column:
    if what.kind in (Summary.ENTROPY, Summary.PEAK):
        return np.asarray(_joined(chunks, what.kind.value)[:, rows].mean(1), dtype=np.float64)
    weights = _joined(chunks, "mean")  # (prompt, site, source), zero beyond a site's sources
    if what.kind is Summary.MASS:
        each = zip(sites, rows, strict=True)
        members = [sum(weights[:, row, i] for i in members_of(site, what.family)) for site, row in each]
        return np.asarray(np.mean([np.broadcast_to(m, len(weights)) for m in members], axis=0), dtype=np.float64)
    if what.kind is Summary.UNIFORM_MASS:
        share = np.mean([len(members_of(site, what.family)) / len(site.sources) for site in sites])
        return np.full(len(weights), float(share))
    low, high = _joined(chunks, "low"), _joined(chunks, "high")
    worst = np.zeros(len(weights))
    for site, row in zip(sites, rows, strict=True):
        n = len(site.sources)
        if what.kind is Summary.SPREAD:
            centre = weights[:, row, :n].mean(0)
        else:
            assert checkpoint.wrap is not None
            centre = closed_form(n, checkpoint.wrap)
        distance = np.maximum(high[:, row, :n] - centre, centre - low[:, row, :n])
        worst = np.maximum(worst, distance.max(1))
    return worst
