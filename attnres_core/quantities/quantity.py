"""What can be measured: ablations and routing summaries as data, and quantities: one of them on one of the models.

The words that make them are in `ablations` and `summaries`. Frozen, hashable, free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from attnres_core.quantities.kinds import AnyKind
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.paths import Reads
from attnres_core.quantities.vocabulary import (
    Aged,
    AnyRole,
    Control,
    Families,
    Family,
    Joint,
    Layers,
    Part,
    Positions,
    Statistic,
    Sublayer,
    Summary,
    choice,
    layers_text,
    role_of,
)


class PickRule(StrEnum):
    """The rule by which a family is chosen from the exploration split."""

    MASSIVE = "most_massive"
    """Rank by mass; rank 0 is the family with the largest."""
    CAUSAL = "most_causal"
    """The largest delta_nll among the families other than the most massive."""
    IDLE = "least_causal"
    """The smallest `|delta_nll|` among the families with a mass of at least `MIN_PICK_MASS`."""


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
    """An intervention on the routing of every matching site. Made by `drop`, `resample`, `uniform`, ..."""

    kind: AnyKind
    family: Families | Pick | None
    """None for kinds that rewrite all of a site's weights."""
    sublayer: Sublayer
    layers: Layers

    per_site: bool = False
    """Whether each layer's site is ablated alone, and the effects averaged: free of how many sites a band has."""
    recomputed: bool = False
    """Whether the weights are computed anew from the replaced sources; else they stay as they were."""
    copies: bool = False
    """Whether sources that are one tensor with the family's are taken with it."""
    amount: float | None = None
    """What `amplify` adds to the logits; the recency bias of `schedule`; how many weights `keep_top` keeps."""
    draws: int = 1
    """How many random draws are averaged."""
    control: Control | None = None
    """The matched control that this is, of the ablation without it."""
    stream: str | None = None
    """The stream (q, k or v) of sites that have several; None: all."""
    part: Part | None = None
    """What an interchange takes from the donor."""
    via: Reads | None = None
    """The later reads through which alone it acts; None: all of them."""

    def on(
        self,
        role: AnyRole | str,
        *,
        metric: Metric | str = Metric.DELTA_NLL,
        at: Positions | str = Positions.ALL,
        prompts: str = "",
    ) -> Quantity:
        """This ablation's effect on the model in `role`, as a column.

        Args:
            role: the model.
            metric: how the effect on a prompt is scored, and in which units.
            at: over which of its scored positions (the answer's metrics know one position only).
            prompts: the prompt set that it is measured on: a shipped name, such as "pairs-induction", or a file's path;
                empty: the run's (`--attnres-prompts`).
        """
        scored, where = choice(Metric, metric, "metric"), choice(Positions, at, "at")
        if scored.spec.needs and where is not Positions.ALL:
            place = "of whole sentences" if scored.spec.of_pairs else "read at the answer's position alone"
            raise ValueError(f"`at` is {where}; {scored} is {place}: leave `at` out")
        return Quantity(self, role_of(role), scored, where, prompts=_set_name(prompts))

    def __str__(self) -> str:
        """`drop(embedding, mlp, early)`; options follow, a control stands around it."""
        spec = self.kind.spec
        if spec.whole:
            return f"{self.kind}()"
        family = f"keeping {self.family}" if spec.spares and self.family else self.family
        words = [str(word) for word in (family, self.sublayer) if word is not None]
        words.append(layers_text(self.layers))
        words += [str(self.part)] if self.part else []
        words += [f"stream {self.stream}"] if self.stream else []
        words += ["per site"] if self.per_site else []
        words += ["recomputed"] if self.recomputed else []
        words += ["with copies"] if self.copies else []
        if self.amount is not None:
            words.append(spec.amount.format(self.amount))
        words += [f"{self.draws} draws"] if self.draws > 1 else []
        words += [f"via {self.via}"] if self.via else []
        text = f"{self.kind}({', '.join(words)})"
        return f"{self.control}({text})" if self.control else text


@dataclass(frozen=True, slots=True)
class RoutingSummary:
    """A number read off the depth weights of every matching site. Made by `mass`, `entropy`, `peak`, ..."""

    kind: Summary
    family: Families | Pick | None
    sublayer: Sublayer
    layers: Layers
    stream: str | None = None
    """The stream (q, k or v) of sites that have several; None: all."""

    def on(self, role: AnyRole | str, *, prompts: str = "") -> Quantity:
        """This summary of the model in `role`, as a column; `prompts` as for an ablation."""
        return Quantity(self, role_of(role), None, prompts=_set_name(prompts))

    def __str__(self) -> str:
        """`mass(older, attn, late)`; `sentence_accuracy()`, which is of no site."""
        if not self.kind.spec.of_sites:
            return f"{self.kind}()"
        family = f"{self.family}, " if self.family is not None else ""
        stream = f", stream {self.stream}" if self.stream else ""
        return f"{self.kind}({family}{self.sublayer}, {layers_text(self.layers)}{stream})"


