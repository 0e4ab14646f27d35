"""A record by what its claims cite: each paper's claims with their verdicts. The terminal and the page both read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnres_core.records.reading import one_line
from attnres_core.records.schema import ClaimEntry, VerdictWord
from attnres_core.report.wording import counted

UNCITED = "no source"
"""Stands for the source of claims that cite nothing."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source, and what this run says of it."""

    source: str
    """A line of text from the record: escape it as any other."""
    claims: tuple[ClaimEntry, ...]
    """Its claims without controls, in the record's order."""
    counts: Mapping[VerdictWord, int]
    """Claims by verdict: every verdict has its number, which may be 0."""
    changed: tuple[ClaimEntry, ...]
    """Those whose verdict is not the one that this checkpoint is known to give."""


def source(claim: ClaimEntry) -> str:
    """Return what a claim cites, without the place in it: the text before the first comma or colon with a space.

    `arXiv:2606.13168, motif current -> early MLP` and `arXiv:2606.13168, wrapped Qwen3` have one source. A claim that
    cites two sources has both as its source, in one row of their own, so that the rows add up to all claims.
    """
    return re.split(r"[,:]\s", one_line(claim["cites"] or ""), maxsplit=1)[0].strip() or UNCITED


def changed(claim: ClaimEntry) -> bool:
    """Return whether a claim's verdict is not the one that this checkpoint is known to give."""
    return claim["expected"] is not None and claim["expected"]["verdict"] != claim["verdict"]


def by_source(claims: Sequence[ClaimEntry]) -> list[SourceRow]:
    """A row a source: that with most claims first, equal ones by name, and claims without a source last."""
    members: dict[str, list[ClaimEntry]] = {}
    for claim in claims:
        if not claim["control"]:
            members.setdefault(source(claim), []).append(claim)
    order = sorted(members, key=lambda name: (name == UNCITED, -len(members[name]), name))
    return [
        SourceRow(
            source=name,
            claims=tuple(members[name]),
            counts=counted(members[name], control=False),
            changed=tuple(filter(changed, members[name])),
        )
        for name in order
    ]
