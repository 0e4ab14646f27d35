"""An ablation on one model's geometry: what is done to which sources at which sites."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnres_core.quantities.ablations import Kind
from attnres_core.quantities.kinds import KindSpec
from attnres_core.quantities.paths import Reads
from attnres_core.quantities.quantity import Ablation, Pick
from attnres_core.quantities.vocabulary import (
    ANY,
    Aged,
    Band,
    Control,
    Families,
    Family,
    Layers,
    Part,
    Site,
    Sublayer,
    Writer,
    layers_text,
    parts,
)

Touched = tuple[tuple[Site, tuple[int, ...]], ...]
"""(site, indices of the sources that are meant), in forward order."""


class NotApplicable(Exception):
    """The request is sound, but this model has no site it speaks of."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """An action at each site; equal interventions are one column whatever words asked for them."""

    kind: str
    touched: Touched
    recomputed: bool = False
    amount: float | None = None
    control: Control | None = None
    """Set where other sources than those meant are taken, token by token or prompt by prompt."""
    draw: int = 0
    """Which of several random draws this is; 0 also where nothing is random."""
    part: Part | None = None
    """What is taken from the donor."""
    via: Touched = ()
    """The reads that alone see what is changed, each with its sources that hold something of it (the running state has
    the number after the last source); none: every later read does."""
    _key: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """A short canonical text, the same for equal interventions."""
        if not self._key:
            self._key.append(self._canonical())
        return self._key[0]

    def _canonical(self) -> str:
        places = {str(site): list(indices) for site, indices in self.touched}
        options: dict[str, object] = {"recomputed": self.recomputed or None, "amount": self.amount}
        options |= {"control": self.control, "draw": self.draw or None, "part": self.part}
        options |= {"via": {str(site): list(indices) for site, indices in self.via} or None}
        given = {name: value for name, value in options.items() if value is not None}
        return json.dumps([self.kind, places, *([given] if given else [])], separators=(",", ":"))

    @property
    def first_layer(self) -> int:
        """Nothing before this layer is changed."""
        return min((site.layer for site, _ in self.touched), default=0)

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the touched sites."""
        return tuple(str(site) for site, _ in self.touched)

    @property
    def spec(self) -> KindSpec:
        """The facts about its kind."""
        return _NOTHING if self.kind == SHAM.kind else Kind(self.kind).spec

    @property
    def needs_reference(self) -> bool:
        """Return whether something measured on the reference prompts takes the place of what is taken away."""
        return self.spec.needs_reference

    @property
    def needs_donor(self) -> bool:
        """Return whether something is taken from each prompt's donor."""
        return self.spec.needs_donor

    @property
    def filled(self) -> tuple[tuple[Site, int], ...]:
        """Each site and source that another state may stand in for; in matched controls, those beside the meant."""
        return tuple(
            (site, index)
            for site, indices in self.touched
            for index in range(len(site.sources))
            if (index in indices) == (self.control is None)
        )

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Sites where a source that is taken lives on in a kept one, the same tensor: it is read less, not lost."""
        if self.control is not None:
            return ()
        return tuple(
            str(site) for site, indices in self.touched if any((i in indices) != (j in indices) for i, j in site.copies)
        )

    @property
    def no_ops(self) -> tuple[str, ...]:
        """Sites where nothing can change by construction: structural no-ops.

        All sources are one tensor, so that no weights can change what is read (unless none is left beside the running
        state, or weights are subtracted), or nothing uses what is read.
        """
        gone = _leaves_nothing(self.spec) and self.control is None
        filled = self.spec.fills or self.part in (Part.STATES, Part.BOTH)
        return tuple(
            str(site)
            for site, indices in self.touched
            if site.unread
            or (
                not filled
                and not self.spec.of_streams
                and _all_one(site)
                and not (gone and (site.free or (site.adds_to_state and len(indices) == len(site.sources))))
            )
        )

    def by_layer(self) -> tuple[Intervention, ...]:
        """The same, one layer at a time."""
        layers = dict.fromkeys(site.layer for site, _ in self.touched)
        return tuple(
            dataclasses.replace(self, touched=tuple(pair for pair in self.touched if pair[0].layer == layer))
            for layer in layers
        )


SHAM = Intervention("sham", ())
"""Takes nothing away; what it measures is the engine's own noise."""
_NOTHING = KindSpec("nothing is done", "")


