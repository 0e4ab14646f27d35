"""A claim's test at its turn: it looks up what was decided, and reports it as an outcome of pytest's."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Sequence

import pytest

from attnres_core.claims.claim import Claim, NotSupported
from attnres_core.claims.estimates import Estimate
from attnres_core.claims.statements import ClaimError, Decision, Interval, Linear, Statement, Verdict
from attnres_core.claims.tracing import number_read
from attnres_core.judging.outcomes import Outcome
from attnres_core.plugin.options import option
from attnres_core.plugin.session import BODY, REPORTED, SESSION, SKIPPED, TRACED
from attnres_core.plugin.terminal import failure_text
from attnres_core.quantities.quantity import Quantity
from attnres_core.records.claim_entry import claim_entry, junit_properties, undecided_entry
from attnres_core.records.schema import ClaimEntry
from attnres_core.report.verdict_signs import SIGNS

_ENTRY: pytest.StashKey[ClaimEntry] = pytest.StashKey()


class DecidedScope:
    """Behind a running claim's estimates: its decisions, looked up in the order of its statements."""

    def __init__(self, outcome: Outcome, body: Sequence[Statement]) -> None:
        self.decisions = list(outcome.decisions)
        self.traced = body
        self.asked = 0

    def compare(self, statement: Statement) -> Decision:
        """The decision on the next statement, taken as supported so that every statement is asked."""
        if self.asked >= len(self.traced) or self.traced[self.asked] != statement:
            raise ClaimError(
                f"the body stated `{statement}` now, and something else at collection; keep it free of state"
            )
        decision = self.decisions[self.asked]
        self.asked += 1
        return Decision(statement, Verdict.SUPPORTED, decision.interval, decision.reason)

    def joined(self, other: DecidedScope) -> DecidedScope:
        """One claim's decisions serve its whole body."""
        return self

    def summary(self, form: Linear) -> Interval:
        """Not while a claim runs."""
        raise number_read(form)


def set_up(item: pytest.Item) -> None:
    """Enter a claim's numbers for its reports; one that cannot be decided is an error, not a failure.

    Raises:
        ClaimError: why it cannot be decided.
    """
    claim = item.stash[TRACED]
    mine = item.config.stash[SESSION]
    if isinstance(claim, ClaimError) or mine.problem:
        error = claim if isinstance(claim, ClaimError) else ClaimError(mine.problem)
        group = item.path.stem.removeprefix("test_")
        _enter(item, undecided_entry(item.nodeid, item.name, group, str(error), source=_source_of(item)))
        raise error
    outcome = mine.outcomes[item.nodeid]
    assert mine.suite is not None
    expected, adjusted = mine.expected.get(item.nodeid), mine.adjusted.get(item.nodeid)
    _enter(item, claim_entry(outcome, expected, mine.suite, adjusted, source=_source_of(item)))
    if outcome.error:
        raise ClaimError(outcome.error)


def _source_of(item: pytest.Item) -> str:
    """The claim's own code, for its readers."""
    with contextlib.suppress(OSError):  # (a claim made by code has none)
        return textwrap.dedent(inspect.getsource(item.obj))  # type: ignore[attr-defined]
    return ""


def _enter(item: pytest.Item, entry: ClaimEntry) -> None:
    """Keep a claim's entry for its reports; its main numbers become properties of the test in JUnit XML."""
    item.stash[_ENTRY] = entry
    item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("attnres_")]
    item.user_properties += junit_properties(entry)


def call(item: pytest.Function) -> bool | None:
    """Run a claim's body over its decisions, then give the verdict; None: pytest is to run it.

    Raises:
        NotSupported: the finding, where the claim is not SUPPORTED.
    """
    if not isinstance(item.stash[TRACED], Claim):
        return None
    outcome = item.config.stash[SESSION].outcomes[item.nodeid]
    if outcome.verdict is Verdict.NOT_APPLICABLE:
        pytest.skip(f"NOT APPLICABLE: {outcome.reason}")
    judged = DecidedScope(outcome, item.stash[BODY])
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    for name, value in arguments.items():
        if isinstance(value, Quantity):
            arguments[name] = Estimate(Linear(((value, 1.0),)), judged)
    item.obj(**arguments)
    if outcome.verdict is not Verdict.SUPPORTED and not _allowed(item, outcome):
        raise NotSupported(failure_text(item.stash[_ENTRY]))
    return True


def _allowed(item: pytest.Item, outcome: Outcome) -> bool:
    """Return whether a verdict passes although it is not SUPPORTED."""
    return outcome.verdict is Verdict.INCONCLUSIVE and option(item.config, "allow") is not None


def complete(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Compare a verdict with the expected one: a known refutation is expected, any change fails."""
    claim = item.stash[TRACED]
    if call.when == "setup" and call.excinfo is not None and call.excinfo.errisinstance(ClaimError):
        report.longrepr = str(call.excinfo.value)  # (a traceback would show this plugin's code)
    if call.when == "call" and call.excinfo is not None:
        if not call.excinfo.errisinstance((NotSupported, pytest.skip.Exception)):  # never an expected verdict
            reason = f"the body raised {call.excinfo.typename}"
            _enter(item, item.stash[_ENTRY] | {"verdict": "ERROR", "reason": reason})
    entry = item.stash.get(_ENTRY, None)
    report.__dict__[REPORTED] = entry
    report.__dict__[SKIPPED] = entry is None and report.skipped
    if hasattr(report, "wasxfail"):  # an xfail mark would hide a changed verdict, and an error
        del report.wasxfail
        report.outcome = "passed" if call.excinfo is None else "failed"
        report.longrepr = None if call.excinfo is None else item.repr_failure(call.excinfo)
    if not isinstance(claim, Claim) or call.when != "call" or not entry or entry["verdict"] == "ERROR":
        return
    mine = item.config.stash[SESSION]
    outcome, expected = mine.outcomes[item.nodeid], mine.expected.get(item.nodeid)
    held = outcome.verdict in (Verdict.SUPPORTED, Verdict.NOT_APPLICABLE) or _allowed(item, outcome)
    finding = "" if held else failure_text(entry)
    if outcome.verdict is Verdict.NOT_APPLICABLE:  # the claim's own line, not this plugin's
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, outcome.reason)
    if finding:
        report.longrepr = finding  # a traceback into this plugin would say nothing
    if expected is not None and expected.verdict is not outcome.verdict:
        report.outcome = "failed"
        report.longrepr = f"expected {expected.verdict}, and the verdict is {outcome.verdict}\n{finding}".rstrip()
    elif expected is not None and report.failed:
        report.outcome = "skipped"
        report.wasxfail = f"{outcome.verdict} as expected: {expected.reason}"


def status(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str]:
    """A claim's own letter and word; the category stays pytest's, so that FAILURES and exit codes work."""
    entry: ClaimEntry = getattr(report, REPORTED)
    verdict = entry["verdict"]
    if hasattr(report, "wasxfail"):
        return "xfailed", SIGNS[verdict].letter.lower(), f"{verdict} (expected)"
    if report.outcome == "failed" and entry["expected"] and entry["expected"]["verdict"] != verdict:
        return "failed", SIGNS[verdict].letter, f"{verdict} (expected {entry['expected']['verdict']})"
    return report.outcome, SIGNS[verdict].letter, verdict
