"""A request for a column on one model: resolved once, in planning, and carried by all that follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attnres_core.models.geometry import Geometry
from attnres_core.quantities.intervention import (
    Intervention,
    NotApplicable,
    cell,
    cells,
    drawn,
    family_sites,
    sites_within,
)
from attnres_core.quantities.metrics import SCORED, Metric
from attnres_core.quantities.quantity import Ablation, Association, Pick, Prediction, Quantity, Request, RoutingSummary
from attnres_core.quantities.vocabulary import Families, Family, Positions, Site, Sublayer, Summary

ROUTING = "routing"
"""The key of the clean run's unit, which serves every routing summary."""
NLL = "nll"
"""The clean unit's field of each prompt's loss, nats per token."""
ROUTING_FIELDS = frozenset({"mean", "low", "high", "entropy", "peak", NLL})
"""What the clean run's unit holds."""
TURN = "turn"
STREAMS = "streams_read"
"""The clean unit's field of how far each read turns without a family, `[prompt, site, family]`; where asked for."""
TRACE = "trace"
"""An effect's field of each token's rise in loss, `[prompt, pos]`; the plain path gives none."""
CONSTANTS, HELD_OUT_LOSS = "constants", "held_out_loss"
"""A fit's fields: what is put in place, `[filled, d]`, and the mean loss on the prompts kept out of the fit, `[1]`."""
FIT_FIELDS = frozenset({CONSTANTS, HELD_OUT_LOSS})
BEYOND = "beyond"
"""An effect's field of the share of its reads beyond clean ones, `[prompt]`; on the noise floor's prompts alone."""
RECORD_FIELDS = frozenset({"kept_mass", "kept_mass_min", "input_change", TRACE})
"""What an effect's unit holds beside its metrics; the plain path gives none of it."""


@dataclass(frozen=True, slots=True)
class SiteRead:
    """A site whose depth weights a column is read off."""

    site: Site
    row: int
    """Its place among the model's sites, which is its row in stored units."""
    members: tuple[int, ...]
    """The indices of the family's sources there; none where the column is about no family."""


@dataclass(frozen=True)
class ResolvedQuantity:
    """A request on one model's geometry: where it acts, where it reads, which units hold its column."""

    what: Request
    field: str
    """The name of the effect (see `field_of`); it is that of a unit's field, but for metrics of pairs."""
    interventions: tuple[Intervention, ...] = ()
    """Those whose effects the column averages or relates; none where the clean run says it all."""
    reads: tuple[SiteRead, ...] = ()
    """The sites whose weights it is read off; of an association one a cell, beside the cell's intervention."""
    recency_bias: float | None = None
    """The wrapped baseline's, which a closed form depends on."""
    not_applicable: str = ""
    """Why this model has no such site; empty where it has one."""
    error: str = ""
    """Why the request makes no sense on this model; empty where it does."""

    @cached_property
    def keys(self) -> frozenset[str]:
        """The units that the column is derived from; none where the request came to nothing."""
        if not self.resolved:
            return frozenset()
        return frozenset(each.key for each in self.interventions) or frozenset({ROUTING})

    @property
    def unit_field(self) -> str:
        """The field of ablated units that the effect is read off."""
        return Metric.DELTA_NLL.value if metric_of(self.field).spec.of_pairs else self.field

    @property
    def clean_fields(self) -> frozenset[str]:
        """Return what the column reads of the clean run's unit that not every such unit holds."""
        what = self.what.summary if isinstance(self.what, Prediction) else self.what
        by = what.by if isinstance(what, Association) else what.kind
        return frozenset({by.value}) if by in (Summary.TURN, Summary.STREAMS_READ) else frozenset()

    @property
    def resolved(self) -> bool:
        """Return whether there is something to measure."""
        return not (self.not_applicable or self.error)

    @property
    def no_op(self) -> str:
        """The sites, in words, where the interventions change nothing by construction; empty where one can act."""
        if not self.interventions or any(each.no_ops != each.sites or not each.sites for each in self.interventions):
            return ""
        return ", ".join(site for each in self.interventions for site in each.sites)

    @property
    def needs_reference(self) -> bool:
        """Return whether something is taken from the reference prompts."""
        return any(each.needs_reference for each in self.interventions)

    def check(self) -> ResolvedQuantity:
        """Itself, where there is something to measure.

        Raises:
            NotApplicable: the model has no such site.
            ValueError: the request is out of range or leaves a site without a source.
        """
        if self.not_applicable:
            raise NotApplicable(self.not_applicable)
        if self.error:
            raise ValueError(self.error)
        return self


