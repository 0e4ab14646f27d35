"""The kinds of ablation: each one's row, and the word for it with its estimand.

At a site with sources s_i and depth weights a_i a sublayer reads h = sum_i a_i s_i; F is the ablated family there.
Reads are normalised before use, so only the direction of h matters, unless next to nothing is left of it.

    drop       h = sum_{i not in F} a_i s_i / sum_{i not in F} a_i       the rest scaled up
    zero       h = sum_{i not in F} a_i s_i                              nothing in its place
    mean       h = sum_{i not in F} a_i s_i + sum_{i in F} a_i mean_i    what it is on average
    resample   h = sum_{i not in F} a_i s_i + sum_{i in F} a_i other_i   what it is on another prompt
    optimal    h = sum_{i not in F} a_i s_i + sum_{i in F} a_i c_i       the constants that do least harm
"""

from __future__ import annotations

import dataclasses
import math

from attnres_core.quantities.kinds import AnyKind, KindSpec
from attnres_core.quantities.paths import Reads, via_of
from attnres_core.quantities.quantity import Ablation, Pick, family_of
from attnres_core.quantities.vocabulary import Band, Families, Family, Layers, Part, Sublayer, choice, layers_of

SCHEDULE_BIAS = 10.0
"""The recency bias of `schedule` when none is given: that of the wrapped baseline."""
RESAMPLE_DRAWS = 2
"""Other prompts that `resample` averages over when no number is given."""
FIT_STEPS = 80
"""Steps of Adam in which the constants of `optimal` are fitted, from each of their starts."""
FIT_STARTS = ("zero", "mean")
"""What the constants are before the first step: zero, or each source's mean over all tokens."""


