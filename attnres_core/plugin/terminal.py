"""What a run says once it is decided: a table of verdicts, a finding for every claim that did not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.claims.statements import Verdict
from attnres_core.judging.outcomes import Outcome
from attnres_core.records.contradictions import absent, contradictions
from attnres_core.records.schema import ClaimEntry, OperatorSign, StatementEntry
from attnres_core.report.numbers import confidence, interval, number, percent
from attnres_core.report.verdict_signs import SIGNS
from attnres_core.report.wording import against, deciding, limits, more_than_additive, standing

Line = tuple[str, Mapping[str, bool]]
"""A line and its markup, as pytest's writer takes them."""


def failure_text(entry: ClaimEntry) -> str:
    """A finding: the deciding numbers in one line, then the claim and each statement with what would decide it."""
    leading, headline = deciding(entry), f"{entry['verdict']}: {entry['disagreement']}"
    if leading is not None and not entry["disagreement"]:
        estimate = number(leading["estimate"], leading["unit"])
        headline = f"{leading['verdict']}: {estimate} {limits(leading)} for {leading['text']}"
    lines = [headline, "", f"claim     {entry['title']}", f"verdict   {entry['verdict']}"]
    for kind in entry["under"]:
        numbers = f"{number(kind['estimate'], kind['unit'])} {interval((kind['low'], kind['high']), kind['unit'])}"
        lines.append(f"under     {kind['kind']}: {kind['verdict']} ({numbers})")
    lines += [f"beware    {note}" for note in map(more_than_additive, entry["excesses"])]
    if status := standing(entry):
        lines.append(f"standing  {status}: {entry['registration_note']}")
    if entry["cites"]:
        lines.append(f"cites     {entry['cites']}")
    lines += [f"chosen    {pick} is {family}, on the exploration split" for pick, family in entry["chosen"].items()]
    if entry["duplicates"]:
        lines.append(
            f"copies    {', '.join(entry['duplicates'])}: the dropped source lives on in a kept, identical one"
        )
    if entry["no_ops"]:
        lines.append(f"no-ops    {', '.join(entry['no_ops'])}: all sources are one tensor, the drop changes nothing")
    for statement in entry["statements"]:
        unit, ends = statement["unit"], (statement["low"], statement["high"])
        level = f"{confidence(statement['confidence'])} interval"
        how = "exact, no sampling inference" if statement["exact"] else level
        lines += [
            "",
            f"statement {statement['text']}",
            f"effect    {number(statement['estimate'], unit)} {unit}",
            f"interval  {interval(ends, unit)}  ({how}, n = {statement['n']})",
            f"threshold {against(statement)}",
            f"verdict   {statement['verdict']}{_meaning(statement)}",
        ]
        if statement["reason"]:
            label = "to decide" if statement["verdict"] == "INCONCLUSIVE" else "note"
            lines.append(f"{label:<9} {statement['reason']}")
        if statement["unseen_share"] is not None:
            share = percent(statement["unseen_share"])
            lines.append(f"unseen    effects carried by fewer than {share} of prompts cannot be excluded")
    return "\n".join(lines)


def _meaning(statement: StatementEntry) -> str:
    if statement["verdict"] != "REFUTED":
        return ""
    meanings: dict[OperatorSign, str] = {
        ">": "at most the threshold, which is not 'no effect'",
        "<": "at least the threshold",
        "abs<": "outside the margin",
    }
    return f": {meanings[statement['op']]}"


