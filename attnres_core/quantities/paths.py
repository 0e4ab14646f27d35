"""Which later reads see what an ablation changes: the words of `via=`.

A sublayer's output is what it adds to the states that later sites read. An ablation changes that output by a
difference. On a path the chosen readers alone read their sources with the difference in them; everybody else reads what
the sublayer writes without the ablation. What the readers then write is read by all that follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnres_core.quantities.vocabulary import (
    ANY,
    Band,
    Families,
    Family,
    Joint,
    Layers,
    Sublayer,
    choice,
    layers_of,
    layers_text,
    parts,
)

UNWRITTEN = (Family.EMBEDDING, Family.NULL)
"""Families whose sources no sublayer writes."""

_LABELS = {
    Sublayer.ATTN: "attention",
    Sublayer.MLP: "MLP",
    Sublayer.FINAL: "read-out",
    Sublayer.ALL_SITES: "every site",
    Sublayer.ALL_SUBLAYERS: "attention and MLP",
}


@dataclass(frozen=True, slots=True)
class Reads:
    """The reads of a path: those of a family, by a sublayer, in some layers. Made by `reads`."""

    family: Families
    sublayer: Sublayer
    layers: Layers

    @property
    def label(self) -> str:
        """`older \u2192 late attention`, `late MLP` (all that it reads), `read-out`."""
        reader = _LABELS[self.sublayer]
        if isinstance(self.layers, range):
            reader = f"{reader} {layers_text(self.layers).removeprefix('layers ')}"
        elif self.layers is not Band.ALL:
            reader = f"{self.layers} {reader}"
        return reader if self.family == ANY else f"{self.family} \N{RIGHTWARDS ARROW} {reader}"

    def __str__(self) -> str:
        """`reads(older, attn, late)`, or `final`, the whole read-out."""
        if self == READOUT:
            return self.sublayer.value
        return f"reads({self.family}, {self.sublayer}, {layers_text(self.layers)})"


READOUT = Reads(ANY, Sublayer.FINAL, Band.ALL)
"""The whole read-out: the way of a direct effect."""


def reads(family: Families | str, sublayer: Sublayer | str, layers: Layers | str = Band.ALL) -> Reads:
    """The reads through which an ablation is to act: `drop(CURRENT, MLP, EARLY, via=reads(OLDER, ATTN, LATE))`.

    Args:
        family: whose sources are read with what the ablation changed in them; `ANY` for all that is read. In delta
            models, `CURRENT` is the running state that is read beside the sources.
        sublayer: at whose sites; `ALL_SITES` for all of them and the read-out: then nothing is left out, and the effect
            is the total.
        layers: in which layers.

    Raises:
        ValueError: no sublayer writes the family's sources.
    """
    named = family if isinstance(family, Joint) else choice(Family, family, "family")
    if all(each in UNWRITTEN for each in parts(named)):
        raise ValueError(
            f"`family` is {named}: no sublayer writes it, so nothing that an ablation changes is read there; "
            "give CURRENT, RECENT, OLDER or ANY"
        )
    reader = choice(Sublayer, sublayer, "sublayer")
    return Reads(named, reader, layers_of(layers, reader))


def via_of(given: object) -> Reads | None:
    """The path that `via` names; None: every path.

    Raises:
        ValueError: it names none.
    """
    if given is None or isinstance(given, Reads):
        return given
    if given == Sublayer.FINAL:
        return READOUT
    raise ValueError(f"`via` is {given!r}; give FINAL, the read-out, or reads(FAMILY, SUBLAYER, LAYERS)")
