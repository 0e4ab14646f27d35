"""What a request for a column needs of a model: interventions, the keys of their units, the fields to read."""

from __future__ import annotations

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
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Ablation, Association, Pick, Prediction, Quantity, Request, RoutingSummary
from attnres_core.quantities.vocabulary import Families, Family, Positions, Site, Sublayer, Summary, parts

ROUTING = "routing"
"""The key of the clean run's unit, which serves every routing summary."""
NLL = "nll"
"""The clean unit's field of each prompt's loss, nats per token."""
TRACE = "trace"
"""An effect's field of each token's rise in loss, `[prompt, pos]`; the plain path gives none."""


def interventions_for(what: Request, checkpoint: Geometry) -> tuple[Intervention, ...]:
    """The interventions whose units a column is derived from; none where the clean run says it all.

    Raises:
        NotApplicable: the checkpoint has no such site.
        ValueError: the request is out of range or leaves a site without a source.
    """
    if isinstance(what, Ablation):
        return drawn(what, checkpoint.sites, checkpoint.num_layers)
    if isinstance(what, Association):
        return tuple(cell(*place) for place in cells_of(what, checkpoint))
    if isinstance(what, Prediction):
        return interventions_for(what.summary, checkpoint)
    if what.kind is Summary.CLOSED_FORM_ERROR and checkpoint.wrap is None:
        raise ValueError(f"`{what}` is defined by the wrapped baseline's recency bias; use it .on(WRAPPED)")
    summary_sites(what, checkpoint)
    return ()


def unit_keys(what: Request, checkpoint: Geometry) -> frozenset[str]:
    """The units that a column is derived from; errors as for `interventions_for`."""
    return frozenset(i.key for i in interventions_for(what, checkpoint)) or frozenset({ROUTING})


def summary_sites(what: RoutingSummary, checkpoint: Geometry) -> list[Site]:
    """The sites a summary averages over: those addressed where there is a choice."""
    if isinstance(what.family, Pick):
        raise ValueError(f"`{what}` names a family chosen on the exploration split; it is resolved by a suite run")
    if what.family is not None:
        family_sites(what.family, what.sublayer, what.layers, checkpoint.sites, checkpoint.num_layers, what.stream)
    addressed = sites_within(checkpoint.sites, what.sublayer, what.layers, checkpoint.num_layers, what.stream)
    choosing = [site for site in addressed if len(site.sources) > 1]
    if not choosing:
        raise NotApplicable(f"`{what}` addresses no site with more than one source on this checkpoint")
    return choosing


def field_of(metric: Metric, at: Positions = Positions.ALL) -> str:
    """The name under which units hold a metric over some positions."""
    return metric.value if at is Positions.ALL else f"{metric.value}@{at.value}"


def metric_of(field: str) -> Metric:
    """The metric of such a field."""
    return Metric(field.partition("@")[0])


def cells_of(what: Association, checkpoint: Geometry) -> list[tuple[Site, Family]]:
    """The cells that an association is over; not those where nothing can change.

    Raises:
        NotApplicable: there are fewer than three.
    """
    readers = (Sublayer.ATTN, Sublayer.MLP) if what.sublayer is None else (what.sublayer,)
    sites = [s for r in readers for s in sites_within(checkpoint.sites, r, what.layers, checkpoint.num_layers)]
    found = [place for place in cells(sites) if not cell(*place).no_ops]
    if len(found) < 3:
        raise NotApplicable(f"`{what}` has {len(found)} sites and families to go by on this checkpoint; it takes three")
    return found


def members_of(site: Site, family: Families | Pick | None) -> list[int]:
    """The indices of a family's sources at a site."""
    if family is None or isinstance(family, Pick):
        return []  # (asked of neither: picks are filled in before anything is measured)
    return [index for index, member in enumerate(site.sources) if member in parts(family)]


def as_parts(what: Any) -> tuple[Request, str]:
    """What to measure and which field of its units to read, for anything `measure` accepts."""
    if isinstance(what, Quantity):
        return what.what, field_of(what.metric or Metric.DELTA_NLL, what.at)
    if isinstance(what, Request):
        return what, Metric.DELTA_NLL.value
    raise ValueError(f"{what!r} cannot be measured; give drop(...), mass(...), ..., or one of them .on(a role)")
