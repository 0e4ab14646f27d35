"""The words everything else is written in: sites, families, bands, ablations, quantities.

Glossary
    depth source   something a sublayer may read: the embedding, a completed block, the current state
    site           one place where routing happens: (layer, sublayer[, stream]), or the final read-out
    family         a class of sources; the families partition the sources of every site
    band           a contiguous third of the layers, or all of them
    ablation       an intervention on routing, as data
    quantity       an ablation's effect or a routing summary, on one of the suite's models: one column

Everything here is frozen, hashable and free of torch, so that claims collect fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar


class Family(StrEnum):
    """A class of depth sources."""

    EMBEDDING = "embedding"
    """Source 0: the token embedding."""
    CURRENT = "current"
    """The last source: what the running block has accumulated so far."""
    RECENT = "recent"
    """The newest completed block other than the embedding."""
    OLDER = "older"
    """The completed blocks before the newest."""

    def __and__(self, other: object) -> Joint:
        """Both families at once: `drop(RECENT & OLDER, ...)`."""
        return Joint((self,)) & other


@dataclass(frozen=True, slots=True)
class Joint:
    """Several families at once, so that one cannot stand in for the other. Made by `&`."""

    families: tuple[Family, ...]
    """In the order of `Family`, each once."""

    def __and__(self, other: object) -> Joint:
        """One family more, or several."""
        both = {*self.families, *(other.families if isinstance(other, Joint) else (_choice(Family, other, "family"),))}
        return Joint(tuple(family for family in Family if family in both))

    def __str__(self) -> str:
        """`recent & older`."""
        return " & ".join(self.families)


Families = Family | Joint


def parts(family: Families) -> tuple[Family, ...]:
    """The families that a family or a joint of families names."""
    return family.families if isinstance(family, Joint) else (family,)


class Sublayer(StrEnum):
    """What reads the sources at a site."""

    ATTN = "attn"
    """The attention sublayer."""
    MLP = "mlp"
    """The MLP sublayer."""
    FINAL = "final"
    """The read-out before the unembedding, in dialects that have one."""


class Band(StrEnum):
    """A contiguous third of the layers (the earlier bands take the extra layers), or all layers."""

    EARLY = "early"
    """The first third."""
    MID = "mid"
    """The second third."""
    LATE = "late"
    """The last third."""
    ALL = "all"
    """Every layer."""

    def layers(self, num_layers: int) -> range:
        """The layers of this band in a model of `num_layers` layers (28 layers give 10, 9 and 9)."""
        if self is Band.ALL:
            return range(num_layers)
        index = (Band.EARLY, Band.MID, Band.LATE).index(self)
        size, extra = divmod(num_layers, 3)
        start = index * size + min(index, extra)
        return range(start, start + size + (index < extra))


class Role(StrEnum):
    """Which of the suite's models a quantity is measured on."""

    TRAINED = "trained"
    """The AttnRes checkpoint that the claims are about (`--attnres-trained`)."""
    WRAPPED = "wrapped"
    """The vanilla baseline with a constant recency schedule (`--attnres-vanilla`)."""
    STOCK = "stock"
    """The vanilla baseline as the public code loads it: pseudo-queries random instead of zero. A negative control."""
    UNTRAINED = "untrained"
    """The trained checkpoint's architecture at a seeded initialisation, pseudo-queries zero: a control."""


@dataclass(frozen=True, slots=True)
class Step:
    """The trained checkpoint's own run at an earlier step, kept as `checkpoint-<number>` in its folder."""

    number: int

    @property
    def value(self) -> str:
        """`step-200`, as a role's value."""
        return f"step-{self.number}"

    def __str__(self) -> str:
        """`step-200`."""
        return self.value


AnyRole = Role | Step


class Metric(StrEnum):
    """How an ablation's effect on a prompt is scored, as a mean over the scored positions."""

    DELTA_NLL = "delta_nll"
    """NLL of the ablated run minus NLL of the clean run, nats per token."""
    KL = "kl"
    """KL(clean || ablated) of the next-token distribution, nats per token."""


class Summary(StrEnum):
    """A number read off the depth weights themselves, per prompt."""

    MASS = "mass"
    """Depth weight on a family, averaged over positions and the sites of the layers."""
    UNIFORM_MASS = "uniform_mass"
    """The mass that uniform depth weights (1 / number of sources) would put there: the null for MASS."""
    ENTROPY = "entropy"
    """Entropy of the depth weights, nats, averaged over positions and sites."""
    PEAK = "peak"
    """Largest depth weight, averaged over positions and sites."""
    SPREAD = "spread"
    """Largest distance of any depth weight from its average over all prompts and positions."""
    CLOSED_FORM_ERROR = "closed_form_error"
    """Largest distance of any depth weight from the wrapped baseline's closed-form schedule."""