class Kind(AnyKind):
    """The action of an ablation at a site: every kind's row. The function of the same name states its estimand."""

    DROP = (
        "drop",
        KindSpec(
            "{f} is masked and the rest of the weights scaled up to one",
            "a_F ← 0, a ← a / Σa",
            removes=True,
        ),
    )
    ZERO = (
        "zero",
        KindSpec(
            "zero stands in the place of {f}, the weights kept",
            "s_F ← 0",
            removes=True,
            recomputes=True,
        ),
    )
    MEAN = (
        "mean",
        KindSpec(
            "its mean over the reference prompts stands in the place of {f}",
            "s_F ← mean of s_F",
            removes=True,
            fills=True,
            needs_reference=True,
            recomputes=True,
        ),
    )
    RESAMPLE = (
        "resample",
        KindSpec(
            "that of another prompt stands in the place of {f}",
            "s_F ← s_F of another prompt",
            removes=True,
            fills=True,
            needs_reference=True,
            recomputes=True,
            random=True,
            draws=RESAMPLE_DRAWS,
        ),
    )
    OPTIMAL = (
        "optimal",
        KindSpec(
            "constants that are fitted to do the least harm stand in the place of {f}, the weights kept",
            "s_i ← c_i for i in F, c = argmin loss",
            removes=True,
            fills=True,
            needs_reference=True,
            fitted=True,
        ),
    )
    KEEP = (
        "keep",
        KindSpec(
            "everything but {f} is masked",
            "a_i ← 0 for i not in F, a ← a / Σa",
            others="drop",
        ),
    )
    AMPLIFY = (
        "amplify",
        KindSpec(
            "{amount} is added to the logits of {f}",
            "z_F ← z_F {amount}",
        ),
    )
    UNIFORM = (
        "uniform",
        KindSpec(
            "every source gets the same weight",
            "a_i ← 1/n",
        ),
    )
    AVERAGE = (
        "average",
        KindSpec(
            "the weights are their mean over the reference prompts' tokens",
            "a ← mean of a",
            needs_reference=True,
        ),
    )
    SHUFFLE = (
        "shuffle",
        KindSpec(
            "the weights are those of a random token of the reference prompts",
            "a ← a of another token",
            needs_reference=True,
            random=True,
        ),
    )
    SCHEDULE = (
        "schedule",
        KindSpec(
            "the weights are the recency schedule's",
            "a_i ∝ exp({amount} [i is current])",
            of_current=True,
        ),
    )
    KEEP_TOP = (
        "keep_top",
        KindSpec(
            "only each token's {count} largest weights are kept, scaled up to one",
            "a_i ← 0 beyond the {count} largest, a ← a / Σa",
            amount="{:g} largest",
            counts=True,
        ),
    )
    KEEP_WIRED = (
        "keep_wired",
        KindSpec(
            "only the {count} sources with the largest mean weight are kept, the same for all tokens",
            "a_i ← 0 beyond the {count} largest mean a_i, a ← a / Σa",
            needs_reference=True,
            amount="{:g} sources",
            counts=True,
        ),
    )
    SHARPEN = (
        "sharpen",
        KindSpec(
            "the logits of the weights are multiplied by {times}",
            "z ← {times} z",
            amount="times {:g}",
        ),
    )
    PERMUTE = (
        "permute",
        KindSpec(
            "each token's weights change places at random, those of {f} excepted",
            "a_i ← a_π(i) for i not in F",
            random=True,
            spares=True,
        ),
    )
    INTERCHANGE = (
        "interchange",
        KindSpec(
            "the {part} of {f} are those of the donor's run",
            "{letters}_F ← the donor's {letters}_F",
            needs_donor=True,
        ),
    )
    DROP_STREAM = (
        "drop_stream",
        KindSpec(
            "parallel stream {count} is not read",
            "pre_k ← 0 for k = {count}",
            amount="number {:g}",
            of_streams="pre",
        ),
    )
    NO_MIXING = (
        "no_mixing",
        KindSpec(
            "the parallel streams do not mix",
            "comb ← the identity",
            of_streams="comb",
        ),
    )
    AVERAGE_MIXING = (
        "average_mixing",
        KindSpec(
            "the parallel streams mix as they do on average over the reference prompts' tokens",
            "comb ← mean of comb",
            needs_reference=True,
            of_streams="comb",
        ),
    )
    NO_WRITE = (
        "no_write",
        KindSpec(
            "the sublayer's output is written to no parallel stream",
            "post ← 0",
            of_streams="post",
        ),
    )
    DONOR_GAP = (
        "donor_gap",
        KindSpec(
            "the donor's whole run stands in the place of the prompt's",
            "x_d ← its donor",
            needs_donor=True,
            whole=True,
        ),
    )


REMOVALS = tuple(kind for kind in Kind if kind.spec.removes)
"""Kinds that take a family away; a claim can be decided under several of them."""


