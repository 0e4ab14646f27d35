"""What a run says in the terminal: progress, a table of verdicts, a finding for every claim that did not hold."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.claims.statements import Operator, Verdict
from attnres_core.engine.run_folder import DECIDED, RunFolder
from attnres_core.judging.decisions import combine, deciding
from attnres_core.judging.outcomes import Outcome
from attnres_core.records.contradictions import absent, contradictions
from attnres_core.statistics.power import unseen_share

LETTERS = {"SUPPORTED": ".", "REFUTED": "R", "INCONCLUSIVE": "I", "NOT APPLICABLE": "n", "ERROR": "E"}
_MARKUP = {
    "SUPPORTED": {"green": True},
    "REFUTED": {"red": True},
    "INCONCLUSIVE": {"yellow": True},
    "NOT APPLICABLE": {"light": True},
    "ERROR": {"red": True, "bold": True},
}


class ProgressBar:
    """Watches a run's folder from a thread, since pytest's own loop blocks: header once, then bundles done.

    It ends once the claims are decided: what is printed from then on are the tests.
    """

    def __init__(self, folder: RunFolder, reporter: Any, *, header: bool = True) -> None:
        self.folder, self.reporter, self.header = folder, reporter, header
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while (announced := self.folder.announced) is None:
            if self._stop.wait(0.1):
                return
        if self.header:
            write_header(self.reporter, announced.lines)
        terminal = self.reporter._tw._file  # stderr itself is captured while pytest collects
        total = announced.bundles
        if not total or not terminal.isatty():
            return
        with tqdm(total=total, desc="measuring", unit="bundle", leave=False, file=terminal) as bar:
            while not (self._stop.wait(0.2) or self.folder.has_record(DECIDED)):
                bar.n = self.folder.measured
                bar.total = max(total, bar.n)  # families chosen on exploration add bundles
                bar.refresh()


def write_header(reporter: Any, lines: Sequence[str]) -> None:
    """What the run works on, on lines of its own whatever pytest was just writing."""
    if reporter._tw.width_of_current_line:  # "collecting ...", or xdist's count of workers
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)


def failure_text(outcome: Outcome, entry: Mapping[str, Any]) -> str:
    """A finding: the deciding numbers in one line, then the claim and each statement with what would decide it."""
    claim = outcome.claim
    headline = f"{outcome.deciding}"
    if outcome.disagreement:
        headline = f"{outcome.verdict}: {outcome.disagreement}"
    lines = [headline, "", f"claim     {claim.title}", f"verdict   {outcome.verdict}"]
    for kind, decisions in outcome.by_kind.items():
        verdict = combine(decisions)
        i = decisions[deciding([decisions], verdict) or 0].interval
        lines.append(f"under     {kind}: {verdict} ({i.mean:+.4g} [{i.low:+.4g}, {i.high:+.4g}])")
    lines += [f"beware    {note}" for note in outcome.redundancy]
    if outcome.standing.status != "registered":
        lines.append(f"standing  {outcome.standing.status}: {outcome.standing.note}")
    if claim.cites:
        lines.append(f"cites     {claim.cites}")
    lines += [f"chosen    {pick} is {family}, on the exploration split" for pick, family in outcome.chosen.items()]
    if entry["duplicates"]:
        lines.append(
            f"copies    {', '.join(entry['duplicates'])}: the dropped source lives on in a kept, identical one"
        )
    if entry["no_ops"]:
        lines.append(f"no-ops    {', '.join(entry['no_ops'])}: all sources are one tensor, the drop changes nothing")
    for decision in outcome.decisions:
        interval, statement = decision.interval, decision.statement
        how = "exact, no sampling inference" if interval.exact else f"{100 * (1 - 2 * interval.alpha):.4g} % interval"
        threshold = f"{statement.threshold:g}"
        if statement.operator is Operator.WITHIN:
            threshold = f"within +-{threshold}"
        lines += [
            "",
            f"statement {statement}",
            f"effect    {interval.mean:+.5g}",
            f"interval  [{interval.low:+.5g}, {interval.high:+.5g}]  ({how}, n = {interval.n})",
            f"threshold {threshold}",
            f"verdict   {decision.verdict}{_meaning(decision.verdict, statement.operator)}",
        ]
        if decision.reason:
            label = "to decide" if decision.verdict is Verdict.INCONCLUSIVE else "note"
            lines.append(f"{label:<9} {decision.reason}")
        if not interval.exact:
            share = unseen_share(interval.alpha, max(interval.n, 1))
            lines.append(f"unseen    effects carried by fewer than {100 * share:.2g} % of prompts cannot be excluded")
    return "\n".join(lines)


def _meaning(verdict: Verdict, operator: Operator) -> str:
    if verdict is not Verdict.REFUTED:
        return ""
    meanings = {
        Operator.ABOVE: "at most the threshold, which is not 'no effect'",
        Operator.BELOW: "at least the threshold",
        Operator.WITHIN: "outside the margin",
    }
    return f": {meanings[operator]}"


def verdict_table(entries: Sequence[Mapping[str, Any]], width: int) -> list[tuple[str, dict[str, bool]]]:
    """The claims by file, with the numbers of the statement that decides each; then the counts.

    One line a claim where `width` allows, otherwise the name above its numbers.
    """
    names = [_name(entry) for entry in entries]
    numbers_width = len(_numbers({"estimate": None}))
    name_width = max(map(len, names), default=0)
    one_line = 2 + name_width + 16 + numbers_width <= width
    lines: list[tuple[str, dict[str, bool]]] = []
    file = None
    for entry, name in zip(entries, names, strict=True):
        if entry["node_id"].split("::")[0] != file:
            file = entry["node_id"].split("::")[0]
            lines.append((file, {"bold": True}))
        verdict = entry["verdict"]
        known = entry["expected"] and verdict == entry["expected"]["verdict"] != "SUPPORTED"
        word = verdict + (" *" if known else "")
        numbers = f"{word:<15} {_numbers(entry)}".rstrip()
        if one_line:
            lines.append((f"  {name:<{name_width}} {numbers}", _MARKUP[verdict]))
        else:
            lines += [(f"  {name}"[:width], {}), (f"    {numbers}", _MARKUP[verdict])]
    for label, control in (("claims", False), ("controls", True)):
        group = [entry["verdict"] for entry in entries if entry["control"] is control]
        if group:
            text = ", ".join(f"{group.count(word)} {word}" for word in LETTERS if word in group)
            lines.append((f"{len(group)} {label}: {text}", {"bold": True}))
    standings = Counter(entry["registration"] for entry in entries if entry["registration"] not in (None, "registered"))
    for word, count in standings.items():
        note = next(entry["registration_note"] for entry in entries if entry["registration"] == word)
        lines.append((f"{count} {word}: {note}", {"yellow": True}))
    lines += _contradictions(entries)
    if any(" *" in line for line, _ in lines):
        lines.append(("* as this reference checkpoint is known to give; the reason is in the report", {}))
    return lines


def _contradictions(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, bool]]]:
    """What was decided between claims that contradict each other, and which of them this run cannot hold together."""
    lines: list[tuple[str, dict[str, bool]]] = []
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
        effect = f"{outcome.deciding.interval.mean:+.4f}" if outcome.deciding is not None else ""
        rows.append((-order, claim_key(claim.node_id).replace("::test_", " "), effect, text))
    width = max((len(name) for _, name, _, _ in rows), default=0)
    head = f"prompts for 80 % power at each claim's alpha, if the exploration split has the truth ({available} here)"
    return [head, *(f"  {name:<{width}} {effect:>9}  {text}" for _, name, effect, text in sorted(rows))]


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["node_id"].split("::", 1)[-1]).removeprefix("test_")


def _numbers(entry: Mapping[str, Any]) -> str:
    """Estimate, interval and threshold of the deciding statement, in columns."""
    if entry["estimate"] is None or entry["verdict"] == "ERROR":
        return f"{'':>9} {'':<24} {'':>9}"
    low = "-inf" if entry["interval"][0] is None else _short(entry["interval"][0])
    high = "+inf" if entry["interval"][1] is None else _short(entry["interval"][1])
    leading = entry["statements"][entry["deciding"]]
    threshold = {"abs<": "+-", ">": "> ", "<": "< "}[leading["op"]] + f"{leading['threshold']:.3g}"
    return f"{_short(entry['estimate']):>9} {f'[{low}, {high}]':<24} {threshold:>9}"


def _short(value: float) -> str:
    """At most nine characters."""
    return f"{value:+.2e}" if value and abs(value) < 1e-3 else f"{value:+.4f}"
