"""The reach of a run's verdicts: how much of the lock, under which bound, and what the bound does not hold for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attnres_core.records.contradictions import restated
from attnres_core.records.schema import ClaimEntry, Record
from attnres_core.report.numbers import given, percent
from attnres_core.report.wording import DECIDED, standing

SETTLED = ("SUPPORTED", "REFUTED")
CONFIRMED = ("registered", "post hoc")
"""Standings under which a claim of the lock was decided as it was registered."""


def scope(record: Record) -> list[str]:
    """All that must be said of a run's verdicts as a whole, a sentence or two each, the most important first."""
    claims, settings = record["claims"], record["settings"]
    told = [
        registered_decided(claims, settings["registrations"]["claims"], settings["registrations"].get("withdrawn", 0)),
        bound(claims, settings["alpha"]),
        unseen(claims),
        counted_once(claims),
    ]
    return [each for each in told if each]


def registered_decided(claims: Sequence[ClaimEntry], registered: int, withdrawn: int = 0) -> str:
    """Return how many of the lock's claims this run decides, and what became of the others: `-k` hides none.

    Args:
        claims: those that the run reports.
        registered: how many the lock holds.
        withdrawn: how many it held once.
    """
    if not registered:
        return "No claim is registered: nothing here confirms anything."
    own = [claim for claim in claims if claim["registration"] not in (None, "exploratory")]
    became = Counter(_became(claim) for claim in own)
    became["not in this run"] = max(0, registered - len(own))
    became["withdrawn earlier"] = withdrawn
    decided = became.pop("decided", 0)
    rest = ", ".join(f"{count} {word}" for word, count in became.items() if count)
    return f"{decided} of {registered} registered claims (controls included) decided{f'; {rest}' if rest else ''}."


def _became(claim: ClaimEntry) -> str:
    """`decided`, `inconclusive`, ...; `quick` and the like where the run could not confirm it."""
    if claim["registration"] not in CONFIRMED:
        return claim["registration"] or ""
    return "decided" if claim["verdict"] in SETTLED else claim["verdict"].lower()


def is_exact(claim: ClaimEntry) -> bool:
    """Return whether a claim is decided by value alone: nothing is inferred, so that it holds no alpha."""
    return bool(claim["statements"]) and all(statement["exact"] for statement in claim["statements"])


def covered(claims: Sequence[ClaimEntry]) -> list[ClaimEntry]:
    """The claims whose verdicts the bound is about."""
    return [c for c in claims if c["verdict"] in DECIDED and c["registration"] == "registered" and not is_exact(c)]


def bound(claims: Sequence[ClaimEntry], alpha: float) -> str:
    """The bound on any wrong verdict, with the number of claims that it covers and of those that it does not."""
    own = len(covered(claims))
    if not own:
        return "The bound on wrong verdicts covers no verdict here."
    reasons = [standing(c) or ("exact" if is_exact(c) else "") for c in claims if c["verdict"] in DECIDED]
    words = {"exact": "exact (decided by value: they hold no alpha)"}
    rest = " and ".join(f"{count} {words.get(why, why)}" for why, count in Counter(filter(None, reasons)).items())
    outside = f" It does not cover {rest}." if rest else ""
    return (
        f"The probability of any wrong verdict among {own} claims of this run is at most {given(alpha)}, nominally: "
        f"long tails raise it.{outside}"
    )


def unseen(claims: Sequence[ClaimEntry]) -> str:
    """Return which effects of few prompts may be wholly unseen, and for which the level is not kept."""
    own = [s for claim in covered(claims) for s in claim["statements"] if s["unseen_share"] is not None]
    if not own:
        return ""
    unseen_shares, sparse_shares = ([s[name] or 0.0 for s in own] for name in ("unseen_share", "sparse_share"))
    return (
        f"{_span(unseen_shares)} of prompts may be wholly unseen; the level is not kept for effects carried by fewer "
        f"than about {_span(sparse_shares, digits=1)}."
    )


def _span(shares: Sequence[float], digits: int = 2) -> str:
    """`3 %`, or `3 to 8.3 % (by the claim)` where claims differ."""
    least, most = (percent(share, digits=digits) for share in (min(shares), max(shares)))
    return most if least == most else f"{least.removesuffix(' %')} to {most} (by the claim)"


def counted_once(claims: Sequence[ClaimEntry]) -> str:
    """Return how many refutations only repeat a support, so that the counts of verdicts are no counts of findings."""
    count = len(restated(claims))
    if not count:
        return ""
    what = "1 refuted claim says" if count == 1 else f"{count} refuted claims say"
    return f"{what} the opposite of a supported one about the same column: such a pair is one finding, not two."
