"""The pytest plugin: claims are collected and traced, measured before any test runs, and reported as outcomes.

A claim is a test with at least one parameter whose value is a `Quantity`. Its statements are traced at collection;
all claims of the session are measured together in `pytest_collection_finish`, before xdist hands out tests; at its
turn each test only looks up its verdict.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import textwrap
import uuid
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import OutcomeException

from attnres_core.claims.claim import Claim, ClaimInfo, NotSupported, under_each
from attnres_core.claims.estimates import Estimate
from attnres_core.claims.statements import ClaimError, Decision, Interval, Linear, Statement, Verdict
from attnres_core.claims.tracing import number_read, trace
from attnres_core.engine.run_folder import BEGUN, DECIDED, RunFolder
from attnres_core.engine.store import DamagedStoreWarning
from attnres_core.engine.worker import SmallerBatchWarning
from attnres_core.judging.outcomes import Outcome
from attnres_core.judging.registry import LOCK, lock_folder
from attnres_core.plugin import options
from attnres_core.plugin.reporter import REPORTED, SESSION, SKIPPED, Session, Teller
from attnres_core.plugin.terminal import ProgressBar, failure_text, plan_table, write_header
from attnres_core.prompts import Split
from attnres_core.quantities.quantity import Quantity
from attnres_core.records.claim_entry import claim_entry, junit_properties, undecided_entry
from attnres_core.records.run_record import base_record
from attnres_core.records.schema import ClaimEntry, VerdictWord
from attnres_core.report.verdict_signs import SIGNS
from attnres_core.suite.expected_verdicts import load_expected, write_expected
from attnres_core.suite.margins import check_margins
from attnres_core.suite.post_hoc import seen_before
from attnres_core.suite.sample_sizes import documents_needed
from attnres_core.suite.suite import Suite

_TRACED: pytest.StashKey[Claim | ClaimError] = pytest.StashKey()
_BODY: pytest.StashKey[Sequence[Statement]] = pytest.StashKey()
_ENTRY: pytest.StashKey[ClaimEntry] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the `--attnres-*` options."""
    options.add_options(parser)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_controller(config: pytest.Config) -> bool:
    return bool(config.getoption("numprocesses", None)) and not _is_worker(config)


def pytest_configure(config: pytest.Config) -> None:
    """Name the run (the controller's name reaches every worker) and listen where reports end up."""
    run = config.workerinput["attnres_run"] if _is_worker(config) else uuid.uuid4().hex  # type: ignore[attr-defined]
    config.stash[SESSION] = Session(run)
    if not _is_worker(config):
        config.pluginmanager.register(Teller(config), "attnres-teller")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker the run's name."""
    node.workerinput["attnres_run"] = node.config.stash[SESSION].run


def pytest_sessionstart(session: pytest.Session) -> None:
    """On an xdist controller, check what was asked for and watch the workers' progress."""
    config = session.config
    if not _is_controller(config) or config.option.collectonly:
        return
    for name in ("write-expected", "register", "plan"):
        if options.option(config, name):
            raise pytest.UsageError(f"--attnres-{name} needs one process: add -n 0")
    if any(config.getoption(option.ini) is not None or config.getini(option.ini) for option in options.OPTIONS):
        _suite(config)  # a wrong path is one error here, not one from every worker
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        folder = RunFolder(options.written_path(config, "store"), config.stash[SESSION].run)
        config.stash[SESSION].bar = ProgressBar(folder, reporter)


def _suite(config: pytest.Config, claims: Sequence[Claim] = (), registrations: Path | None = None) -> Suite:
    """The run's suite; `registrations` is the folder of the claims' lock (the controller collects none).

    Raises:
        pytest.UsageError: something it was asked to use cannot be used.
    """
    options.report_path(config)
    workers = int(config.workerinput["workercount"]) if _is_worker(config) else 1  # type: ignore[attr-defined]
    try:
        return Suite(options.settings_of(config, registrations or config.rootpath), claims, workers)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


# Collection -----------------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a `@claim`'s quantities to its parameters, without a mark in the test's name."""
    info: ClaimInfo | None = getattr(metafunc.function, "__attnres_claim__", None)
    if info is not None and info.quantities:
        names, values = list(info.quantities), list(info.quantities.values())
        metafunc.parametrize(names, [pytest.param(*values, id=pytest.HIDDEN_PARAM)])