def _all_one(site: Site) -> bool:
    return len(site.copies) == math.comb(len(site.sources), 2)


def sites_within(
    sites: Iterable[Site], sublayer: Sublayer, layers: Layers, num_layers: int, stream: str | None = None
) -> tuple[Site, ...]:
    """The sites that a request for `sublayer`, `layers` and `stream` addresses.

    Raises:
        ValueError: the range of layers reaches beyond the model.
    """
    if isinstance(layers, range) and layers.stop > num_layers:
        raise ValueError(f"`layers` is {layers!r}; this model has layers 0 to {num_layers - 1}")
    named = {sublayer}
    if sublayer in (Sublayer.ALL_SITES, Sublayer.ALL_SUBLAYERS):
        named = {Sublayer.ATTN, Sublayer.MLP} | ({Sublayer.FINAL} if sublayer is Sublayer.ALL_SITES else set())
    found = tuple(site for site in sites if site.sublayer in named and stream in (None, site.stream))
    if layers is Band.ALL:  # (the read-out is in no layer)
        return found
    span = layers.layers(num_layers) if isinstance(layers, Band) else layers
    return tuple(site for site in found if site.layer in span)


def family_sites(
    family: Families,
    sublayer: Sublayer,
    layers: Layers,
    sites: Sequence[Site],
    num_layers: int,
    stream: str | None = None,
) -> list[Site]:
    """The addressed sites where the family, or any of several, is present.

    Raises:
        NotApplicable: there is none.
        ValueError: the layers are out of range.
    """
    addressed = sites_within(sites, sublayer, layers, num_layers, stream)
    if stream is not None and not addressed:
        raise NotApplicable(f"no {sublayer} site in {_where(layers)} has a stream {stream!r} on this checkpoint")
    if isinstance(family, Aged) and not all(site.holds for site in addressed):
        told = "an adapted model's schedule is not known, so neither is where a block starts; name OLDER"
        raise ValueError(f"`family` is {family}: {told}")
    present = [site for site in addressed if site.members(family)]
    if not present:
        raise NotApplicable(
            f"no {sublayer} site in {_where(layers)} has a source of the family `{family}` on this checkpoint"
        )
    return present


def _where(layers: Layers) -> str:
    return layers_text(layers) if isinstance(layers, range) else f"the {layers} band"


