"""An ablation on one model's geometry: which sources are dropped at which sites."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnres_core.vocabulary import Ablation, Band, Families, Layers, Pick, Site, Sublayer, parts


class NotApplicable(Exception):
    """The request is sound, but this model has no site it speaks of."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """Sources dropped, by site; equal interventions are one column whatever words asked for them."""

    kind: str
    dropped: tuple[tuple[Site, tuple[int, ...]], ...]
    """(site, indices of its dropped sources), in forward order."""

    @property
    def key(self) -> str:
        """A short canonical text, the same for equal interventions."""
        places = {str(site): list(indices) for site, indices in self.dropped}
        return json.dumps([self.kind, places], separators=(",", ":"))

    @property
    def first_layer(self) -> int:
        """Nothing before this layer is changed."""
        return min((site.layer for site, _ in self.dropped), default=0)

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the touched sites."""
        return tuple(str(site) for site, _ in self.dropped)

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Sites where a dropped source lives on in a kept one, the same tensor: it is read less, not lost."""
        return tuple(
            str(site) for site, indices in self.dropped if any((i in indices) != (j in indices) for i, j in site.copies)
        )

    @property
    def no_ops(self) -> tuple[str, ...]:
        """Sites where all sources are one tensor, so that no weights can change what is read: structural no-ops."""
        return tuple(str(site) for site, _ in self.dropped if len(site.copies) == math.comb(len(site.sources), 2))

    def by_layer(self) -> tuple[Intervention, ...]:
        """The same, one layer at a time."""
        layers = dict.fromkeys(site.layer for site, _ in self.dropped)
        return tuple(
            Intervention(self.kind, tuple(pair for pair in self.dropped if pair[0].layer == layer)) for layer in layers
        )


SHAM = Intervention("sham", ())
"""Drops nothing; what it measures is the engine's own noise."""


def sites_within(sites: Iterable[Site], sublayer: Sublayer, layers: Layers, num_layers: int) -> tuple[Site, ...]:
    """The sites that a request for `sublayer` and `layers` addresses.

    Raises:
        ValueError: the range of layers reaches beyond the model.
    """
    if isinstance(layers, range) and layers.stop > num_layers:
        raise ValueError(f"`layers` is {layers!r}; this model has layers 0 to {num_layers - 1}")
    if sublayer is Sublayer.FINAL:
        return tuple(site for site in sites if site.sublayer is Sublayer.FINAL)
    span = layers.layers(num_layers) if isinstance(layers, Band) else layers
    return tuple(site for site in sites if site.sublayer is sublayer and site.layer in span)


def family_sites(
    family: Families, sublayer: Sublayer, layers: Layers, sites: Sequence[Site], num_layers: int
) -> list[Site]:
    """The addressed sites where the family, or any of several, is present.

    Raises:
        NotApplicable: there is none.
        ValueError: the layers are out of range.
    """
    addressed = sites_within(sites, sublayer, layers, num_layers)
    present = [site for site in addressed if set(parts(family)) & set(site.sources)]
    if not present:
        where = f"layers {layers.start}-{layers.stop - 1}" if isinstance(layers, range) else f"the {Band(layers)} band"
        raise NotApplicable(f"no {sublayer} site in {where} has a source of the family `{family}` on this checkpoint")
    return present


def resolve(ablation: Ablation, sites: Sequence[Site], num_layers: int) -> Intervention:
    """What an ablation does to the sites of a model, all at once.

    Raises:
        NotApplicable: no site has a source of the family.
        ValueError: the layers are out of range, sites would lose every source, or a pick is still open.
    """
    if isinstance(ablation.family, Pick):
        raise ValueError(f"`{ablation}` names a family chosen on the exploration split; it is resolved by a suite run")
    present = family_sites(ablation.family, ablation.sublayer, ablation.layers, sites, num_layers)
    wanted = parts(ablation.family)
    dropped = tuple(
        (site, tuple(index for index, family in enumerate(site.sources) if family in wanted)) for site in present
    )
    emptied = [str(site) for site, indices in dropped if len(indices) == len(site.sources)]
    if emptied:
        raise ValueError(f"`{ablation}` would leave no source at {', '.join(emptied)}; keep at least one family")
    return Intervention(ablation.kind, dropped)