def verdict_table(entries: Sequence[ClaimEntry], width: int) -> list[Line]:
    """The claims by file, with the numbers of the statement that decides each; then the counts.

    One line a claim where `width` allows, otherwise the name above its numbers.
    """
    names, numbers = [_name(entry) for entry in entries], _columns([_numbers(entry) for entry in entries])
    name_width = max(map(len, names), default=0)
    one_line = 2 + name_width + 17 + max(map(len, numbers), default=0) <= width
    lines: list[Line] = []
    file = None
    for entry, name, own in zip(entries, names, numbers, strict=True):
        if entry["node_id"].split("::")[0] != file:
            file = entry["node_id"].split("::")[0]
            lines.append((file, {"bold": True}))
        verdict, markup = entry["verdict"], SIGNS[entry["verdict"]].markup
        known = entry["expected"] and verdict == entry["expected"]["verdict"] != "SUPPORTED"
        word = verdict + (" *" if known else "")
        told = f"{word:<15} {own}".rstrip()
        if one_line:
            lines.append((f"  {name:<{name_width}} {told}", markup))
        else:
            lines += [(f"  {name}"[:width], {}), (f"    {told}", markup)]
    for label, control in (("claims", False), ("controls", True)):
        group = [entry["verdict"] for entry in entries if entry["control"] is control]
        if group:
            text = ", ".join(f"{group.count(word)} {word}" for word in SIGNS if word in group)
            lines.append((f"{len(group)} {label}: {text}", {"bold": True}))
    for word, count in Counter(filter(None, map(standing, entries))).items():
        note = next(entry["registration_note"] for entry in entries if entry["registration"] == word)
        lines.append((f"{count} {word}: {note}", {"yellow": True}))
    lines += _contradictions(entries)
    if any(" *" in line for line, _ in lines):
        lines.append(("* as this reference checkpoint is known to give; the reason is in the report", {}))
    return lines


def _contradictions(entries: Sequence[ClaimEntry]) -> list[Line]:
    """What was decided between claims that contradict each other, and which of them this run cannot hold together."""
    lines: list[Line] = []
    for pair in contradictions(entries):
        both = ", ".join(f"{_name(entry)} {entry['verdict']}" for entry in (pair.first, pair.second))
        lines.append((f"contradiction: {pair.finding} ({both})", {}))
    for key, name in absent(entries):
        lines.append((f"contradiction: {key} contradicts {name}, and this run holds no such claim", {"yellow": True}))
    return lines


def plan_table(planned: Sequence[tuple[Claim, Outcome, int | None]], available: int) -> list[str]:
    """What each claim needs, neediest first, against the documents there are."""
    rows = []
    for claim, outcome, needed in planned:
        if outcome.verdict is Verdict.NOT_APPLICABLE or outcome.error:
            text, order = outcome.error or f"not applicable: {outcome.reason}", -1
        elif needed is None:
            text, order = "no number of prompts: too close to the threshold, or a column no verdict may rest on", 10**9
        else:
            text, order = (
                f"{needed} prompts" + ("" if needed <= available else f": more than the {available} here"),
                needed,
            )
        effect = number(outcome.deciding.interval.mean, signed=True) if outcome.deciding is not None else ""
        rows.append((-order, claim_key(claim.node_id).replace("::test_", " "), effect, text))
    width = max((len(name) for _, name, _, _ in rows), default=0)
    head = f"prompts for 80 % power at each claim's alpha, if the exploration split has the truth ({available} here)"
    return [head, *(f"  {name:<{width}} {effect:>9}  {text}" for _, name, effect, text in sorted(rows))]


def _name(entry: ClaimEntry) -> str:
    return entry["node_id"].split("::", 1)[-1].removeprefix("test_")


def _numbers(entry: ClaimEntry) -> tuple[str, str, str]:
    """Estimate, interval and threshold of the deciding statement."""
    leading = deciding(entry)
    if leading is None or entry["verdict"] == "ERROR":
        return "", "", ""
    return number(leading["estimate"], leading["unit"]), limits(leading), against(leading)


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """The rows' cells under each other: numbers end at one place, intervals begin at one."""
    first, second, third = ([len(row[place]) for row in rows] for place in range(3))
    widths = [max(sizes, default=0) for sizes in (first, second, third)]
    return [f"{one:>{widths[0]}} {two:<{widths[1]}} {three:>{widths[2]}}" for one, two, three in rows]