def resolve(ablation: Ablation, sites: Sequence[Site], num_layers: int, draw: int = 0) -> Intervention:
    """What an ablation does to the sites of a model, all at once, in one of its draws.

    Raises:
        NotApplicable: no site has a source of the family, or no choice to make, or none is left for a control.
        ValueError: the layers are out of range, sites would lose every source, or a pick is still open.
    """
    family, spec = ablation.family, ablation.kind.spec
    if isinstance(family, Pick):
        raise ValueError(f"`{ablation}` names a family chosen on the exploration split; it is resolved by a suite run")
    if spec.whole:
        return Intervention(ablation.kind.value, ())
    if family is None or spec.spares:
        addressed = sites_within(sites, ablation.sublayer, ablation.layers, num_layers, ablation.stream)
        touched: Touched = tuple((site, _spared(site, family)) for site in addressed)
        choosing = [site for site, own in touched if len(own) > 1]
        if spec.of_streams:
            choosing = [site for site in addressed if _has_streams(site, ablation)]
            if not choosing:
                told = "has such parallel streams on this checkpoint"
                raise NotApplicable(f"`{ablation}`: no {ablation.sublayer} site in {_where(ablation.layers)} {told}")
        if spec.of_current and choosing:
            choosing = [site for site in choosing if Family.CURRENT in site.sources]
            if not choosing:
                raise NotApplicable(f"`{ablation}`: the current state is no source of any site of this checkpoint")
        if spec.counts:
            assert ablation.amount is not None, "kinds that count have a count"
            choosing = [site for site in choosing if len(site.sources) > ablation.amount]
        if not choosing:
            stream = f" of stream {ablation.stream!r}" if ablation.stream else ""
            where = f"{ablation.sublayer} site{stream} in {_where(ablation.layers)}"
            least = f"{ablation.amount:g} sources" if spec.counts else "one source"
            raise NotApplicable(f"no {where} has more than {least}")
        touched = tuple((site, own) for site, own in touched if site in choosing)
    else:
        present = family_sites(family, ablation.sublayer, ablation.layers, sites, num_layers, ablation.stream)
        if ablation.control is Control.RANDOM_SITES:
            present = _random_sites(ablation, family, present, sites, num_layers, draw)
        touched = tuple((site, _indices(site, family, copies=ablation.copies)) for site in present)
        if ablation.control is Control.RANDOM_SOURCES:
            touched = _random_sources(ablation, touched, draw)
    if ablation.copies:  # identical tensors are one source: where all are, there is no choice to ablate
        touched = tuple((site, indices) for site, indices in touched if not _all_one(site))
        if not touched:
            raise NotApplicable(f"`{ablation}`: all sources of these sites are one tensor")
    kind, control = ablation.kind, ablation.control
    if spec.others:
        kind = Kind(spec.others)
        touched = tuple((site, tuple(i for i in range(len(site.sources)) if i not in own)) for site, own in touched)
    matched = control in (Control.MATCHED_MASS, Control.MATCHED_COUNT)
    emptied = [
        str(site)
        for site, indices in touched
        if family is not None and len(indices) == len(site.sources) and (matched or not site.may_lose_all)
    ]
    given = control if matched or control in (Control.PLACEBO, Control.SELF_SWAP) else None
    if emptied and (_leaves_nothing(kind.spec) or matched):
        why = "finds no other source to take from" if matched else "would leave no source"
        raise ValueError(f"`{ablation}` {why} at {', '.join(emptied)}; keep at least one family")
    everywhere = Intervention(
        kind.value,
        touched,
        ablation.recomputed,
        ablation.amount,
        given,
        draw if matched or kind.spec.random else 0,
        ablation.part,
    )
    return everywhere if ablation.via is None else _along(ablation, ablation.via, everywhere, sites, num_layers)


def _along(
    ablation: Ablation, via: Reads, everywhere: Intervention, sites: Sequence[Site], num_layers: int
) -> Intervention:
    """An intervention on a path: the sites whose outputs the path's readers read, and what of it each reads.

    Raises:
        NotApplicable: no such reader's sources hold what the ablated sublayers write.
        ValueError: the readers come before them, the read-out is ablated, or sublayers are not at hand.
    """
    if not all(site.holds for site in sites):
        raise ValueError(
            f"`{ablation}`: an adapted model runs as a whole, so that no sublayer's output is at hand; leave `via` out"
        )
    writers = {_writer(site) for site, _ in everywhere.touched}
    if any(sublayer is Sublayer.FINAL for _, sublayer in writers):
        raise ValueError(f"`{ablation}` ablates the read-out, which nothing reads; ablate ATTN or MLP sites")
    readers = [(site, _of_path(site, via.family)) for site in _readers(via, sites, num_layers)]
    readers = [(site, indices) for site, indices in readers if indices]
    if not readers:
        raise NotApplicable(f"`{ablation}`: `{via}` addresses no source of any site of this checkpoint")
    first = everywhere.touched[0][0]
    if all(_place(site) <= _place(first) for site, _ in readers):
        raise ValueError(f"`{ablation}`: the reads of `{via}` all come before {first} writes; name later readers")
    held = [(site, tuple(i for i in indices if site.holds[i] & writers)) for site, indices in readers]
    seen = tuple((site, indices) for site, indices in held if indices)
    if not seen:
        raise NotApplicable(
            f"`{ablation}`: no source that `{via}` names on this checkpoint holds what the ablated sublayers write"
        )
    read = frozenset().union(*(site.holds[i] for site, indices in seen for i in indices))
    touched = tuple((site, own) for site, own in everywhere.touched if _writer(site) in read)
    return dataclasses.replace(everywhere, touched=touched, via=seen)


