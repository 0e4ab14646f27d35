"""A part of a plan, for job arrays: every job plans the same bundles, and measures its own part of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnres_core.planning.material import CHUNK
from attnres_core.quantities import ablations

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
        ablated prompts. Every bundle belongs to one part; fits, to every part that needs them.
        """
        whole, before, mine = sum(map(_cost, bundles)), 0, []
        for bundle in bundles:
            middle = before + _cost(bundle) / 2
            if self.number - 1 <= middle * self.count / whole < self.number:
                mine.append(bundle)
            before += _cost(bundle)
        return [*dict.fromkeys(fit for bundle in mine for fit in bundle.fits if fit not in mine), *mine]

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.number}/{self.count}"


def _cost(bundle: Bundle) -> int:
    """Prompts times forward passes, the clean one included; of a fit, with gradients, about as many as its steps."""
    if bundle.start:
        return 3 * CHUNK * ablations.FIT_STEPS
    return len(bundle.prompts) * (len(bundle.interventions) + 1)
