"""One claim of a file, by its name in pytest: collected and traced as in a run, in a process of its own.

So conftest.py, settings, imports beside the file and the names of cases are pytest's own, and what the file does
when it is imported it does to nobody else.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pytest

from attnres_core.claims.statements import ClaimError, Statement
from attnres_core.plugin.session import BODY, TRACED
from attnres_core.records.reading import one_line

Stated = tuple[Statement, ...] | str
"""What a claim's body states, or why it is no claim."""


@dataclass(slots=True)
class Collector:
    """Listens to pytest while it collects."""

    items: list[pytest.Item] = field(default_factory=list)
    problem: str = ""
    """Why pytest collected no more."""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Keep a test, which will have been traced in the end."""
        self.items.append(item)

    def pytest_exception_interact(self, call: pytest.CallInfo[object]) -> None:
        """Keep what was raised; pytest's own error holds a traceback, so that which it comes from."""
        assert call.excinfo is not None
        error = call.excinfo.value
        if isinstance(error, pytest.Collector.CollectError) and error.__cause__ is not None:
            error = error.__cause__
        self.problem = one_line(f"{type(error).__name__}: {error}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a file skips itself."""
        if report.skipped:
            self.problem = one_line(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)


def read_claim(where: str) -> tuple[Statement, ...]:
    """Return what the claim `FILE.py::test_name`, or a case `FILE.py::test_name[case]`, states, as its body is written.

    Raises:
        ValueError: there is none, with what the file holds; or pytest cannot collect the file.
        ClaimError: the body is no claim's.
    """
    file, _, name = where.partition("::")
    if not Path(file).is_file():
        problem = "a folder" if Path(file).is_dir() else "there is no such file"
        raise ValueError(f"{file}: {problem}; give a claim as FILE.py::test_name")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            claims, problem = pool.submit(_collected, file).result()
        except BrokenProcessPool:
            claims, problem = {}, "it ends the process that imports it"
    if name in claims:
        stated = claims[name]
        if isinstance(stated, str):
            raise ClaimError(stated)
        return stated
    if problem:
        remedy = f"mend that; `pytest --collect-only {shlex.quote(file)}` says more"
        raise ValueError(f"{file}: pytest cannot collect it ({problem}); {remedy}")
    test = name.partition("[")[0]
    if cases := [each for each in claims if each.startswith(f"{test}[")]:
        raise ValueError(f"{where}: the test has cases; give FILE.py:: and one of {', '.join(cases)}")
    known = ", ".join(dict.fromkeys(each.partition("[")[0] for each in claims)) or "no test made by @claim"
    raise ValueError(f"{where}: the file holds {known}; give FILE.py::test_name")


def _collected(file: str) -> tuple[Mapping[str, Stated], str]:
    """Return what every claim of a file states, by its name, and why there may be more."""
    collector, said = Collector(), io.StringIO()
    # Nothing is asserted, and what is imported here already could not be rewritten: pytest would warn of that.
    given = ["--collect-only", "--assert=plain", "-p", "attnres_core.plugin", str(Path(file).absolute())]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = pytest.main(given, plugins=[collector])
    problem = collector.problem
    if not problem and status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        lines = [line.removeprefix("E ") for line in said.getvalue().splitlines() if line.strip() and line[0] != " "]
        problem = one_line(" ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))) or f"exit status {status}"
    found: dict[str, Stated] = {}
    for item in collector.items:
        if TRACED in item.stash:
            traced, body = item.stash[TRACED], item.stash.get(BODY, ())
            found[item.nodeid.partition("::")[2]] = str(traced) if isinstance(traced, ClaimError) else tuple(body)
    return found, problem