def _writer(site: Site) -> Writer:
    return site.layer, site.sublayer


def _place(site: Site) -> tuple[int, bool]:
    """Where a site's sublayer is in forward order."""
    return site.layer, site.sublayer is not Sublayer.ATTN


def _readers(via: Reads, sites: Sequence[Site], num_layers: int) -> list[Site]:
    """The sites that a path addresses. Where the last norm reads the running state itself, that is the read-out."""
    found = list(sites_within(sites, via.sublayer, via.layers, num_layers))
    has_readout = any(site.sublayer is Sublayer.FINAL for site in sites)
    if via.layers is Band.ALL and via.sublayer in (Sublayer.FINAL, Sublayer.ALL_SITES) and not has_readout:
        everything = frozenset((layer, own) for layer in range(num_layers) for own in (Sublayer.ATTN, Sublayer.MLP))
        found.append(Site(num_layers, Sublayer.FINAL, (), adds_to_state=True, holds=(everything,)))
    return found


def _of_path(site: Site, family: Families) -> tuple[int, ...]:
    """The numbers of a site's sources of a family; of the running state beside them, where that is read, too."""
    beside = (Family.CURRENT,) * site.adds_to_state
    return tuple(i for i, own in enumerate((*site.sources, *beside)) if own in parts(family))


def _has_streams(site: Site, ablation: Ablation) -> bool:
    """Whether a site has what a kind changes of parallel streams."""
    has = {"pre": site.parallel > (ablation.amount or 0), "post": site.writes, "comb": site.mixes}
    return has[ablation.kind.spec.of_streams]


def _spared(site: Site, family: Families | None) -> tuple[int, ...]:
    """All sources of a site but those of a family that is left as it is."""
    spared = () if family is None else parts(family)
    return tuple(index for index, own in enumerate(site.sources) if own not in spared)


def self_swap(sites: Sequence[Site], num_layers: int) -> Intervention:
    """Every read of a prompt taken from its own clean run: a sham of the way in which interchanges act."""
    whole = Ablation(Kind.INTERCHANGE, ANY, Sublayer.ALL_SITES, Band.ALL, control=Control.SELF_SWAP, part=Part.BOTH)
    return resolve(whole, sites, num_layers)


def _leaves_nothing(spec: KindSpec) -> bool:
    """Return whether nothing takes the place of what is taken, so that a site must keep a source."""
    return spec.removes and not spec.fills


def _indices(site: Site, family: Families, *, copies: bool) -> tuple[int, ...]:
    """The family's sources at a site, with those that are one tensor with them where `copies` are taken too."""
    found = set(site.members(family))
    if copies:
        for _ in site.copies:  # (copies of copies)
            found |= {other for pair in site.copies if found & set(pair) for other in pair}
    return tuple(sorted(found))


def _random_sites(
    ablation: Ablation, family: Families, present: Sequence[Site], sites: Sequence[Site], num_layers: int, draw: int
) -> list[Site]:
    """As many sites outside the ablated layers, in forward order: the same for every kind of ablation."""
    everywhere = family_sites(family, ablation.sublayer, Band.ALL, sites, num_layers, ablation.stream)
    layers = {site.layer for site in sites_within(sites, ablation.sublayer, ablation.layers, num_layers)}
    others = [
        site
        for site in everywhere
        if site.layer not in layers
        and not _all_one(site)
        and len(_indices(site, family, copies=ablation.copies)) < len(site.sources)
    ]
    if not others:
        raise NotApplicable(f"`{ablation}`: no site outside {_where(ablation.layers)} has the family `{family}`")
    words = (family, ablation.sublayer, layers_text(ablation.layers), ablation.stream, draw)  # not the kind
    seed = hashlib.sha256("|".join(map(str, words)).encode()).digest()[:8]
    chosen = np.random.default_rng(int.from_bytes(seed)).permutation(len(others))[: len(present)]
    return [others[index] for index in sorted(chosen)]


