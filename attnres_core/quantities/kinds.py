"""What there is to know of a kind of ablation. The kinds, a row each, are in `ablations` beside their words.

What a kind does to a site's routing is the file of its name in `models/networks/interventions/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnres_core.quantities.vocabulary import Row


@dataclass(frozen=True, slots=True)
class KindSpec:
    """The facts about a kind of ablation that the suite goes by."""

    words: str
    """What is done, as a clause; `{f}` stands for the family, `{amount}` (signed) and `{count}` for its number,
    `{part}` for what it takes from a donor."""
    formula: str
    """The same in symbols: s_i sources, a_i depth weights, z_i their logits, F the family, n the number of sources.
    `{letters}` stands for the part that is taken from a donor."""
    removes: bool = False
    """Whether it takes a family away: a claim can be decided under it, and a matched control set beside it."""
    fills: bool = False
    """Whether another state takes its place: a site may then lose every source, and copies make no no-op."""
    needs_reference: bool = False
    """Whether what it puts in place is measured on the reference prompts."""
    fitted: bool = False
    """Whether that is fitted to the reference prompts: constants that are fitted once and kept."""
    recomputes: bool = False
    """Whether the weights can be computed anew from what stands in the family's place."""
    random: bool = False
    """Whether it draws at random, so that its draws are different interventions."""
    draws: int = 1
    """How many draws are averaged where no number is given."""
    others: str = ""
    """The kind that it is short for, of all the other sources: to keep a family is to drop the others."""
    amount: str = "by {:g}"
    """How an ablation's text gives its number, in kinds that have one."""
    counts: bool = False
    """Whether that number is of the sources a site keeps: sites that have no more are left out."""
    of_current: bool = False
    """Whether it speaks of the current state, so that a site must have it among its sources."""
    spares: bool = False
    """Whether the family it names is the one that it leaves as it is."""
    needs_donor: bool = False
    """Whether something is taken from each prompt's donor."""
    of_streams: str = ""
    """What it changes of parallel streams: `pre`, how they are read; `post`, how they are written to; `comb`, how they
    mix. Sites that have none are left out."""
    whole: bool = False
    """Whether the donor's whole run stands in the place of the prompt's, whatever the sites."""


class AnyKind(Row):
    """The action of an ablation at a site. The members are those of `ablations.Kind`."""

    spec: KindSpec
