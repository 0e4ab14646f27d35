"""The words of a run once it is decided: its verdicts, and a finding for every claim that did not hold."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.claims.statements import Decision, Verdict
from attnres_core.judging.outcomes import Outcome
from attnres_core.quantities.units import unit_of
from attnres_core.records.contradictions import absent, contradictions
from attnres_core.records.schema import ClaimEntry, OperatorSign, StatementEntry
from attnres_core.report.by_source import UNCITED, by_source, changed
from attnres_core.report.numbers import confidence, interval, number, percent
from attnres_core.report.verdict_signs import SIGNS
from attnres_core.report.wording import against, deciding, expectation, limits, more_than_additive, standing, why_open

Line = tuple[str, Mapping[str, bool]]
"""A line and its markup, as pytest's writer takes them."""
VERDICT = len("NOT APPLICABLE")
"""Columns of a verdict."""
MIN_ROOM, LONGEST = 20, 100
"""Columns that names and reasons have at least in a narrow terminal, and at most where there is none."""
SOURCE = 50
"""Columns of a cited source."""


def failure_text(entry: ClaimEntry) -> str:
    """A finding: the deciding numbers in one line, then the claim and each statement with what would decide it."""
    leading, headline = deciding(entry), f"{entry['verdict']}: {entry['disagreement']}"
    if leading is not None and not entry["disagreement"]:
        estimate = number(leading["estimate"], leading["unit"])
        headline = f"{leading['verdict']}: {estimate} {leading['unit']} {limits(leading)} for {leading['text']}"
    lines = [headline, "", f"claim     {entry['title']}", f"verdict   {entry['verdict']}"]
    for kind in entry["under"]:
        whole = interval((kind["low"], kind["high"]), kind["unit"])
        numbers = f"{number(kind['estimate'], kind['unit'])} {kind['unit']} {whole}"
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
            f"interval  {interval(ends, unit)} {unit}  ({how}, n = {statement['n']})",
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


def verdict_table(entries: Sequence[ClaimEntry], width: int | None = None, *, full: bool = False) -> list[Line]:
    """The claims by file, then how many of which verdict, by what they cite and in all.

    A claim that is SUPPORTED (or not applicable) takes a line. Every other, and one whose verdict is not the expected
    one, is told with its interval, its threshold and the reason.

    Args:
        entries: the claims, in order of node id.
        width: columns of the terminal, at which lines are cut or wrapped; None: there is no terminal, and none is cut.
        full: tell of every claim so, with all that there is to know of its limits.
    """
    lines: list[Line] = []
    for file, members in itertools.groupby(entries, lambda entry: entry["node_id"].split("::")[0]):
        lines.append((file, {"bold": True}))
        for entry in members:
            brief = not full and entry["verdict"] in ("SUPPORTED", "NOT APPLICABLE") and not changed(entry)
            lines += [_brief(entry, width)] if brief else _at_length(entry, width, full=full)
    lines += _by_source(entries, width)
    for label, control in (("claims", False), ("controls", True)):
        group = [entry["verdict"] for entry in entries if entry["control"] is control]
        if group:
            text = ", ".join(f"{group.count(word)} {word}" for word in SIGNS if word in group)
            lines.append((f"{len(group)} {label if len(group) > 1 else label[:-1]}: {text}", {"bold": True}))
    for word, count in Counter(filter(None, map(standing, entries))).items():
        note = next(entry["registration_note"] for entry in entries if entry["registration"] == word)
        lines.append((f"{count} {word}: {note}", {"yellow": True}))
    lines += _contradictions(entries)
    if others := [f"{_name(entry)} {entry['verdict']}" for entry in entries if changed(entry)]:
        lines.append((f"{len(others)} not as expected: {', '.join(others)}", {"red": True}))
    return lines


def _brief(entry: ClaimEntry, width: int | None) -> Line:
    """`SUPPORTED +0.561 nats/token current_source_is_necessary`: a verdict, its effect, the claim's name."""
    own = deciding(entry)
    effect = "" if own is None else f"{number(own['estimate'], own['unit']):>10} {own['unit']:<10} "
    start = f"  {entry['verdict']:<{len('SUPPORTED')}} {effect}"
    room = None if width is None else width - len(start)
    return start + _cut(_name(entry), room), SIGNS[entry["verdict"]].markup


