"""A part of a plan, for job arrays: every job plans the same bundles, and measures its own part of them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
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
        ablated prompts. Every bundle belongs to one part, and so do the bundles that need the same fits, with these.
        """
        together = _together(bundles)
        whole, before, mine = sum(cost for _, cost in together), 0, []
        for own, cost in together:
            middle = before + cost / 2
            if self.number - 1 <= middle * self.count / whole < self.number:
                mine += [bundle for bundle in own if not (bundle.start and bundle in mine)]
            before += cost
        return mine

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"


def _together(bundles: Sequence[Bundle]) -> list[tuple[list[Bundle], int]]:
    """What one job measures, with its cost: a bundle; or fits, which take long, and all bundles that need these."""
    found: dict[Hashable, list[Bundle]] = {}
    for place, bundle in enumerate(bundles):
        if not bundle.start:
            found.setdefault(bundle.fits or place, [*bundle.fits]).append(bundle)
    return [(own, sum(bundle.cost for bundle in own)) for own in found.values()]