def drop(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    copies: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Mask a family's sources before the softmax and renormalise, at every matching site.

    Estimand: what the sublayers lose when they can no longer read this family directly, the rest of their read scaled
    up to take its place.

    Several families at once, `drop(RECENT & OLDER, ...)`, are dropped wherever any of them is: what the one alone
    does not show because the other stands in for it. A window or a cumulative drop names its layers: `range(4, 8)`.

    Args:
        family: whose sources.
        sublayer: at whose sites.
        layers: in which layers.
        per_site: ablate one layer's site at a time and average the effects over the layers that have the family, so
            that bands of different size can be compared.
        copies: take sources that are the same tensor with it: identical tensors are one source.
        stream: only the sites of this stream (q, k or v), in models whose sublayers read several.
        via: the later reads through which alone it acts. `FINAL` gives the direct effect on the read-out,
            `reads(family, sublayer, layers)` that through chosen readers. The total less the direct effect is the
            mediated one.
    """
    return _removal(Kind.DROP, family, sublayer, layers, per_site, copies, stream, via)


def zero(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    recomputed: bool = False,
    per_site: bool = False,
    copies: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Keep the depth weights and put zero in the family's place.

    Estimand: the same as `drop`'s up to the epsilon of the norm that follows, unless the family holds nearly all of
    the mass. With `recomputed`, the weights are those the site would choose if the source were zero: the pseudo-query
    finds nothing in it, and what is left of its logit is the recency bias of the current source.
    Other arguments as for `drop`.
    """
    return _removal(Kind.ZERO, family, sublayer, layers, per_site, copies, stream, via, recomputed)


def mean(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    recomputed: bool = False,
    per_site: bool = False,
    copies: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Put the family's mean over the reference prompts, position by position, in its place; the weights stay.

    Estimand: what is lost with the part of the source that differs between prompts; what it holds on any prompt stays.
    With `recomputed`, the weights follow the replaced source. Other arguments as for `drop`.
    """
    return _removal(Kind.MEAN, family, sublayer, layers, per_site, copies, stream, via, recomputed)


def resample(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    draws: int = RESAMPLE_DRAWS,
    recomputed: bool = False,
    per_site: bool = False,
    copies: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Put the source of another prompt, at the same position, in the family's place; the weights stay.

    Estimand: what is lost with the source's content of this prompt, when something typical but wrong stands in its
    place. The other prompt is a reference prompt, never the prompt itself, of at least its length where there is one;
    `draws` are averaged, different ones as far as there are so many. Which ones is drawn from a generator seeded by the
    prompt's own tokens, so that no other prompt and no order changes them. Other arguments as for `mean`.
    """
    made = _removal(Kind.RESAMPLE, family, sublayer, layers, per_site, copies, stream, via, recomputed)
    return dataclasses.replace(made, draws=checked_draws(draws))


def optimal(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    copies: bool = False,
    stream: str | None = None,
) -> Ablation:
    """Put constants in the family's place, one for each site and source, fitted to do the least harm; the weights stay.

    Estimand: what is lost with what the source tells of its prompt and token, the damage of an unusual read set aside.
    The constants minimise the mean loss under the ablation over exploration prompts, from two starts (zero, and the
    source's mean over all tokens); what does least harm on exploration prompts that were held out of the fit is taken.
    They are fitted once, and kept in the store. A fit may miss the minimum, so the effect is an upper bound:
    `effect < m` says that the content is dispensable. On the prompts of the fit itself it is a little too small:
    decide on others. Other arguments as for `drop`; with `per_site`, every layer has a fit of its own.
    """
    return _removal(Kind.OPTIMAL, family, sublayer, layers, per_site, copies, stream, via=None)


def keep(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Drop everything but this family, at every site that has it.

    Estimand: what the sublayers lose when they can read nothing else: small where the family is sufficient.
    """
    return _removal(Kind.KEEP, family, sublayer, layers, per_site, copies=False, stream=stream, via=via)


def amplify(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    by: float,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Add `by` to the logits of the family's sources, so that their odds grow by a factor of e^by.

    Estimand: the response to a dose: a family that matters hurts when turned down, one that is read too little helps
    when turned up. Minus infinity would be `drop`.
    """
    made = _removal(Kind.AMPLIFY, family, sublayer, layers, per_site, copies=False, stream=stream, via=via)
    return dataclasses.replace(made, amount=_finite(by, "by"))


def uniform(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Give every source of a site the weight 1 / number of sources.

    Estimand: what all learned preference between sources is worth.
    """
    return _rewrite(Kind.UNIFORM, sublayer, layers, per_site, stream, via)


def average(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Replace the weights by their mean over the tokens of the reference prompts.

    Estimand: what it is worth that weights depend on content, their average preference kept.
    """
    return _rewrite(Kind.AVERAGE, sublayer, layers, per_site, stream, via)


def shuffle(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    draws: int = 1,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Give each token the weights of a token drawn at random from the reference prompts (never of its own prompt).

    Estimand: what it is worth that weights fit their token, their distribution over tokens kept. Tokens of the same
    prompt would not do: a later one's weights know what is to be predicted.
    """
    made = _rewrite(Kind.SHUFFLE, sublayer, layers, per_site, stream, via)
    return dataclasses.replace(made, draws=checked_draws(draws))


def schedule(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    bias: float = SCHEDULE_BIAS,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Replace the weights by the closed-form recency schedule: e^bias / (e^bias + n - 1) on the last of n sources.

    Estimand: what routing is worth beyond reading the current state, as a plain residual stream does. Sites whose reads
    add to the running state (delta models) have no such source, and no such schedule.
    """
    made = _rewrite(Kind.SCHEDULE, sublayer, layers, per_site, stream, via)
    return dataclasses.replace(made, amount=_finite(bias, "bias"))


def keep_top(
    count: int,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Keep each token's `count` largest depth weights, scaled up to one, and drop the rest.

    Estimand: what the tail of the weights is worth. Sites with at most `count` sources stay as they are.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"`count` is {count!r}; give a whole number, at least 1")
    return dataclasses.replace(_rewrite(Kind.KEEP_TOP, sublayer, layers, per_site, stream, via), amount=float(count))


def keep_wired(
    count: int,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Keep the `count` sources whose weights are largest on average over the reference prompts; drop the rest.

    Estimand: what is lost when a site reads a fixed skeleton of sources, the same for every token. Beside it `keep_top`
    chooses anew for each token. Sites with at most `count` sources stay as they are.
    """
    return dataclasses.replace(
        keep_top(count, sublayer, layers, per_site=per_site, stream=stream, via=via), kind=Kind.KEEP_WIRED
    )


def sharpen(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    by: float,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Multiply the logits of the depth weights by `by`: more than 1 makes them sharper, less than 1 more even.

    Estimand: what the sharpness of routing is worth; 1 / `by` is a temperature. The whole logit is multiplied, the
    recency bias of the current source included, in dialects that have one.
    """
    factor = _finite(by, "by")
    if factor <= 0:
        raise ValueError(f"`by` is {by!r}; give a number above 0 (1 changes nothing; for even weights use `uniform`)")
    return dataclasses.replace(_rewrite(Kind.SHARPEN, sublayer, layers, per_site, stream, via), amount=factor)


def permute(
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    keeping: Family | str | None = None,
    draws: int = 1,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Move each token's weights between the sources, at random; those of the family `keeping` stay where they are.

    Estimand: what it is worth that weights lie on these sources, their sizes kept. Without `keeping` it mostly restates
    `uniform`; with `keeping=CURRENT` it asks which of the other sources are read. A token's order of sources is drawn
    uniformly for each site, so it may be the one it had.
    """
    made = _rewrite(Kind.PERMUTE, sublayer, layers, per_site, stream, via)
    kept = None if keeping is None else choice(Family, keeping, "keeping")
    return dataclasses.replace(made, family=kept, draws=checked_draws(draws))


def interchange(
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str = Band.ALL,
    *,
    part: Part | str = Part.STATES,
    per_site: bool = False,
    stream: str | None = None,
    via: Reads | Sublayer | str | None = None,
) -> Ablation:
    """Take a part of the family's read from the clean run of each prompt's donor, position by position.

    Estimand: how far the read of this family carries what tells the prompt from its donor. A donor has the same length
    and last token, and another answer, which is the prompt's foil. In LOGIT_DIFFERENCE the effect is how far the answer
    moves towards the donor's; compare it with `donor_gap()`, what the whole donor run would move:
    `effect - 0.5 * gap > 0` says more than half. Families are read in series, so shares do not add up to one, and a
    share may exceed it.

    Args:
        family: whose read; `ANY` for all of a site's sources.
        sublayer: at whose sites; `ALL_SITES` for all of them.
        layers: in which layers.
        part: STATES, the donor's states under the run's own weights; WEIGHTS, the donor's weights on the family, the
            rest scaled to sum to one; or BOTH.
        per_site: one layer's site at a time, the effects averaged.
        stream: only at the sites of this stream (q, k or v), in models whose sublayers read several.
        via: the later reads through which alone it acts, as for `drop`.
    """
    taken = choice(Part, part, "part")
    made = _removal(Kind.INTERCHANGE, family, sublayer, layers, per_site, copies=False, stream=stream, via=via)
    return dataclasses.replace(made, part=taken)


def drop_stream(
    index: int, sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, per_site: bool = False
) -> Ablation:
    """Do not read one of the parallel streams of a model with hyper-connections; it is still written to and mixed.

    Estimand: what the sublayers lose when they can no longer read this stream directly. Streams have no order: stream 2
    of two seeds is not the same thing. NOT APPLICABLE where a model has no such stream.

    Args:
        index: which, from 0.
        sublayer: at whose sites.
        layers: in which layers.
        per_site: one layer's site at a time, the effects averaged.
    """
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"`index` is {index!r}; give the number of a parallel stream, from 0")
    return dataclasses.replace(_rewrite(Kind.DROP_STREAM, sublayer, layers, per_site, None, None), amount=float(index))


def no_mixing(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, per_site: bool = False) -> Ablation:
    """Leave the parallel streams as they are where the model mixes them; reads and writes stay.

    Estimand: what mixing the streams is worth. NOT APPLICABLE where a model has no streams, or does not mix them.
    """
    return _rewrite(Kind.NO_MIXING, sublayer, layers, per_site, None, None)


def average_mixing(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, per_site: bool = False) -> Ablation:
    """Mix the parallel streams as they mix on average over the reference prompts' tokens; reads and writes stay.

    Estimand: what it is worth that mixing depends on the token. NOT APPLICABLE where a model has no streams, or does
    not mix them.
    """
    return _rewrite(Kind.AVERAGE_MIXING, sublayer, layers, per_site, None, None)


def no_write(sublayer: Sublayer | str, layers: Layers | str = Band.ALL, *, per_site: bool = False) -> Ablation:
    """Write the sublayers' outputs to no parallel stream, so that nothing after them reads them; mixing stays.

    Estimand: what these sublayers are worth in all later reads together. NOT APPLICABLE where a model has no streams.
    """
    return _rewrite(Kind.NO_WRITE, sublayer, layers, per_site, None, None)


def donor_gap() -> Ablation:
    """Put the clean run of each prompt's donor in the place of its own.

    Estimand: how far the donor's whole run is from the prompt's, in the metric: what an `interchange` can move. In
    LOGIT_DIFFERENCE it is the answer's lead on the prompt less its lead on the donor. It needs no ablated run.
    """
    return Ablation(Kind.DONOR_GAP, None, Sublayer.ALL_SITES, Band.ALL)


def _removal(
    kind: Kind,
    family: Families | Pick | str,
    sublayer: Sublayer | str,
    layers: Layers | str,
    per_site: bool,
    copies: bool,
    stream: str | None,
    via: object,
    recomputed: bool = False,
) -> Ablation:
    reader = choice(Sublayer, sublayer, "sublayer")
    return Ablation(
        kind,
        family_of(family),
        reader,
        layers_of(layers, reader),
        per_site=bool(per_site),
        recomputed=bool(recomputed),
        copies=bool(copies),
        stream=stream,
        via=via_of(via),
    )


def _rewrite(
    kind: Kind, sublayer: Sublayer | str, layers: Layers | str, per_site: bool, stream: str | None, via: object
) -> Ablation:
    reader = choice(Sublayer, sublayer, "sublayer")
    own = layers_of(layers, reader)
    return Ablation(kind, None, reader, own, per_site=bool(per_site), stream=stream, via=via_of(via))


def checked_draws(given: object) -> int:
    """`given`, or a ValueError where it is no number of draws."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"`draws` is {given!r}; give a whole number, at least 1")
    return given


def _finite(given: object, argument: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"`{argument}` is {given!r}; give a finite number")
    return float(given)