def pytest_make_parametrize_id(val: object) -> str | None:
    """A quantity in an ordinary `parametrize` names the test."""
    return str(val) if isinstance(val, Quantity) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Trace a claim's statements."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    quantities = {name: value for name, value in parameters.items() if isinstance(value, Quantity)}
    info: ClaimInfo | None = getattr(getattr(item, "function", None), "__attnres_claim__", None)
    if not isinstance(item, pytest.Function) or not (quantities or info):
        return
    try:
        others = {name: value for name, value in parameters.items() if name not in quantities}
        if fixtures := sorted(set(item._fixtureinfo.argnames) - set(parameters)):
            raise ClaimError(f"a claim takes quantities and plain parameters, no fixtures: {', '.join(fixtures)}")
        body = trace(item.obj, quantities, others)
        name = item.originalname
        words = (info.statement if info else None) or name.removeprefix("test_").replace("_", " ")
        if item.name != name:  # which of a parametrized claim's cases
            words += f" {item.name.removeprefix(name)}"
        group = (info.group if info else None) or item.path.stem.removeprefix("test_").replace("_", " ")
        cites, kinds, against = (info.cites, info.under, info.contradicts) if info else (None, (), ())
        used, statements = under_each(kinds, tuple(dict.fromkeys(quantities.values())), body)
        item.stash[_BODY] = body
        item.stash[_TRACED] = Claim(item.nodeid, words, group, cites, used, statements, kinds, against)
    except ClaimError as error:
        item.stash[_TRACED] = error
    except OutcomeException as error:
        item.stash[_TRACED] = ClaimError(f"the body calls pytest.{type(error).__name__.lower()}; it may only assert")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Measure and judge every collected claim, together with the run's other workers."""
    config = session.config
    collected = [claim for item in session.items if isinstance(claim := item.stash.get(_TRACED, None), Claim)]
    listing = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly")
    only_listing = any(getattr(config.option, name, False) for name in listing)
    claims = sum(_TRACED in item.stash for item in session.items)
    if not claims or only_listing or _is_controller(config) or _collection_failed(session):
        return
    mine = config.stash[SESSION]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    bar = None
    try:
        suite = _suite(config, collected, _folder_of(session))
        if options.option(config, "register"):
            _register(suite, config, reporter)
            return
        if options.option(config, "plan"):
            _plan(suite, mine.run, reporter)
            return
        if not _is_worker(config) and reporter is not None:
            write_header(reporter, suite.header())
            bar = ProgressBar(RunFolder(suite.inputs.store.root, mine.run), reporter, header=False)
        mine.suite = suite
        writing = options.option(config, "write-expected")
        mine.expected = {} if writing else load_expected(suite)
        with warnings.catch_warnings():
            for notice in (DamagedStoreWarning, SmallerBatchWarning):  # even where warnings are errors
                warnings.simplefilter("always", notice)
            _leave_base_record(suite, mine, claims, BEGUN)  # should measuring be interrupted
            mine.outcomes = suite.decide(mine.run)
            mine.adjusted = suite.adjusted(mine.outcomes.values())
            _leave_base_record(suite, mine, claims, DECIDED)
        if writing:
            path = write_expected(suite, mine.outcomes)
            if reporter is not None:
                reporter.write_line(f"attnres: expected verdicts written to {path}; reasons are yours to write")
    except (pytest.UsageError, ValueError, OSError) as error:
        if not _is_worker(config):
            raise pytest.UsageError(str(error)) from None
        mine.problem = str(error)
    finally:
        if bar is not None:
            bar.close()


def _folder_of(session: pytest.Session) -> Path:
    """Where the session's claims are registered; without an ini file, rootdir is only where pytest was started."""
    config = session.config
    top = config.rootpath if config.inipath else Path(config.rootpath.anchor)
    return lock_folder({item.path for item in session.items if _TRACED in item.stash}, top)


