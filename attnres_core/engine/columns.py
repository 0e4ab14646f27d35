"""From measured units to columns: one number per prompt for every quantity, with a record of the intervention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnres_core.models.dialects.wrapped import closed_form
from attnres_core.planning.requests import BEYOND, NLL, ROUTING, TURN, ResolvedQuantity, SiteRead, metric_of
from attnres_core.prompts import Sentences
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Association, Prediction, RoutingSummary
from attnres_core.quantities.vocabulary import Family, Summary
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
    beyond: float = math.nan
    """The share of the touched sites' reads that lie farther from clean reads than 99 % of clean reads do (see
    `engine.distances`), over the first 32 exploration prompts; NaN: not measured."""
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
        """Yield what was asked for."""
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def record(self, what: Any) -> InterventionRecord:
        """Return what the intervention touched."""
        return self._records[what]


def values(
    asked: ResolvedQuantity,
    chunks: Sequence[Mapping[str, Unit]],
    by_document: Callable[[Column], Column] = lambda column: column,
    sentences: Sentences | None = None,
    apply: Callable[..., Column] = lambda statistic, *given: statistic(*given),
) -> Column:
    """One column over all chunks of prompts, `[document]`.

    Args:
        asked: what the column is of, on its model.
        chunks: the units of each chunk of prompts.
        by_document: from a number for every prompt to one for every document; default: every prompt is one.
        sentences: the pairs of sentences that the prompts are; None: they are none.
        apply: makes a statistic's column: of `influence` or `pseudo_values`, its kind and two tables.

    Raises:
        ValueError: it is scored by answers or by pairs of sentences, and the prompts have none.
    """
    what, field = asked.what, asked.field
    if asked.interventions:
        keys = [intervention.key for intervention in asked.interventions]
        if metric_of(field).spec.of_pairs:
            losses, paired = _joined(chunks, NLL), _paired(field, sentences)
            scores = [_scored(metric_of(field), paired.leads(losses))]
            for key in keys:
                rise = _joined(chunks, asked.unit_field, key)
                scores.append(_scored(metric_of(field), paired.leads(losses + rise)))
            return by_document(np.asarray(scores[0] - np.mean(scores[1:], axis=0), dtype=np.float64))
        needs = metric_of(field).spec.needs
        if needs and any(
            field not in chunk[key] or np.isnan(chunk[key][field]).any() for chunk in chunks for key in keys
        ):
            wanted = "an `answer` and a `foil`" if needs == "foil" else "an `answer`"
            raise ValueError(f"{field} needs prompts that have {wanted}; give a file whose prompts do")
        if isinstance(what, Association):
            return apply(influence, what.kind, *cell_tables(asked, chunks, by_document))
        return np.asarray(np.stack([by_document(_joined(chunks, field, key)) for key in keys]).mean(0))
    if isinstance(what, Prediction):
        return apply(pseudo_values, what.kind, *pairs(asked, chunks, by_document))
    assert isinstance(what, RoutingSummary), "an ablation has interventions"
    if what.kind is Summary.LOSS:
        return by_document(_joined(chunks, NLL))
    if what.kind is Summary.SENTENCE_ACCURACY:
        return by_document(_scored(Metric.SENTENCE_ACCURACY, _paired(what.kind, sentences).leads(_joined(chunks, NLL))))
    return by_document(_summarise(what, asked, chunks))


def _scored(metric: Metric, leads: Column) -> Column:
    """Pairs of sentences, scored by their leads: nats; or 100 where the good one is likelier, else 0."""
    return leads if metric is Metric.SENTENCE_LEAD else np.where(leads > 0, 100.0, 0.0)


def _paired(name: str, sentences: Sentences | None) -> Sentences:
    if sentences is None:
        remedy = "`python -m attnres_core prompts sentences` makes some"
        raise ValueError(f"{name} needs pairs of prompts, one with `sentence` good and one bad: {remedy}")
    return sentences


def pairs(
    asked: ResolvedQuantity,
    chunks: Sequence[Mapping[str, Unit]],
    by_document: Callable[[Column], Column] = lambda column: column,
) -> tuple[Column, Column]:
    """Return what a prediction relates, the summary and the loss, each `[document]`; arguments as for `values`."""
    assert isinstance(asked.what, Prediction), "asked of predictions alone"
    return by_document(_summarise(asked.what.summary, asked, chunks)), by_document(_joined(chunks, NLL))


def cell_tables(
    asked: ResolvedQuantity,
    chunks: Sequence[Mapping[str, Unit]],
    by_document: Callable[[Column], Column] = lambda column: column,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Masses (or turns) and effects of an association's cells, each `[cell, document]`; arguments as for `values`."""
    assert isinstance(asked.what, Association), "asked of associations alone"
    told, effects = [], []
    for read, intervention in zip(asked.reads, asked.interventions, strict=True):
        told.append(by_document(_of_family(asked.what.by, read, chunks)))
        effects.append(by_document(_joined(chunks, asked.field, intervention.key)))
    return np.stack(told), np.stack(effects)


