"""A part of a plan, for job arrays: every job plans the same bundles, and measures its own part of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnres_core.planning.bundles import Bundle


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of a plan; parts are numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`3/8` as the third of eight parts.

        Raises:
            ValueError: it is no such fraction.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text, flags=re.ASCII)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count:
            raise ValueError("give K/N, the K-th of N parts with K from 1 to N, such as 3/8")
        return cls(number, count)

    def of(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """This part of a plan's bundles, as they are sorted there.

        A part is a run of neighbours, so that it loads few models, and parts hold about the same number of
        ablated prompts. Every bundle belongs to one part, and so do the bundles that share a fit, with their fits.
        """
        together = _together(bundles)
        whole, before, mine = sum(cost for _, cost in together), 0, []
        for own, cost in together:
            middle = before + cost / 2
            if self.number - 1 <= middle * self.count / whole < self.number:
                mine += own
            before += cost
        return mine

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"


def _together(bundles: Sequence[Bundle]) -> list[tuple[list[Bundle], int]]:
    """What one job measures, with its cost: a bundle; or fits, which take long, and all that needs any of these."""
    groups: list[list[Bundle]] = []
    home: dict[Bundle, int] = {}
    """The group of each fit."""
    for bundle in bundles:
        if bundle.start:
            continue
        first, *others = sorted({home[fit] for fit in bundle.fits if fit in home}) or [len(groups)]
        if first == len(groups):
            groups.append([])
        for other in others:
            groups[first] += groups[other]
            groups[other] = []
            home |= {fit: first for fit, group in home.items() if group == other}
        groups[first] += [*(fit for fit in bundle.fits if fit not in home), bundle]
        home |= dict.fromkeys(bundle.fits, first)
    return [(own, sum(bundle.cost for bundle in own)) for own in groups if own]
