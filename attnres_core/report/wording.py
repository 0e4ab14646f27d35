"""Numbers and verdicts as a reader sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

VERDICTS = ("SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT APPLICABLE", "ERROR")
OTHER = "other claims"

_SIGNED_UNITS = ("nats/token",)
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, unit: str | None = None, *, signed: bool | None = None) -> str:
    """Three significant digits with a true minus sign; effects carry their sign; None is a dash."""
    if value is None:
        return "\N{EN DASH}"
    if signed is None:
        signed = unit in _SIGNED_UNITS
    return _sign(value, signed) + _magnitude(abs(value))


def _sign(value: float, signed: bool) -> str:
    if value < 0:
        return "\N{MINUS SIGN}"
    return "+" if signed and value > 0 else ""


def _magnitude(size: float) -> str:
    if size == 0:
        return "0"
    exponent = int(f"{size:.2e}".split("e")[1])
    if exponent < -4 or exponent > 6:
        mantissa = f"{size:.2e}".split("e")[0]
        return f"{mantissa}\N{MULTIPLICATION SIGN}10{str(exponent).translate(_SUPERSCRIPT)}"
    return f"{size:,.{max(0, 2 - exponent)}f}"


def given(value: float) -> str:
    """A number that someone chose, as they would write it: `0.02`, `0.00078`, `10⁻⁶`."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}") if abs(value) < 1000 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    factor = f"{float(mantissa):g}\N{MULTIPLICATION SIGN}" if float(mantissa) != 1 else ""
    return f"{factor}10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def interval(limits: tuple[float | None, float | None], unit: str | None = None) -> str:
    """`[+0.110, +0.160]`; a limit that is None is infinite."""
    low, high = limits
    below = "\N{MINUS SIGN}∞" if low is None else number(low, unit)
    above = "+∞" if high is None else number(high, unit)
    return f"[{below}, {above}]"


def threshold(statement: dict[str, Any]) -> str:
    """What the estimate is held against: `> 0.02`, or `within ±0.01`."""
    size = given(statement["threshold"])
    return f"within ±{size}" if statement["op"] == "abs<" else f"{statement['op']} {size}"


def count(size: int) -> str:
    """A large number in words: `2.9 M`."""
    for unit, name in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return str(size)


def confidence(level: float) -> str:
    """A confidence level in percent, with the digits it needs: `99.92 %`."""
    digits = 0 if level >= 1 else max(0, math.ceil(-math.log10(1 - level)) - 1)
    return f"{100 * level:.{min(digits, 6)}f} %"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(claims: list[dict[str, Any]], *, control: bool) -> dict[str, int]:
    """Verdicts of the claims, or of the controls alone: these check the suite and are no findings."""
    words = [claim["verdict"] for claim in claims if bool(claim["control"]) is control]
    return {word: words.count(word) for word in VERDICTS}


def answer(claims: list[dict[str, Any]]) -> str:
    """The run in one sentence."""
    counts, checks = counted(claims, control=False), counted(claims, control=True)
    decided = sum(counts.get(verdict, 0) for verdict in VERDICTS)
    if not decided:
        return "No claim has a verdict yet."
    parts = [f"{counts.get(verdict, 0)} {verdict.lower()}" for verdict in VERDICTS[:3]]
    asides = [f"{counts[verdict]} {verdict.lower()}" for verdict in VERDICTS[3:] if counts.get(verdict)]
    tail = f"; {', '.join(asides)}" if asides else ""
    held = f" {checks['SUPPORTED']} of {sum(checks.values())} controls held." if any(checks.values()) else ""
    return f"Of {decided} claims, {parts[0]}, {parts[1]} and {parts[2]}{tail}.{held}"


def expectation(claim: dict[str, Any]) -> tuple[str, str] | None:
    """How the verdict meets the claim's expectation: a mark and a reason, or None where none is set."""
    expected = claim["expected"]
    if not expected:
        return None
    if expected["verdict"] == claim["verdict"]:
        return "as expected", expected["reason"]
    return f"expected {expected['verdict']}", expected["reason"]


def deciding(claim: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statement that is shown for the claim, as `judging.deciding` chooses it."""
    place, statements = claim["deciding"], list[dict[str, Any]](claim["statements"])
    return None if place is None else statements[place]


def levels(claims: list[dict[str, Any]]) -> str:
    """The confidence of the claims' intervals."""
    found = {s["confidence"] for claim in claims for s in claim["statements"] if not s["exact"]}
    if not found:
        return ""
    low, high = confidence(min(found)), confidence(max(found))
    level = f"at {low}" if low == high else f"between {low} and {high}"
    return f"Intervals are the deciding ones, {level} confidence, simultaneous over the claims."


def why_open(claim: Mapping[str, Any]) -> str:
    """Why a claim is INCONCLUSIVE, in a few words: `not matched`, `about 2,589 prompts would decide it`; else empty."""
    own = deciding(claim)
    if claim["verdict"] != "INCONCLUSIVE" or own is None:
        return ""
    if claim["needed_prompts"] is not None:
        return f"about {claim['needed_prompts']:,} prompts would decide it"
    reason = claim["disagreement"] or own["reason"] or claim["reason"]
    return str(re.split("[:;]", reason)[0])


def standing(claim: Mapping[str, Any]) -> str:
    """What marks a claim whose verdict confirms nothing, or came after its data: `post hoc`, `exploratory` ..."""
    found = claim["registration"]
    return "" if found in (None, "registered") else str(found)


def control_failed(claim: dict[str, Any]) -> bool:
    """Whether a control says that the instrument, not the model, may be at fault."""
    return bool(claim["control"]) and claim["verdict"] not in ("SUPPORTED", "NOT APPLICABLE")


def by_family(claims: list[dict[str, Any]]) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """The claims with their places in the record, under their families: in its order, controls last."""
    families: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for controls in (False, True):
        for place, claim in enumerate(claims):
            if bool(claim["control"]) is controls:
                families.setdefault(claim["family"] or OTHER, []).append((place, claim))
    return families


def finding(claim: dict[str, Any]) -> str:
    """The verdict as a sentence, from the statement that decides."""
    statement, verdict = deciding(claim), claim["verdict"]
    if statement is None or verdict not in VERDICTS[:3] or statement["estimate"] is None:
        return ""
    if claim["disagreement"] and statement["verdict"] != verdict:
        return f"No verdict: {claim['disagreement']}."
    if statement["low"] is None and statement["high"] is None:
        return "No verdict may rest on these numbers: a gate forbids it, for the reason below."
    unit, op = statement["unit"], statement["op"]
    limits, edge = interval((statement["low"], statement["high"]), unit), given(statement["threshold"])
    zone = {">": f"above {edge}", "<": f"below {edge}", "abs<": f"between \N{MINUS SIGN}{edge} and +{edge}"}[op]
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
    return f"The estimate is {value}; its {level} interval {limits} {where}.{rest}"
