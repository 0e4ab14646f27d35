"""Deciding early: when the data are looked at, and which share of a claim's alpha each look may spend.

Every verdict that rests on a sample may fall at each look, and spends the look's share of the claim's alpha. The shares
sum to one. Whatever is true, a claim can be wrong in one direction only: the chance of a wrong verdict over all looks
stays within the claim's alpha, whatever the dependence between them. Simulated in benchmarks/calibration/early.py.
"""

from __future__ import annotations

from dataclasses import dataclass

FRACTIONS = (0.25, 0.5, 1.0)
"""Looks, as shares of the documents."""
SPENDING = (0.25, 0.25, 0.5)
"""The share of alpha that a verdict may spend at each look."""
EARLY_VERDICTS = ("SUPPORTED", "REFUTED")
"""The verdicts that a look before the last may find, of every sampled statement; locks hold it beside the looks."""
LEAST = 64
"""No look has fewer documents than this: limits from fewer are too wide to be worth spending alpha on."""
EARLY_TAIL = 0.5
"""Before the last look, a limit on the side of a long tail is discarded at |skewness| z / sqrt(n) >= this."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the first documents."""

    documents: int | None = None
    """The number of documents; None: all there are."""
    share: float = 1.0
    """Of the claim's alpha: what any verdict may spend here."""
    final: bool = True
    """True if it is the last: only then are all documents there, which exact verdicts and the strata's shares need."""


ONLY = Look()
"""The single look of a run that decides at a fixed number of documents."""


def looks(documents: int, *, sequential: bool) -> tuple[Look, ...]:
    """The looks at a split of so many documents; a look that would be too small leaves its share to the next.

    256 documents give looks at 64, 128 and 256 that spend 1/4, 1/4 and 1/2 of each alpha.
    """
    if not sequential:
        return (ONLY,)
    planned, carried = list[Look](), 0.0
    for fraction, share in zip(FRACTIONS, SPENDING, strict=True):
        count, carried = int(documents * fraction), carried + share
        if fraction == 1.0:
            planned.append(Look(None, carried, final=True))
        elif count >= LEAST:
            planned.append(Look(count, carried, final=False))
            carried = 0.0
    return tuple(planned)