def _random_sources(ablation: Ablation, touched: Touched, draw: int) -> Touched:
    """As many sources at each site, of all but the current state: the same for every prompt and kind of ablation."""
    words = (ablation.family, ablation.sublayer, layers_text(ablation.layers), ablation.stream, draw)  # not the kind
    seed = hashlib.sha256("|".join(map(str, words)).encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed))
    found = []
    for site, indices in touched:
        allowed = [index for index, own in enumerate(site.sources) if own is not Family.CURRENT or index in indices]
        found.append((site, tuple(sorted(int(i) for i in rng.permutation(allowed)[: len(indices)]))))
    if tuple(found) == touched and all(len(indices) == len(site.sources) - 1 for site, indices in touched):
        raise NotApplicable(f"`{ablation}`: at every site the family is all there is beside the current state")
    return tuple(found)


def drawn(ablation: Ablation, sites: Sequence[Site], num_layers: int) -> tuple[Intervention, ...]:
    """Every intervention whose effects an ablation averages: its draws, one layer at a time where it says so.

    Raises:
        NotApplicable, ValueError: as for `resolve`.
    """
    whole = [resolve(ablation, sites, num_layers, draw) for draw in range(ablation.draws)]
    split = [each.by_layer() if ablation.per_site else (each,) for each in whole]
    return tuple(itertools.chain.from_iterable(split))


def cells(sites: Iterable[Site]) -> list[tuple[Site, Family]]:
    """Every site where there is a choice, with each family that it has."""
    found = [(site, family) for site in sites for family in dict.fromkeys(site.sources)]
    return [(site, family) for site, family in found if family is not None]


def cell(site: Site, family: Family) -> Intervention:
    """A family dropped at one site alone."""
    return Intervention(Kind.DROP.value, ((site, _indices(site, family, copies=False)),))


def composed(interventions: Sequence[Intervention]) -> tuple[Intervention, ...]:
    """Interventions that are to act together on one run, in a canonical order: that of asking does not matter.

    Raises:
        ValueError: two of them are about the same source of the same site, they leave a site without one, or one of
            them acts along a path.
    """
    if len(interventions) > 1 and any(each.via for each in interventions):
        raise ValueError("an ablation with `via` acts alone: what others change would go with it; give it by itself")
    places = [(site, index) for each in interventions for site, indices in each.touched for index in indices]
    if twice := [place for place, count in Counter(places).items() if count > 1]:
        site, index = twice[0]
        raise ValueError(f"source {index} of site {site} is ablated twice; give interventions on different sources")
    controlled = {site for each in interventions if each.control for site, _ in each.touched}
    if shared := [site for site, each in Counter(s for i in interventions for s, _ in i.touched).items() if each > 1]:
        if clash := [str(site) for site in shared if site in controlled]:
            raise ValueError(f"a matched control acts with others at {', '.join(clash)}; give it sites of its own")
    gone = Counter(
        site
        for each in interventions
        if _leaves_nothing(each.spec) and each.control is None
        for site, indices in each.touched
        for _ in indices
    )
    alone = {site: count for site, count in gone.items() if not site.may_lose_all}
    if emptied := [str(site) for site, count in alone.items() if count == len(site.sources)]:
        raise ValueError(f"together they would leave no source at {', '.join(emptied)}; keep at least one family")
    return tuple(sorted(interventions, key=lambda intervention: intervention.key))