@dataclass(frozen=True, slots=True)
class Association:
    """How a summary of a family at a site and the effect of dropping it there go together over all of them.

    Made by `mass_and_effect` and `turn_and_effect`.
    """

    kind: Statistic
    sublayer: Sublayer | None
    """None: both attention and MLP."""
    layers: Layers
    by: Summary = Summary.MASS
    """What is held against the effect: the mass that a drop removes, or how far it turns the read."""

    @property
    def family(self) -> None:
        """Every family."""
        return None

    def on(self, role: AnyRole | str, *, metric: Metric | str = Metric.DELTA_NLL, prompts: str = "") -> Quantity:
        """This statistic of the model in `role`, effects in `metric`, as a column (see `associations.influence`).

        `prompts` as for an ablation.
        """
        scored = choice(Metric, metric, "metric")
        if scored.spec.of_pairs:
            raise ValueError(f"`metric` is {scored}, which is of pairs; give one of single prompts, such as DELTA_NLL")
        return Quantity(self, role_of(role), scored, prompts=_set_name(prompts))

    def __str__(self) -> str:
        """`spearman(mass, effect; attn, late)`."""
        return f"{self.kind}({self.by}, effect; {self.sublayer or 'attn and mlp'}, {layers_text(self.layers)})"


@dataclass(frozen=True, slots=True)
class Prediction:
    """The relation of a routing summary and the clean loss over documents. Made by `summary_and_loss`."""

    kind: Statistic
    summary: RoutingSummary

    @property
    def family(self) -> Families | None:
        """The summary's."""
        family = self.summary.family
        assert not isinstance(family, Pick), "refused by `summary_and_loss`"
        return family

    @property
    def sublayer(self) -> Sublayer:
        """The summary's."""
        return self.summary.sublayer

    @property
    def layers(self) -> Layers:
        """The summary's."""
        return self.summary.layers

    def on(self, role: AnyRole | str, *, prompts: str = "") -> Quantity:
        """This statistic of the model in `role`, as a column (see `associations.pseudo_values`).

        `prompts` as for an ablation.
        """
        return Quantity(self, role_of(role), None, prompts=_set_name(prompts))

    def __str__(self) -> str:
        """`spearman(entropy(attn, all), loss)`."""
        return f"{self.kind}({self.summary}, loss)"


Relation = Association | Prediction
"""How two numbers go together: a statistic of many documents, which no single prompt has a value of."""
Request = Ablation | RoutingSummary | Relation


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number per prompt: an ablation's effect or a routing summary, on one of the suite's models."""

    what: Request
    role: AnyRole
    metric: Metric | None
    """The effect's metric; None where nothing is ablated."""
    at: Positions = Positions.ALL
    """The positions an effect is averaged over."""
    dtype: str | None = None
    """What it must be measured in, whatever the run's dtype; None: that."""
    prompts: str = ""
    """The prompt set that it is measured on, by name or path; empty: the run's."""
    variant: str = ""
    """The variant of each document that it is measured over; empty: all of a document's prompts, averaged."""

    @property
    def picks(self) -> tuple[Pick, ...]:
        """The family choices that must be made before this can be measured."""
        return (self.what.family,) if isinstance(self.what.family, Pick) else ()

    def __str__(self) -> str:
        """`drop(embedding, mlp, early) on trained [delta_nll]`; of a prompt set of its own, `on trained over NAME`."""
        where = "" if self.at is Positions.ALL else f", {self.at}"
        metric = f" [{self.metric}{where}]" if self.metric else ""
        over = f" over {self.prompts}" if self.prompts else ""
        variant = f" over {self.variant!r}" if self.variant else ""
        return f"{self.what} on {self.role}{over}{metric}{variant}"


def _set_name(given: object) -> str:
    """The name or path of a prompt set, or a ValueError."""
    if not isinstance(given, str):
        raise ValueError(f"`prompts` is {given!r}; give a shipped set's name, such as 'pairs-induction', or a path")
    return given


def family_of(given: object) -> Families | Pick:
    """A family, a joint of families or a pick, or a ValueError that lists what is allowed."""
    return given if isinstance(given, (Pick, Joint, Aged)) else choice(Family, given, "family")
