"""Verdicts as a reader sees them: a claim's, a run's, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attnres_core.records.schema import (
    VERDICTS,
    ClaimEntry,
    ExcessEntry,
    RegistrationsEntry,
    StatementEntry,
    VerdictWord,
)
from attnres_core.report.numbers import EXACT, MINUS, confidence, given, interval, number, several, threshold

OTHER = "other claims"
DECIDED: tuple[VerdictWord, ...] = ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
"""The verdicts that rest on an interval."""


def limits(statement: StatementEntry) -> str:
    """A statement's interval; `exact` where it is no sample's."""
    return EXACT if statement["exact"] else interval((statement["low"], statement["high"]), statement["unit"])


def against(statement: StatementEntry) -> str:
    """Return what a statement's estimate is held against: `> 0.02`, or `within ±0.01`."""
    return threshold(statement["op"], statement["threshold"])


def counted(claims: Sequence[ClaimEntry], *, control: bool) -> dict[VerdictWord, int]:
    """Verdicts of the claims, or of the controls alone: these check the suite and are no findings."""
    words = [claim["verdict"] for claim in claims if claim["control"] is control]
    return {word: words.count(word) for word in VERDICTS}


def answer(claims: Sequence[ClaimEntry]) -> str:
    """The run in one sentence."""
    counts, checks = counted(claims, control=False), counted(claims, control=True)
    decided = sum(counts.values())
    if not decided:
        return "No claim has a verdict yet."
    parts = [f"{counts[verdict]} {verdict.lower()}" for verdict in DECIDED]
    asides = [f"{counts[word]} {word.lower()}" for word in VERDICTS if word not in DECIDED and counts[word]]
    tail = f"; {', '.join(asides)}" if asides else ""
    held = f" {checks['SUPPORTED']} of {sum(checks.values())} controls held." if any(checks.values()) else ""
    return f"Of {several(decided, 'claim')}, {parts[0]}, {parts[1]} and {parts[2]}{tail}.{held}"


def expectation(claim: ClaimEntry) -> tuple[str, str] | None:
    """Return how the verdict meets the claim's expectation: a mark and a reason, or None where none is set."""
    expected = claim["expected"]
    if not expected:
        return None
    if expected["verdict"] == claim["verdict"]:
        return "as expected", expected["reason"]
    return f"expected {expected['verdict']}", expected["reason"]


def deciding(claim: ClaimEntry) -> StatementEntry | None:
    """The statement that is shown for the claim, as `decisions.deciding` chooses it."""
    return None if claim["deciding"] is None else claim["statements"][claim["deciding"]]


def levels(claims: Sequence[ClaimEntry]) -> str:
    """The confidence of the claims' intervals."""
    found = {s["confidence"] for claim in claims for s in claim["statements"] if not s["exact"]}
    if not found:
        return ""
    low, high = confidence(min(found)), confidence(max(found))
    level = f"{low} confidence" if low == high else f"confidence between {low} and {high}"
    return f"Intervals are the deciding ones, each at its own claim's level: {level}."


def attested(registrations: RegistrationsEntry) -> str:
    """Return the witness of the lock's date: `committed 0123456789ab on 2026-11-29`; empty where nothing is known."""
    label, commit = registrations.get("attestation", ""), registrations.get("commit")
    when = f" {commit[:12]} on {(registrations.get('date') or '')[:10]}" if commit else ""
    note = registrations.get("note")
    return f"{label}{when}{f' ({note})' if note else ''}" if label else ""


def why_open(claim: ClaimEntry) -> str:
    """Return why a claim is INCONCLUSIVE: `not matched`, `about 2,589 prompts would decide it`; else empty."""
    own = deciding(claim)
    if claim["verdict"] != "INCONCLUSIVE" or own is None:
        return ""
    if claim["needed_prompts"] is not None:
        return f"about {claim['needed_prompts']:,} prompts would decide it"
    reason = claim["disagreement"] or own["reason"] or claim["reason"]
    return re.split("[:;]", reason)[0]


def standing(claim: ClaimEntry) -> str:
    """What marks a claim whose verdict confirms nothing, or came after its data: `post hoc`, `exploratory` ..."""
    status = claim["registration"]
    return "" if status is None or status == "registered" else status


def control_failed(claim: ClaimEntry) -> bool:
    """Return whether a control says that the instrument, not the model, may be at fault."""
    return claim["control"] and claim["verdict"] not in ("SUPPORTED", "NOT APPLICABLE")


def by_group(claims: Sequence[ClaimEntry]) -> dict[str, list[tuple[int, ClaimEntry]]]:
    """The claims with their places in the record, under their groups: in its order, controls last."""
    groups: dict[str, list[tuple[int, ClaimEntry]]] = {}
    for controls in (False, True):
        for place, claim in enumerate(claims):
            if claim["control"] is controls:
                groups.setdefault(claim["group"] or OTHER, []).append((place, claim))
    return groups


def finding(claim: ClaimEntry) -> str:
    """The verdict as a sentence, from the statement that decides."""
    statement, verdict = deciding(claim), claim["verdict"]
    if statement is None or verdict not in DECIDED or statement["estimate"] is None:
        return ""
    if claim["disagreement"] and statement["verdict"] != verdict:
        return f"No verdict: {claim['disagreement']}."
    if statement["low"] is None and statement["high"] is None:
        return "No verdict may rest on these numbers: a gate forbids it, for the reason below."
    unit, op = statement["unit"], statement["op"]
    edge = given(statement["threshold"])
    zone = {">": f"above {edge}", "<": f"below {edge}", "abs<": f"between {MINUS}{edge} and +{edge}"}[op]
    beyond = {">": f"at or below {edge}", "<": f"at or above {edge}", "abs<": f"beyond ±{edge}"}[op]
    where = {
        "SUPPORTED": f"lies wholly {zone}: the claim is supported",
        "REFUTED": f"lies wholly {beyond}: the claim is refuted",
        "INCONCLUSIVE": f"does not settle whether it is {zone}: the claim is neither supported nor refuted",
    }[verdict]
    value = f"{number(statement['estimate'], unit)} {unit}"
    if statement["exact"]:
        return f"The value, {value}, {where}; it is exact over the {statement['n']} documents read, not a sample's."
    several = len(claim["statements"]) - 1
    rest = f" The other statements ({several}) are in the table." if several else ""
    level = confidence(statement["confidence"])
    return f"The estimate is {value}; its {level} interval {limits(statement)} {where}.{rest}"


def more_than_additive(excess: ExcessEntry) -> str:
    """Return what an ablation costs beyond the sum of its parts, beside matched pairs; exploratory."""
    unit, matched = excess["unit"], excess["matched"]
    cost = f"{number(excess['mean'], unit)} {interval((excess['low'], excess['high']), unit)} {unit}"
    parts = " and ".join(f"`{part}`" for part in excess["parts"])
    same = ", ".join(number(value, unit) for value in matched)
    null = (
        f"the same of {len(matched)} matched in this run: {same}"
        if matched
        else "no matched pair was measured, and joint effects often exceed the sum"
    )
    each = parts if len(excess["parts"]) > 1 else f"{parts} summed over its sites"
    return f"More than additive (exploratory): `{excess['whole']}` costs {cost} more than {each}; {null}"