def _of_family(kind: Summary, read: SiteRead, chunks: Sequence[Mapping[str, Unit]]) -> Column:
    """A family's mass at a site, or how far the read there turns without it, `[prompt]`."""
    if kind is Summary.TURN:
        family = read.site.sources[read.members[0]]
        assert family is not None, "a site with a family has a choice"
        turns: Column = _joined(chunks, TURN)[:, read.row, list(Family).index(family)]
        return turns
    masses: Column = _joined(chunks, "mean")[:, read.row, list(read.members)].sum(1)
    return masses


def record_of(asked: ResolvedQuantity, chunks: Sequence[Mapping[str, Unit]]) -> InterventionRecord:
    """Return what a column's interventions touched, over all chunks of prompts."""
    if not asked.interventions:
        return InterventionRecord(tuple(str(read.site) for read in asked.reads))

    def stacked(field: str) -> NDArray[np.float64]:  # (intervention, prompt)
        return np.stack([_joined(chunks, field, intervention.key) for intervention in asked.interventions])

    return InterventionRecord(
        sites=tuple(dict.fromkeys(site for i in asked.interventions for site in i.sites)),
        kept_mass=float(stacked("kept_mass").mean()),
        kept_mass_min=float(stacked("kept_mass_min").min()),
        input_change=float(stacked("input_change").max()),
        beyond=beyond(asked, chunks),
        duplicates=tuple(dict.fromkeys(site for i in asked.interventions for site in i.duplicates)),
        no_ops=tuple(dict.fromkeys(site for i in asked.interventions for site in i.no_ops)),
    )


def beyond(asked: ResolvedQuantity, chunks: Sequence[Mapping[str, Unit]]) -> float:
    """The share of reads beyond clean ones (see `InterventionRecord`), over the chunks where that was measured."""
    units = [chunk.get(each.key, {}) for chunk in chunks for each in asked.interventions]
    found = [unit[BEYOND] for unit in units if BEYOND in unit]
    return float(np.concatenate(found).mean()) if found else math.nan


def _joined(chunks: Sequence[Mapping[str, Unit]], field: str, key: str = ROUTING) -> NDArray[np.float64]:
    return np.concatenate([chunk[key][field] for chunk in chunks])


def _summarise(what: RoutingSummary, asked: ResolvedQuantity, chunks: Sequence[Mapping[str, Unit]]) -> Column:
    """A summary of the depth weights at the sites that are read, `[prompt]`."""
    if what.kind in (Summary.ENTROPY, Summary.PEAK, Summary.STREAMS_READ):
        rows = [read.row for read in asked.reads]
        return np.asarray(_joined(chunks, what.kind.value)[:, rows].mean(1), dtype=np.float64)
    if what.kind is Summary.TURN:
        turns = [_of_family(what.kind, read, chunks) for read in asked.reads if read.members]
        return np.asarray(np.sum(turns, axis=0) / len(asked.reads), dtype=np.float64)
    weights = _joined(chunks, "mean")  # (prompt, site, source), zero beyond a site's sources
    if what.kind is Summary.MASS:
        masses = [sum(weights[:, read.row, index] for index in read.members) for read in asked.reads]
        return np.asarray(np.mean([np.broadcast_to(m, len(weights)) for m in masses], axis=0), dtype=np.float64)
    if what.kind is Summary.UNIFORM_MASS:
        share = np.mean([len(read.members) / len(read.site.sources) for read in asked.reads])
        return np.full(len(weights), float(share))
    low, high = _joined(chunks, "low"), _joined(chunks, "high")
    worst = np.zeros(len(weights))
    for read in asked.reads:
        row, n = read.row, len(read.site.sources)
        if what.kind is Summary.SPREAD:
            centre = weights[:, row, :n].mean(0)
        else:
            assert asked.recency_bias is not None, "refused on other models"
            centre = closed_form(n, asked.recency_bias)
        distance = np.maximum(high[:, row, :n] - centre, centre - low[:, row, :n])
        worst = np.maximum(worst, distance.max(1))
    return worst
