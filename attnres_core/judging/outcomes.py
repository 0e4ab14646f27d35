"""The outcomes of a run: of each claim, and of what deciding early left unmeasured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Decision, Statement, Verdict
from attnres_core.judging.decisions import agreed, deciding
from attnres_core.judging.negation import Negation
from attnres_core.prompts import Split
from attnres_core.quantities.quantity import Association, Pick, Quantity
from attnres_core.quantities.vocabulary import Family
from attnres_core.registration.registry import Standing


@dataclass(frozen=True, slots=True)
class Excess:
    """The cost of an ablation beyond the sum of its parts, with a descriptive 95 % t interval."""

    whole: Quantity
    parts: tuple[Quantity, ...]
    low: float
    mean: float
    high: float
    matched: tuple[float, ...]
    """The same of matched pairs of this run; none: there were none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a claim in a run."""

    claim: Claim
    standing: Standing
    verdict: Verdict
    decisions: tuple[Decision, ...] = ()
    reason: str = ""
    error: str = ""
    """The reason why it could not be decided at all; such a claim has no verdict worth reading."""
    chosen: Mapping[Pick, Family] = field(default_factory=dict)
    """The families that its picks came out as."""
    quantities: tuple[Quantity, ...] = ()
    """Its quantities with the picks filled in, and those that its refutation takes beside them."""
    negations: tuple[Negation, ...] = ()
    """The conditions that refute it, under each kind of ablation."""
    beside: tuple[Decision, ...] = ()
    """The decisions that were taken for its refutation alone, beside its own statements."""
    documents: int | None = None
    """The number of documents that its verdict rests on, where it was decided early; None: all of its split."""

    disagreement: str = ""
    """Each kind's findings, where a claim is decided under several kinds of ablation that do not agree."""
    excesses: tuple[Excess, ...] = ()
    """Null effects that are no absence: with others of this run they cost more than the sum of both. Exploratory."""

    def decided(self, decisions: tuple[Decision, ...], documents: int | None) -> Outcome:
        """The same claim with the decisions of a look at its first `documents` (None: all), and what they come to.

        Args:
            decisions: on its statements, then on those that its refutation takes beside them.
            documents: how many were looked at.
        """
        count = len(self.claim.statements)
        looked = dataclasses.replace(self, decisions=decisions[:count], beside=decisions[count:], documents=documents)
        verdict, disagreement = looked.agreed
        if documents and verdict is Verdict.REFUTED and set(looked.verdicts) != {verdict}:
            verdict = Verdict.INCONCLUSIVE  # a kind of ablation that is open yet may come to support it
        return dataclasses.replace(looked, verdict=verdict, disagreement=disagreement)

    @property
    def shown(self) -> int | None:
        """The decision that is shown for it."""
        return deciding(list(self.by_kind.values()) or [self.decisions], self.verdict)

    @property
    def deciding(self) -> Decision | None:
        """The decision that is shown for it."""
        return None if self.shown is None else self.decisions[self.shown]

    @property
    def by_kind(self) -> dict[str, tuple[Decision, ...]]:
        """Its decisions under each kind of ablation, or over each variant, where there are several."""
        step = self.claim.by_kind
        return {str(case): self.decisions[i * step : (i + 1) * step] for i, case in enumerate(self.claim.under)}

    @property
    def agreed(self) -> tuple[Verdict, str]:
        """The verdict that its decisions make, and how kinds of ablation differ."""
        groups = self.by_kind or {"": self.decisions}
        return agreed(list(groups.values()), list(groups), self.verdicts)

    @property
    def verdicts(self) -> list[Verdict]:
        """Its verdict under each kind of ablation; one verdict where it is decided as it is written."""
        groups = list(self.by_kind.values()) or [self.decisions]
        found = {decision.statement: decision for decision in (*self.decisions, *self.beside)}
        return [of_group(group, negation, found) for group, negation in zip(groups, self.negations, strict=True)]

    @property
    def may_end_early(self) -> bool:
        """True if it has looks before the last: registered, decided by sampling, and about means of documents.

        The noise of single sites weakens a correlation of their means, more so with fewer documents: false REFUTED
        at 64 documents is several times alpha (benchmarks/calibration/early.py). Such claims have one look, and all of
        their alpha for it.
        """
        over_sites = any(isinstance(quantity.what, Association) for quantity in self.claim.quantities)
        return self.standing.split is Split.CONFIRMATION and not self.claim.is_exact and not over_sites


def of_group(decisions: tuple[Decision, ...], negation: Negation, found: Mapping[Statement, Decision]) -> Verdict:
    """Of one group of statements; a title that names a family by its mass holds only where that rank is SUPPORTED."""
    if negation.holds(found):
        return Verdict.REFUTED
    return Verdict.SUPPORTED if all(decisions) and negation.ranked(found) else Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class EarlyDeciding:
    """The forwards that looking early saved."""

    shares: Mapping[int, float]
    """The share of each alpha that may be spent at a look, by its number of documents."""
    ended: Mapping[int, int]
    """Claims whose verdict rests on so many documents."""
    rows: int
    """Forward rows (one confirmation prompt, clean or under one ablation) that a fixed number of documents needs."""
    run: int
    """Forward rows that were needed."""

    def __str__(self) -> str:
        """`verdicts by documents: 20 at 64, 5 at 128, 30 at 256; 4,000 of 9,000 forward rows saved (44%)`."""
        ended = ", ".join(f"{count} at {documents}" for documents, count in self.ended.items())
        saved = self.rows - self.run
        share = saved / self.rows if self.rows else 0
        return f"verdicts by documents: {ended}; {saved:,} of {self.rows:,} forward rows saved ({share:.0%})"
