"""The words for what is read off depth weights: routing summaries, and families that the weights choose."""

from __future__ import annotations

from attnres_core.quantities.quantity import (
    Association,
    Pick,
    PickRule,
    Prediction,
    RoutingSummary,
    family_of,
)
from attnres_core.quantities.vocabulary import (
    Aged,
    Band,
    Families,
    Family,
    Joint,
    Layers,
    Statistic,
    Sublayer,
    Summary,
    choice,
    layers_of,
)


def _summary(
    kind: Summary, family: object, sublayer: Sublayer | str, layers: Layers | str, stream: str | None = None
) -> RoutingSummary:
    reader, own = choice(Sublayer, sublayer, "sublayer"), None if family is None else family_of(family)
    return RoutingSummary(kind, own, reader, layers_of(layers, reader), stream)


def mass(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    stream: str | None = None,
) -> RoutingSummary:
    """Depth weight on a family, in [0, 1], averaged over positions and sites.

    Args:
        family: whose depth weight.
        sublayer: at whose sites.
        layers: in which layers.
        stream: only at the sites of this stream (q, k or v), in models whose sublayers read several.
    """
    return _summary(Summary.MASS, family, sublayer, layers, stream)


def uniform_mass(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    stream: str | None = None,
) -> RoutingSummary:
    """The mass that uniform weights would put on a family: its share of the sources, averaged over sites."""
    return _summary(Summary.UNIFORM_MASS, family, sublayer, layers, stream)


def entropy(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, stream: str | None = None) -> RoutingSummary:
    """Entropy of the depth weights in nats, averaged over positions and sites."""
    return _summary(Summary.ENTROPY, None, sublayer, layers, stream)


def peak(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, stream: str | None = None) -> RoutingSummary:
    """Largest depth weight, in [0, 1], averaged over positions and sites."""
    return _summary(Summary.PEAK, None, sublayer, layers, stream)


def spread(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, stream: str | None = None) -> RoutingSummary:
    """How far depth weights depend on content: largest distance from their average over prompts and positions."""
    return _summary(Summary.SPREAD, None, sublayer, layers, stream)


def turn(
    family: Family | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    stream: str | None = None,
) -> RoutingSummary:
    """How far the read turns when a family is left out: 1 - cos(h, h without it), averaged over positions and sites.

    Between 0 (the read keeps its direction) and 2. Scale plays no part: what reads h normalises it first. A clean run
    gives it, so it costs no ablation. A site that lacks the family counts as 0, as it does in `mass`.

    Args:
        family: one family; several at once have no turn of their own here.
        sublayer: at whose sites.
        layers: in which layers.
        stream: only at the sites of this stream (q, k or v), in models whose sublayers read several.
    """
    if isinstance(family, Joint | Aged):
        raise ValueError(f"`family` is {family}; a turn is measured for one family at a time: give one")
    return _summary(Summary.TURN, family, sublayer, layers, stream)


def streams_read(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """The effective number of parallel streams that a read draws on, averaged over positions and sites.

    Between 1 (the read is one stream) and their number (all have the same part in it): one over the sum of p_k squared,
    where p_k is the size of pre_k X_k over the sum of the sizes of all streams so read. NOT APPLICABLE
    where a model has no parallel streams.
    """
    return _summary(Summary.STREAMS_READ, None, sublayer, layers)


def sentence_accuracy() -> RoutingSummary:
    """Percentage of pairs of sentences whose good one is likelier than its bad one, in the clean run: 50 is chance.

    It needs prompts that are such pairs (field `sentence`), and says whether a model knows what an ablation could take.
    """
    return RoutingSummary(Summary.SENTENCE_ACCURACY, None, Sublayer.ALL_SITES, Band.ALL)


def loss() -> RoutingSummary:
    """The clean run's own loss, nats per token: of two models that read the same tokens, which one predicts better.

    A claim compares roles by it: `loss().on(TRAINED)` less `loss().on(WRAPPED)`, over the same documents.
    """
    return RoutingSummary(Summary.LOSS, None, Sublayer.ALL_SITES, Band.ALL)


def closed_form_error(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> RoutingSummary:
    """Largest distance of the depth weights from e^b / (e^b + n - 1) on current, 1 / (e^b + n - 1) elsewhere."""
    return _summary(Summary.CLOSED_FORM_ERROR, None, sublayer, layers)


def mass_and_effect(
    statistic: Statistic | str, sublayer: Sublayer | str | None = None, layers: Layers | str = Band.ALL
) -> Association:
    """How the mass that a drop removes and the effect it has go together over sites and families.

    Each family is dropped at each site alone; the statistic is that of the pairs (mean mass, mean effect).

    Args:
        statistic: slope, pearson, spearman or kendall.
        sublayer: ATTN or MLP; None: both.
        layers: in which layers.
    """
    return _association(Summary.MASS, statistic, sublayer, layers)


def turn_and_effect(
    statistic: Statistic | str, sublayer: Sublayer | str | None = None, layers: Layers | str = Band.ALL
) -> Association:
    """How far a drop turns the read and the effect it has, over sites and families: `mass_and_effect` with `turn`.

    Each family is dropped at each site alone; the statistic is that of the pairs (mean turn, mean effect).
    Arguments as for `mass_and_effect`.
    """
    return _association(Summary.TURN, statistic, sublayer, layers)


def _association(
    by: Summary, statistic: Statistic | str, sublayer: Sublayer | str | None, layers: Layers | str
) -> Association:
    reader = None if sublayer is None else choice(Sublayer, sublayer, "sublayer")
    if reader in (Sublayer.FINAL, Sublayer.ALL_SITES, Sublayer.ALL_SUBLAYERS):
        raise ValueError(f"`sublayer` is {reader}; the read-out is one site: give ATTN, MLP or None")
    span = layers_of(layers, reader or Sublayer.ATTN)
    return Association(choice(Statistic, statistic, "statistic"), reader, span, by)


def summary_and_loss(statistic: Statistic | str, summary: RoutingSummary) -> Prediction:
    """How a routing summary and the clean run's loss (nats per token) go together over documents.

    Args:
        statistic: slope, pearson, spearman or kendall.
        summary: such as `entropy(ATTN)`; of a family that is named, not chosen by the weights.
    """
    read = isinstance(summary, RoutingSummary) and summary.kind.spec.of_sites
    if not read or isinstance(summary.family, Pick):
        raise ValueError(f"`summary` is {summary}; give entropy(...), peak(...), mass(a family, ...), without `.on()`")
    return Prediction(choice(Statistic, statistic, "statistic"), summary)


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
    reader = choice(Sublayer, sublayer, "sublayer")
    if rank not in range(len(Family)):
        raise ValueError(f"`rank` is {rank!r}; allowed: 0 (largest mass) to {len(Family) - 1}")
    return Pick(PickRule.MASSIVE, reader, layers_of(layers, reader), rank, of)


def most_causal(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> Pick:
    """The family other than the most massive with the largest delta_nll on the exploration split."""
    reader = choice(Sublayer, sublayer, "sublayer")
    return Pick(PickRule.CAUSAL, reader, layers_of(layers, reader))


def least_causal(sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> Pick:
    """The family with the smallest `|delta_nll|` among those with mass >= MIN_PICK_MASS, on the exploration split."""
    reader = choice(Sublayer, sublayer, "sublayer")
    return Pick(PickRule.IDLE, reader, layers_of(layers, reader))
