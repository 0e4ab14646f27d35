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

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeVar

VARIANTS = ("as written", "rewrapped", "lower case", "indented")
"""The variants of a document that `python -m attnres_core prompts variants` makes, and `variants=True` means."""


class Row(StrEnum):
    """The base of enums whose members are rows of a table: a name, and `spec`, what there is to know of it."""

    spec: Any

    def __new__(cls, name: str, spec: Any = None) -> Self:
        """A row; `Kind("drop")` finds one by its name."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.spec = spec
        return row


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
    NULL = "null"
    """A learned vector, the same for every token, that some models can read in the place of any state."""

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
        both = {*self.families, *(other.families if isinstance(other, Joint) else (choice(Family, other, "family"),))}
        return Joint(tuple(family for family in Family if family in both))

    def __str__(self) -> str:
        """`recent & older`; `any`, where it is every family."""
        return "any" if len(self.families) == len(Family) else " & ".join(self.families)


@dataclass(frozen=True, slots=True)
class Aged:
    """Completed blocks before the newest one, whichever source the newest is. `NONRECENT` is the only one."""

    families: tuple[Family, ...] = (Family.OLDER,)
    """Where the newest completed block is a source of its own."""
    at_block_start: tuple[Family, ...] = (Family.RECENT, Family.OLDER)
    """Where a block's first attention reads it as its current state."""

    def __str__(self) -> str:
        """`nonrecent`."""
        return "nonrecent"


Families = Family | Joint | Aged
ANY = Joint(tuple(Family))
"""Every family: all sources of a site."""
NONRECENT = Aged()
"""OLDER; and, where a block's first attention reads the newest completed block as its current state, RECENT too."""


def parts(family: Families) -> tuple[Family, ...]:
    """The families that a family or several at once name, at sites that have the newest block for a source."""
    return (family,) if isinstance(family, Family) else family.families


class Sublayer(StrEnum):
    """The reader of the sources at a site."""

    ATTN = "attn"
    """The attention sublayer."""
    MLP = "mlp"
    """The MLP sublayer."""
    FINAL = "final"
    """The read-out before the unembedding, in dialects that have one."""
    ALL_SITES = "all_sites"
    """A request for every site: attention, MLP and, where all layers are asked for, the read-out. No site's own."""
    ALL_SUBLAYERS = "all_sublayers"
    """A request for every attention and MLP, never the read-out. No site's own."""


class Part(StrEnum):
    """The part of a read that an interchange takes from the donor's run: h is the sum of a_i s_i."""

    STATES = "states"
    """The sources' states s_i, under the run's own weights."""
    WEIGHTS = "weights"
    """The depth weights a_i, on the run's own states."""
    BOTH = "both"
    """States and weights."""


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
    """The model of the suite that a quantity is measured on."""

    TRAINED = "trained"
    """The AttnRes checkpoint that the claims are about (`--attnres-trained`)."""
    WRAPPED = "wrapped"
    """The vanilla baseline with a constant recency schedule (`--attnres-vanilla`)."""
    STOCK = "stock"
    """The vanilla baseline as the public code loads it: pseudo-queries random instead of zero. A negative control."""
    UNTRAINED = "untrained"
    """The trained checkpoint's architecture at a seeded initialisation, pseudo-queries zero: a control."""
    BASE = "base"
    """The vanilla model that the trained checkpoint is a retrofit of, as it computes its own function."""
    GAINS = "gains"
    """The retrofit's control, where `--attnres-vanilla` is one: gains of the base's norms trained, routing constant."""


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


class Positions(StrEnum):
    """Over which of a prompt's scored positions an effect is averaged."""

    ALL = "all"
    """Every next-token prediction."""
    FIRST_THIRD = "first_third"
    """The first third of them (rounded up), where there is little context."""
    LAST = "last"
    """The last one, which has all of it."""