def _register(suite: Suite, config: pytest.Config, reporter: Any) -> None:
    """Write the lock and say what changed; a claim whose confirmation data were read before is marked post hoc."""
    check_margins(suite, config.stash[SESSION].run)
    narrowing = ("keyword", "markexpr", "deselect", "lf", "stepwise")
    selected = any(config.getoption(name, None) for name in narrowing) or any("::" in str(a) for a in config.args)
    budget = options.option(config, "budget-claims")
    registry = suite.inputs.registry
    changes = registry.register(
        suite.claims,
        suite.inputs.prompt_set.digest,
        seen=seen_before(suite),
        documents=suite.inputs.confirmation_digests,
        budget=budget,
        whole_files=not selected,
    )
    for line in changes or ["nothing changed"]:
        reporter.write_line(f"attnres: {line}")
    reporter.write_line(f"attnres: {registry.folder / LOCK}, {len(registry.entries)} claims; commit it")


def _plan(suite: Suite, run: str, reporter: Any) -> None:
    """Print the prompts that each claim needs, by what its exploration columns say."""
    write_header(reporter, suite.header())
    there = len(suite.inputs.prompts[Split.CONFIRMATION].documents)
    for line in plan_table(documents_needed(suite, run), there):
        reporter.write_line(line)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Registering and planning run no test."""
    config = session.config
    stop = not _is_worker(config) and (options.option(config, "register") or options.option(config, "plan"))
    return True if stop else None


def _collection_failed(session: pytest.Session) -> bool:
    """Whether no test will run: pytest calls this hook even when collection broke off."""
    broken = session.testsfailed and not session.config.option.continue_on_collection_errors
    return bool(broken) or sys.exc_info()[0] is not None


def _leave_base_record(suite: Suite, mine: Session, collected: int, name: str) -> None:
    """Write what the controller needs beside the claims' own entries; every worker would write the same, so one does.

    What is known before measuring all wait for: an interrupt must find it. A worker killed at it is replaced, and its
    replacement comes by here again.
    """
    store = suite.inputs.store
    folder = RunFolder(store.root, mine.run, store.writing).open()
    with store.held(f"{mine.run}-{name}", wait=name == BEGUN) as held:
        if held and not folder.has_record(name):
            folder.leave_record(name, base_record(suite, list(mine.outcomes.values()), collected))


# Running --------------------------------------------------------------------------------------------------------------


class _Judged:
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

    def joined(self, other: _Judged) -> _Judged:
        """One claim's decisions serve its whole body."""
        return self

    def summary(self, form: Linear) -> Interval:
        """Not while a claim runs."""
        raise number_read(form)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A claim that cannot be decided is an error, not a failure."""
    claim = item.stash.get(_TRACED, None)
    if claim is None or item.config.option.setuponly:  # (and --setup-plan, which implies it)
        return
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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a claim's body over its decisions, then give the verdict."""
    claim = pyfuncitem.stash.get(_TRACED, None)
    if not isinstance(claim, Claim):
        return None
    outcome = pyfuncitem.config.stash[SESSION].outcomes[pyfuncitem.nodeid]
    if outcome.verdict is Verdict.NOT_APPLICABLE:
        pytest.skip(f"NOT APPLICABLE: {outcome.reason}")
    judged = _Judged(outcome, pyfuncitem.stash[_BODY])
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    for name, value in arguments.items():
        if isinstance(value, Quantity):
            arguments[name] = Estimate(Linear(((value, 1.0),)), judged)
    pyfuncitem.obj(**arguments)
    if outcome.verdict is not Verdict.SUPPORTED:
        raise NotSupported(failure_text(pyfuncitem.stash[_ENTRY]))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Compare a verdict with the expected one: a known refutation is expected, any change fails."""
    report = yield
    claim = item.stash.get(_TRACED, None)
    if claim is None:
        return report
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
        return report
    mine = item.config.stash[SESSION]
    outcome, expected = mine.outcomes[item.nodeid], mine.expected.get(item.nodeid)
    held = outcome.verdict in (Verdict.SUPPORTED, Verdict.NOT_APPLICABLE)
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
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """A claim's own letter and word; the category stays pytest's, so that FAILURES and exit codes work."""
    entry = getattr(report, REPORTED, None)
    if entry is None or getattr(report, "when", None) != "call":
        return None
    verdict: VerdictWord = entry["verdict"]
    if hasattr(report, "wasxfail"):
        return "xfailed", SIGNS[verdict].letter.lower(), f"{verdict} (expected)"
    if report.outcome == "failed" and entry["expected"] and entry["expected"]["verdict"] != verdict:
        return "failed", SIGNS[verdict].letter, f"{verdict} (expected {entry['expected']['verdict']})"
    return report.outcome, SIGNS[verdict].letter, verdict