def _at_length(entry: ClaimEntry, width: int | None, *, full: bool) -> list[Line]:
    """A claim with its numbers, and why its verdict is what it is."""
    room = None if width is None else width - VERDICT - 3
    own, known = deciding(entry), expectation(entry)
    why = entry["reason"] if full or own is None else why_open(entry) or own["reason"]
    told = ["" if own is None else _numbers(own), why, ": ".join(known) if known else ""]
    heading = f"  {entry['verdict']:<{VERDICT}} {_cut(_name(entry), room)}"
    lines: list[Line] = [(heading, SIGNS[entry["verdict"]].markup)]
    for text in filter(None, told):
        wrapped = textwrap.wrap(text, max(MIN_ROOM, room or LONGEST), break_long_words=False, break_on_hyphens=False)
        lines += [(" " * (VERDICT + 3) + line, {}) for line in wrapped]
    return lines


def _numbers(statement: StatementEntry) -> str:
    """`+0.412 nats/token [+0.365, +0.462], claimed > 0`."""
    effect = f"{number(statement['estimate'], statement['unit'])} {statement['unit']}"
    return f"{effect} {limits(statement)}, claimed {against(statement)}"


def _cut(name: str, room: int | None) -> str:
    """A claim's name in so many columns; a long one loses its middle, since its end tells cases apart."""
    if room is None or len(name) <= max(room, MIN_ROOM):
        return name
    end = max(room, MIN_ROOM) // 2
    return f"{name[: max(room, MIN_ROOM) - end - 1]}…{name[-end:]}"


def _by_source(entries: Sequence[ClaimEntry], width: int | None) -> list[Line]:
    """Return how many claims have which verdict, by what they cite; nothing where no claim cites anything."""
    rows = by_source(entries)
    if all(row.source == UNCITED for row in rows):
        return []
    words = [word for word in SIGNS if any(row.counts[word] for row in rows)]
    headings = f"  claims  {'  '.join(words)}"
    room = SOURCE if width is None else min(SOURCE, width - len(headings))
    sources = [_cut(row.source, room) for row in rows]
    first = max(map(len, ("by cited source", *sources)))
    lines: list[Line] = [("", {}), (f"{'by cited source':<{first}}{headings}", {"bold": True})]
    for row, source in zip(rows, sources, strict=True):
        counts = "  ".join(f"{row.counts[word] or '':>{len(word)}}" for word in words)
        lines.append((f"{source:<{first}}  {len(row.claims):>6}  {counts}".rstrip(), {}))
    return [*lines, ("", {})]


def _contradictions(entries: Sequence[ClaimEntry]) -> list[Line]:
    """Return the findings on claims that contradict each other, and which of them this run does not hold together."""
    lines: list[Line] = []
    for pair in contradictions(entries):
        both = ", ".join(f"{_name(entry)} {entry['verdict']}" for entry in (pair.first, pair.second))
        lines.append((f"contradiction: {pair.finding} ({both})", {}))
    for key, name in absent(entries):
        lines.append((f"contradiction: {key} contradicts {name}, and this run holds no such claim", {"yellow": True}))
    return lines


def plan_table(planned: Sequence[tuple[Claim, Outcome, int | None]], available: Mapping[str, int]) -> list[str]:
    """Return what each claim needs, neediest first, against the documents there are in its prompt set."""
    rows = []
    for claim, outcome, needed in planned:
        if outcome.verdict is Verdict.NOT_APPLICABLE or outcome.error:
            text, order = outcome.error or f"not applicable: {outcome.reason}", -1
        elif needed is None:
            text, order = "no number of prompts: too close to the threshold, or a column no verdict may rest on", 10**9
        else:
            there = available[claim.prompts]
            text, order = f"{needed} prompts" + ("" if needed <= there else f": more than the {there} here"), needed
        effect = "" if outcome.deciding is None else _estimate(outcome.deciding)
        rows.append((-order, claim_key(claim.node_id).replace("::test_", " "), effect, text))
    width = max((len(name) for _, name, _, _ in rows), default=0)
    here = ", ".join(f"{count} {f'in {name}' if name else 'here'}" for name, count in available.items())
    head = f"prompts for 80 % power at each claim's alpha, if the exploration split has the truth ({here})"
    longest = max((len(effect) for _, _, effect, _ in rows), default=0)
    return [head, *(f"  {name:<{width}} {effect:>{longest}}  {text}" for _, name, effect, text in sorted(rows))]


def _estimate(decision: Decision) -> str:
    units = " and ".join(sorted({unit_of(quantity) for quantity, _ in decision.statement.form.terms}))
    return f"{number(decision.interval.mean, signed=True)} {units}"


def _name(entry: ClaimEntry) -> str:
    return entry["node_id"].split("::", 1)[-1].removeprefix("test_")