@dataclass(frozen=True, slots=True)
class SummarySpec:
    """The facts of a routing summary."""

    unit: str
    words: str
    """What it is, as a noun; `{f}` stands for its family."""
    formula: str
    worst: bool = False
    """Whether a claim about it speaks of the worst prompt: it is decided exactly, by the maximum."""
    of_sites: bool = True
    """Whether it is read at sites; else off the clean run's losses."""
    of_weights: bool = True
    """Whether depth weights alone decide it; else what the states are has its part."""


class Summary(Row):
    """A number read off the depth weights themselves, per prompt."""

    spec: SummarySpec

    MASS = "mass", SummarySpec("depth weight", "the mean depth weight on {f}", "E_d[Σ a_i, i in F]")
    """Depth weight on a family, averaged over positions and the sites of the layers."""
    UNIFORM_MASS = (
        "uniform_mass",
        SummarySpec("depth weight", "the depth weight on {f} if all sources had the same", "E_d[Σ 1/n, i in F]"),
    )
    """The mass that uniform depth weights (1 / number of sources) would put there: the null for MASS."""
    ENTROPY = "entropy", SummarySpec("nats", "the mean entropy of the depth weights, nats,", "E_d[−Σ a_i ln a_i]")
    """Entropy of the depth weights, nats, averaged over positions and sites."""
    PEAK = "peak", SummarySpec("depth weight", "the mean of the largest depth weight", "E_d[max a_i]")
    """Largest depth weight, averaged over positions and sites."""
    TURN = (
        "turn",
        SummarySpec(
            "1 − cosine",
            "the mean turn of the read when {f} is left out, as 1 less the cosine,",
            "E_d[1 − cos(h, h − Σ a_i s_i, i in F)]",
            of_weights=False,
        ),
    )
    """How far the read turns when a family is left out of it, averaged over positions and sites: 1 less the cosine."""
    STREAMS_READ = (
        "streams_read",
        SummarySpec(
            "streams",
            "the effective number of parallel streams that a read draws on",
            "E_d[1 / Σ_k p_k²], p_k ∝ |pre_k X_k|",
            of_weights=False,
        ),
    )
    """Parallel streams that make up the size of a read, averaged over positions and sites: one over the sum of squares
    of their parts in it."""
    SENTENCE_ACCURACY = (
        "sentence_accuracy",
        SummarySpec(
            "% of pairs",
            "the share of pairs whose good sentence is likelier than its bad one, in percent,",
            "100 P(ln p(good_d) > ln p(bad_d))",
            of_sites=False,
            of_weights=False,
        ),
    )
    """Percentage of pairs of sentences, good and bad, whose good one is likelier."""
    LOSS = (
        "loss",
        SummarySpec("nats/token", "the mean loss, nats per token,", "E_d[L(x_d)]", of_sites=False, of_weights=False),
    )
    """The clean run's own loss, nats per token."""
    SPREAD = (
        "spread",
        SummarySpec(
            "max depth-weight error",
            "the largest distance of any depth weight from its average",
            "max |a_i − mean of a_i|",
            worst=True,
        ),
    )
    """Largest distance of any depth weight from its average over all prompts and positions."""
    CLOSED_FORM_ERROR = (
        "closed_form_error",
        SummarySpec(
            "max depth-weight error",
            "the largest distance of any depth weight from the recency schedule",
            "max |a_i − schedule_i|",
            worst=True,
        ),
    )
    """Largest distance of any depth weight from the wrapped baseline's closed-form schedule."""


class Statistic(StrEnum):
    """The relation of two numbers that every site and family has, over sites and families."""

    SLOPE = "slope"
    """Least squares: nats per token for a unit of mass."""
    PEARSON = "pearson"
    """Linear correlation."""
    SPEARMAN = "spearman"
    """Rank correlation."""
    KENDALL = "kendall"
    """Pairs in the same order less pairs in opposite order, as a share of all pairs (tau-b)."""


Layers = Band | range
_Choice = TypeVar("_Choice", bound=StrEnum)