Layers = Band | range
_Choice = TypeVar("_Choice", Family, Sublayer, Band, Role, Metric)


def _choice(kind: type[_Choice], given: object, argument: str) -> _Choice:
    """`given` as a member of the enum `kind`, or a ValueError that lists what is allowed."""
    try:
        return kind(given)  # type: ignore[arg-type]
    except ValueError:
        allowed = ", ".join(f"{member.name} ({member.value!r})" for member in kind)
        raise ValueError(f"`{argument}` is {given!r}; allowed: {allowed}") from None


def _role(given: object) -> AnyRole:
    return given if isinstance(given, Step) else _choice(Role, given, "role")


def at_step(number: int) -> Step:
    """An earlier step of the trained checkpoint's run, for `.on(at_step(200))`.

    It is read from the folder `checkpoint-<number>` inside the trained checkpoint's own, where the transformers Trainer
    (and `python -m attnres_core train --keep`) puts it. Where there is none, the claim is NOT APPLICABLE.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"`number` is {number!r}; give the number of a training step, 0 or more")
    return Step(number)


def _layers(given: object, sublayer: Sublayer) -> Layers:
    """A band, or a non-empty range of layers with step 1."""
    if isinstance(given, range):
        if given.step != 1 or not given or given.start < 0:
            raise ValueError(f"`layers` is {given!r}; give a non-empty range(start, stop) of layers, step 1")
        layers: Layers = given
    else:
        layers = _choice(Band, given, "layers")
    if sublayer is Sublayer.FINAL and layers is not Band.ALL:
        raise ValueError(f"`layers` is {layers}; the read-out (FINAL) is one site: leave `layers` out")
    return layers


@dataclass(frozen=True, slots=True)
class Site:
    """One place where routing happens."""

    layer: int
    sublayer: Sublayer
    sources: tuple[Family | None, ...]
    """The family of each source, in order; `(None,)` where there is one source and so no choice."""
    stream: str | None = None
    """The stream (q, k or v) in models with several pseudo-queries per sublayer."""
    copies: tuple[tuple[int, int], ...] = ()
    """Pairs of sources that are one and the same tensor here."""

    def __str__(self) -> str:
        """`3.mlp`; with a stream, `3.attn.q`."""
        return ".".join(filter(None, (str(self.layer), self.sublayer.value, self.stream)))


class PickRule(StrEnum):
    """How a family is chosen from the exploration split."""

    MASSIVE = "most_massive"
    """Rank by mass; rank 0 is the family with the largest."""
    CAUSAL = "most_causal"
    """The largest delta_nll among the families other than the most massive."""
    IDLE = "least_causal"
    """The smallest |delta_nll| among the families with a mass of at least `MIN_PICK_MASS`."""


MIN_PICK_MASS = 0.10
"""Mean depth weight that makes a family eligible for `least_causal`: well above rounding, and about
half of what a uniform read of five sources gives each of them."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A family chosen on the exploration split, so that the confirmation split can test the choice."""

    rule: PickRule
    sublayer: Sublayer
    layers: Layers
    rank: int = 0
    of: int | None = None
    """Applies only where exactly so many families are present; None: anywhere."""

    def __str__(self) -> str:
        """`most_massive#1(attn, late)`."""
        rank = f"#{self.rank}" if self.rank else ""
        of = f" of {self.of}" if self.of else ""
        return f"{self.rule}{rank}{of}({self.sublayer}, {layers_text(self.layers)})"


@dataclass(frozen=True, slots=True)
class Ablation:
    """An intervention on the routing of every matching site. Made by `drop`."""

    kind: str
    family: Families | Pick
    sublayer: Sublayer
    layers: Layers

    per_site: bool = False
    """Whether each layer's site is ablated alone, and the effects averaged: free of how many sites a band has."""

    def on(self, role: AnyRole | str, *, metric: Metric | str = Metric.DELTA_NLL) -> Quantity:
        """This ablation's effect on the model in `role`, as a column in units of `metric` (nats per token)."""
        return Quantity(self, _role(role), _choice(Metric, metric, "metric"))

    def __str__(self) -> str:
        """`drop(embedding, mlp, early)`."""
        per_site = ", per site" if self.per_site else ""
        return f"{self.kind}({self.family}, {self.sublayer}, {layers_text(self.layers)}{per_site})"


