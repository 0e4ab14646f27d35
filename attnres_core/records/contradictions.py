"""Claims that contradict each other, side by side: what a run's verdicts decide between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attnres_core.claims.claim import claim_key
from attnres_core.records.schema import ClaimEntry


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two claims of one run, of which one says that it contradicts the other."""

    first: ClaimEntry
    """The one that says so."""
    second: ClaimEntry

    @property
    def winner(self) -> ClaimEntry | None:
        """The claim that is supported where the other is refuted."""
        for one, other in ((self.first, self.second), (self.second, self.first)):
            if (one["verdict"], other["verdict"]) == ("SUPPORTED", "REFUTED"):
                return one
        return None

    @property
    def finding(self) -> str:
        """The consequence, in words that begin no sentence and name no claim."""
        if any(complementary(*pair) for pair in ((self.first, self.second), (self.second, self.first))):
            return "one finding: both claims are about the same column"
        if self.winner is not None:
            return "decided"
        verdicts = (self.first["verdict"], self.second["verdict"])
        if verdicts == ("REFUTED", "REFUTED"):
            return "neither holds here"
        both = "not a contradiction as they are stated: both hold"
        return both if verdicts == ("SUPPORTED", "SUPPORTED") else "undecided"

    @property
    def sentence(self) -> str:
        """The consequence, as a sentence."""
        if self.finding == "decided" and self.winner is not None:
            return f"Decided for “{self.winner['title']}”."
        return f"{self.finding[0].upper()}{self.finding[1:]}."


def complementary(supported: ClaimEntry, refuted: ClaimEntry) -> bool:
    """Return whether a claim is refuted by nothing else than what supports another: two statements on one column.

    `x > 0.02` SUPPORTED leaves nothing to decide of `abs(x) < 0.01`: no mean lies in both.
    """
    if (supported["verdict"], refuted["verdict"]) != ("SUPPORTED", "REFUTED") or refuted["deciding"] is None:
        return False
    own = refuted["statements"][refuted["deciding"]]
    return supported["split"] == refuted["split"] and any(
        other["column"] == own["column"] and not _overlap(other["region"], own["region"])
        for other in supported["statements"]
    )


def _overlap(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Return whether two open regions share a mean."""
    low = max(-math.inf if end is None else end for end in (one[0], other[0]))
    high = min(math.inf if end is None else end for end in (one[1], other[1]))
    return low < high


def restated(claims: Sequence[ClaimEntry]) -> list[ClaimEntry]:
    """The refuted claims that only say the opposite of a supported one about the same column."""
    return [claim for claim in claims if any(complementary(other, claim) for other in claims)]


def contradictions(claims: Iterable[ClaimEntry]) -> list[Contradiction]:
    """The pairs of which a run holds both claims, each once; a claim that does not apply contradicts nothing."""
    entries = {claim_key(claim["node_id"]): claim for claim in claims if claim["verdict"] != "NOT APPLICABLE"}
    pairs: dict[frozenset[str], Contradiction] = {}
    for key, claim in entries.items():
        for other in _named(key, claim, entries):
            if other in entries and other != key:
                pairs.setdefault(frozenset((key, other)), Contradiction(claim, entries[other]))
    return list(pairs.values())


def absent(claims: Iterable[ClaimEntry]) -> list[tuple[str, str]]:
    """(claim, name): the names that claims say they contradict, of files in this run but no claim in it."""
    entries = {claim_key(claim["node_id"]): claim for claim in claims}
    files = {key.split("::")[0] for key in entries}
    return [
        (key, other)
        for key, claim in entries.items()
        for other in _named(key, claim, entries)
        if other not in entries and other.split("::")[0] in files
    ]


def _named(key: str, claim: ClaimEntry, entries: Mapping[str, ClaimEntry]) -> list[str]:
    """The claims that a claim names; of one with cases, the case with the same id."""
    case = "".join(key.partition("[")[1:])
    return [name if name in entries or "[" in name else name + case for name in claim["contradicts"]]
