"""The pytest plugin: claims are collected and traced, measured before any test runs, and reported as outcomes.

A claim is a test with at least one parameter whose value is a `Quantity`. Its statements are traced at collection;
all claims of the session are measured together in `pytest_collection_finish`, before xdist hands out tests; at its
turn each test only looks up its verdict.

Here stand the hooks alone. Every pytest run where the package is installed imports this module, so each hook looks
whether it is about a claim, and imports what does its work only then. The hooks are not those of modules registered
later: pytest would call these in another order among other plugins' hooks, and not for the event under way.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Generator
from typing import Any

import pytest

from attnres_core.plugin import options
from attnres_core.plugin.reporter import Reporter, watch_workers
from attnres_core.plugin.session import REPORTED, SESSION, TRACED, Session, is_controller, is_worker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the `--attnres-*` options."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Settle pytest's root again where one of our options' values has moved it."""
    if any(word.startswith("--attnres-") and "=" not in word for word in args):
        from attnres_core.plugin.root import settle_root

        settle_root(early_config, args)


def pytest_configure(config: pytest.Config) -> None:
    """Name the run (the controller's name reaches every worker) and listen where reports end up."""
    run = config.workerinput["attnres_run"] if is_worker(config) else uuid.uuid4().hex  # type: ignore[attr-defined]
    config.stash[SESSION] = Session(run)
    if not is_worker(config):
        config.pluginmanager.register(Reporter(config), "attnres-reporter")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker the run's name and device: one process asks a cluster what it has, not each."""
    session = node.config.stash[SESSION]
    node.workerinput.update(attnres_run=session.run, attnres_device=session.device)


def pytest_sessionstart(session: pytest.Session) -> None:
    """On an xdist controller, check what was asked for and watch the workers' progress."""
    if is_controller(session.config) and not session.config.option.collectonly:
        watch_workers(session.config)


def _claims_are_possible() -> bool:
    """Return whether anything has been imported that makes a claim, by `@claim` or by `parametrize`."""
    return "attnres_core.quantities.quantity" in sys.modules


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a `@claim`'s quantities to its parameters."""
    if _claims_are_possible():
        from attnres_core.plugin import collection

        collection.parametrize(metafunc)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test by the quantities among its parameters."""
    if not _claims_are_possible():
        return None
    from attnres_core.plugin import collection

    return collection.case_name(val)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Trace a claim's statements."""
    if _claims_are_possible():
        from attnres_core.plugin import collection

        collection.trace_item(item)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Tell a mistake in a file of claims as one, in a line."""
    report = yield
    if report.failed and not _claims_are_possible():
        collector.config.stash[SESSION].broken = True
    elif report.failed:
        from attnres_core.plugin import collection

        collection.tell_mistake(collector, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what is wrong with claims; measure and judge the others, together with the run's other workers."""
    if not _claims_are_possible():
        return
    from attnres_core.plugin import collection

    mine = session.config.stash[SESSION]
    if mine.mistakes and not mine.broken:  # a mistake in one file keeps no other from being decided
        session.config.option.continue_on_collection_errors = True
    if session.config.option.collectonly:
        collection.tell(session)
    if collection.to_decide(session):
        from attnres_core.plugin import deciding

        deciding.decide(session)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Registering, planning and measuring a part run no test."""
    config = session.config
    stopping = any(options.option(config, name) for name in ("register", "plan", "shard"))
    return True if stopping and not is_worker(config) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A claim that cannot be decided is an error, not a failure."""
    if TRACED in item.stash and not item.config.option.setuponly:  # (nor --setup-plan, which implies it)
        from attnres_core.plugin import verdicts

        verdicts.set_up(item)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a claim's body over its decisions, then give the verdict."""
    if TRACED not in pyfuncitem.stash:
        return None
    from attnres_core.plugin import verdicts

    return verdicts.call(pyfuncitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Compare a verdict with the expected one: a known refutation is expected, any change fails."""
    report = yield
    if TRACED in item.stash:
        from attnres_core.plugin import verdicts

        verdicts.complete(report, item, call)
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Give a claim its own letter and word."""
    if getattr(report, REPORTED, None) is None or getattr(report, "when", None) != "call":
        return None
    from attnres_core.plugin import verdicts

    return verdicts.status(report)