@dataclass(frozen=True, slots=True)
class RoutingSummary:
    """A number read off the depth weights of every matching site. Made by `mass`, `entropy`, `peak`, ..."""

    kind: Summary
    family: Families | Pick | None
    sublayer: Sublayer
    layers: Layers

    def on(self, role: AnyRole | str) -> Quantity:
        """This summary of the model in `role`, as a column."""
        return Quantity(self, _role(role), None)

    def __str__(self) -> str:
        """`mass(older, attn, late)`."""
        family = f"{self.family}, " if self.family is not None else ""
        return f"{self.kind}({family}{self.sublayer}, {layers_text(self.layers)})"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number per prompt: an ablation's effect or a routing summary, on one of the suite's models."""

    what: Ablation | RoutingSummary
    role: AnyRole
    metric: Metric | None
    """The effect's metric; None for a routing summary."""

    @property
    def picks(self) -> tuple[Pick, ...]:
        """The family choices that must be made before this can be measured."""
        return (self.what.family,) if isinstance(self.what.family, Pick) else ()

    def __str__(self) -> str:
        """`drop(embedding, mlp, early) on trained [delta_nll]`."""
        metric = f" [{self.metric}]" if self.metric else ""
        return f"{self.what} on {self.role}{metric}"


def layers_text(layers: Layers) -> str:
    """`early`, or `layers 3-5`."""
    return layers.value if isinstance(layers, Band) else f"layers {layers.start}-{layers.stop - 1}"


def _family(given: object) -> Families | Pick:
    return given if isinstance(given, (Pick, Joint)) else _choice(Family, given, "family")


def drop(
    family: Families | Pick | str, sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, per_site: bool = False
) -> Ablation:
    """Mask a family's sources before the softmax and renormalise, at every matching site.

    Several families at once, `drop(RECENT & OLDER, ...)`, are dropped wherever any of them is: what the one alone
    does not show because the other stands in for it.

    Estimand: what the sublayers lose when they can no longer read this family directly, the rest of
    their read scaled up to take its place. With `per_site`, one layer's site is ablated at a time and the effects
    are averaged over the layers that have the family, so that bands of different size can be compared.
    """
    reader = _choice(Sublayer, sublayer, "sublayer")
    return Ablation("drop", _family(family), reader, _layers(layers, reader), bool(per_site))


def _summary(kind: Summary, family: object, sublayer: Sublayer | str, layers: Layers | str) -> RoutingSummary:
    reader = _choice(Sublayer, sublayer, "sublayer")
    return RoutingSummary(kind, None if family is None else _family(family), reader, _layers(layers, reader))


def mass(family: Families | Pick | str, sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """Depth weight on a family, in [0, 1], averaged over positions and sites."""
    return _summary(Summary.MASS, family, sublayer, layers)


def uniform_mass(
    family: Families | Pick | str, sublayer: Sublayer | str, layers: Layers | str = Band.ALL
) -> RoutingSummary:
    """The mass that uniform weights would put on a family: its share of the sources, averaged over sites."""
    return _summary(Summary.UNIFORM_MASS, family, sublayer, layers)


def entropy(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """Entropy of the depth weights in nats, averaged over positions and sites."""
    return _summary(Summary.ENTROPY, None, sublayer, layers)


def peak(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """Largest depth weight, in [0, 1], averaged over positions and sites."""
    return _summary(Summary.PEAK, None, sublayer, layers)


def spread(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """How far depth weights depend on content: largest distance from their average over prompts and positions."""
    return _summary(Summary.SPREAD, None, sublayer, layers)


def closed_form_error(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """Largest distance of the depth weights from e^b / (e^b + n - 1) on current, 1 / (e^b + n - 1) elsewhere."""
    return _summary(Summary.CLOSED_FORM_ERROR, None, sublayer, layers)


def most_massive(
    sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, rank: int = 0, of: int | None = None
) -> Pick:
    """The family with the largest mass on the trained model's exploration split.

    Args:
        sublayer: whose sites.
        layers: in which layers.
        rank: 1 for the second, 2 for the third, ...
        of: the claim applies only where exactly so many families are present.
    """
    reader = _choice(Sublayer, sublayer, "sublayer")
    if rank not in range(len(Family)):
        raise ValueError(f"`rank` is {rank!r}; allowed: 0 (largest mass) to {len(Family) - 1}")
    return Pick(PickRule.MASSIVE, reader, _layers(layers, reader), rank, of)


def most_causal(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> Pick:
    """The family other than the most massive with the largest delta_nll on the exploration split."""
    reader = _choice(Sublayer, sublayer, "sublayer")
    return Pick(PickRule.CAUSAL, reader, _layers(layers, reader))


def least_causal(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> Pick:
    """The family with the smallest |delta_nll| among those with mass >= MIN_PICK_MASS, on the exploration split."""
    reader = _choice(Sublayer, sublayer, "sublayer")
    return Pick(PickRule.IDLE, reader, _layers(layers, reader))