def choice(kind: type[_Choice], given: object, argument: str) -> _Choice:
    """`given` as a member of the enum `kind`, or a ValueError that lists what is allowed."""
    try:
        return kind(given)  # type: ignore[arg-type]
    except ValueError:
        allowed = ", ".join(f"{member.name} ({member.value!r})" for member in kind)
        raise ValueError(f"`{argument}` is {given!r}; allowed: {allowed}") from None


def role_of(given: object) -> AnyRole:
    """A role or a step, or a ValueError that lists what is allowed."""
    return given if isinstance(given, Step) else choice(Role, given, "role")


def at_step(number: int) -> Step:
    """An earlier step of the trained checkpoint's run, for `.on(at_step(200))`.

    It is read from the folder `checkpoint-<number>` inside the trained checkpoint's own, where the transformers Trainer
    (and `python -m attnres_core train --keep`) puts it. Where there is none, the claim is NOT APPLICABLE.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"`number` is {number!r}; give the number of a training step, 0 or more")
    return Step(number)


def layers_of(given: object, sublayer: Sublayer) -> Layers:
    """A band, or a non-empty range of layers with step 1."""
    if isinstance(given, range):
        if given.step != 1 or not given or given.start < 0:
            raise ValueError(f"`layers` is {given!r}; give a non-empty range(start, stop) of layers, step 1")
        layers: Layers = given
    else:
        layers = choice(Band, given, "layers")
    if sublayer is Sublayer.FINAL and layers is not Band.ALL:
        raise ValueError(f"`layers` is {layers}; the read-out (FINAL) is one site: leave `layers` out")
    return layers


Writer = tuple[int, Sublayer]
"""A layer's attention or MLP, as what writes an output."""


class SiteKey(NamedTuple):
    """The attributes that identify a site."""

    layer: int
    sublayer: Sublayer
    stream: str | None = None


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
    adds_to_state: bool = False
    """Whether the running state is read beside the mixture, with weight one: such a site may lose every source."""
    unread: bool = False
    """Whether nothing uses what is read here, so that nothing done here changes anything."""
    holds: tuple[frozenset[Writer], ...] = field(default=(), compare=False, repr=False)
    """The sublayers whose outputs each source is made of (where reads add to the running state, last those of that
    state); empty where it is not known, as of adapted models."""
    free: bool = False
    """Whether the weights are on no simplex, so that what is taken away is subtracted and the rest stays as it is."""

    parallel: int = 0
    """How many parallel streams it reads, in models with hyper-connections."""
    mixes: bool = False
    """Whether the parallel streams mix there."""
    writes: bool = False
    """Whether something is written to the parallel streams after it: not at the read-out."""
    starts_block: bool = field(default=False, compare=False)
    """Whether its current state is the newest completed block, which becomes a source of its own just after this."""

    @property
    def may_lose_all(self) -> bool:
        """Whether something defined is read without any source: the running state, or zero."""
        return self.adds_to_state or self.free

    def members(self, family: Families) -> tuple[int, ...]:
        """The numbers of the sources of a family, or of several at once."""
        wanted = family.at_block_start if isinstance(family, Aged) and self.starts_block else parts(family)
        return tuple(index for index, own in enumerate(self.sources) if own in wanted)

    @property
    def key(self) -> SiteKey:
        """Return where it is."""
        return SiteKey(self.layer, self.sublayer, self.stream)

    def __str__(self) -> str:
        """`3.mlp`; with a stream, `3.attn.q`."""
        return ".".join(filter(None, (str(self.layer), self.sublayer.value, self.stream)))


class Control(StrEnum):
    """The other sources that a matched control takes instead of the family's; see the functions of these names."""

    MATCHED_MASS = "matched_mass"
    MATCHED_COUNT = "matched_count"
    RANDOM_SITES = "random_sites"
    RANDOM_SOURCES = "random_sources"
    PLACEBO = "placebo"
    SELF_SWAP = "self_swap"
    """An interchange of a prompt with itself: the engine's own noise, no word of a claim."""


def layers_text(layers: Layers) -> str:
    """`early`, or `layers 3-5`."""
    return layers.value if isinstance(layers, Band) else f"layers {layers.start}-{layers.stop - 1}"