def resolved(asked: Any, geometry: Geometry) -> ResolvedQuantity:
    """A quantity, ablation, routing summary or relation on a model; what it comes to, or why it comes to nothing.

    Raises:
        ValueError: `asked` is none of them.
    """
    what, field = request_of(asked)
    try:
        return _resolved(what, field, geometry)
    except NotApplicable as error:
        return ResolvedQuantity(what, field, not_applicable=str(error))
    except ValueError as error:
        return ResolvedQuantity(what, field, error=str(error))


def _resolved(what: Request, field: str, geometry: Geometry) -> ResolvedQuantity:
    if isinstance(what, Ablation):
        return ResolvedQuantity(what, field, drawn(what, geometry.sites, geometry.num_layers))
    if isinstance(what, Association):
        places = _cells(what, geometry)
        dropped = tuple(cell(*place) for place in places)
        return ResolvedQuantity(what, field, dropped, _reads(geometry, places))
    summary = what.summary if isinstance(what, Prediction) else what
    if summary.kind is Summary.CLOSED_FORM_ERROR and geometry.wrap is None:
        raise ValueError(f"`{summary}` is defined by the wrapped baseline's recency bias; use it .on(WRAPPED)")
    read = [(site, summary.family) for site in _summary_sites(summary, geometry)]
    return ResolvedQuantity(what, field, reads=_reads(geometry, read), recency_bias=geometry.wrap)


def _reads(geometry: Geometry, places: Iterable[tuple[Site, Families | Pick | None]]) -> tuple[SiteRead, ...]:
    rows = {site: row for row, site in enumerate(geometry.sites)}
    return tuple(SiteRead(site, rows[site], _members(site, family)) for site, family in places)


def _summary_sites(what: RoutingSummary, geometry: Geometry) -> list[Site]:
    """The sites a summary averages over: those addressed where there is a choice."""
    if isinstance(what.family, Pick):
        raise ValueError(f"`{what}` names a family chosen on the exploration split; it is resolved by a suite run")
    if what.family is not None:
        family_sites(what.family, what.sublayer, what.layers, geometry.sites, geometry.num_layers, what.stream)
    addressed = sites_within(geometry.sites, what.sublayer, what.layers, geometry.num_layers, what.stream)
    if what.kind is Summary.STREAMS_READ:
        if not (found := [site for site in addressed if site.parallel]):
            raise NotApplicable(f"`{what}` addresses no site that reads parallel streams on this checkpoint")
        return found
    choosing = [site for site in addressed if len(site.sources) > 1]
    if what.family is not None and not choosing:  # a single source that can be dropped has a mass, which is 1
        choosing = [site for site in addressed if site.may_lose_all]
    if not choosing:
        raise NotApplicable(f"`{what}` addresses no site with more than one source on this checkpoint")
    return choosing


def _cells(what: Association, geometry: Geometry) -> list[tuple[Site, Family]]:
    """The cells that an association is over; not those where nothing can change."""
    readers = (Sublayer.ATTN, Sublayer.MLP) if what.sublayer is None else (what.sublayer,)
    sites = [s for r in readers for s in sites_within(geometry.sites, r, what.layers, geometry.num_layers)]
    found = [place for place in cells(sites) if not cell(*place).no_ops]
    if len(found) < 3:
        raise NotApplicable(f"`{what}` has {len(found)} sites and families to go by on this checkpoint; it takes three")
    return found


def _members(site: Site, family: Families | Pick | None) -> tuple[int, ...]:
    if family is None or isinstance(family, Pick):
        return ()
    return site.members(family)


def field_of(metric: Metric, at: Positions = Positions.ALL) -> str:
    """The name of a metric over some positions, which is that of a unit's field."""
    return metric.value if at is Positions.ALL else f"{metric.value}@{at.value}"


def metric_of(field: str) -> Metric:
    """The metric of such a field."""
    return Metric(field.partition("@")[0])


def scored_for(fields: Iterable[str]) -> tuple[Metric, ...]:
    """Return what is scored where these fields are asked for: all that are next to free, and the costly among them."""
    asked = {field.partition("@")[0] for field in fields}
    return tuple(metric for metric in SCORED if metric in asked or not metric.spec.costly)


def request_of(asked: Any) -> tuple[Request, str]:
    """The request in anything `measure` accepts, and the name of its effect.

    Raises:
        ValueError: it cannot be measured.
    """
    if isinstance(asked, Quantity):
        return asked.what, field_of(asked.metric or Metric.DELTA_NLL, asked.at)
    if isinstance(asked, Request):
        return asked, Metric.DELTA_NLL.value
    raise ValueError(f"{asked!r} cannot be measured; give drop(...), mass(...), ..., or one of them .on(a role)")
