"""What one process knows of a run, and the telling of it where reports end up: the controller, or the only process."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from attnres_core.engine.run_folder import RunFolder
from attnres_core.files import published_command
from attnres_core.judging.decisions import Adjusted
from attnres_core.judging.outcomes import Outcome
from attnres_core.plugin import options
from attnres_core.plugin.terminal import ProgressBar, verdict_table
from attnres_core.records.run_record import completed_record
from attnres_core.records.schema import BegunRecord, ClaimEntry
from attnres_core.suite.expected_verdicts import Expected
from attnres_core.suite.suite import Suite

REPORTED = "attnres"
"""The attribute of a test report that carries a claim's entry, as plain data, from worker to controller."""
SKIPPED = "attnres_skipped"
"""The attribute of a test report that says whether a claim was skipped by a mark, so that none is missed."""

SESSION: pytest.StashKey[Session] = pytest.StashKey()


class Session:
    """What one pytest process knows of the run."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.started = time.time()
        self.suite: Suite | None = None
        self.outcomes: dict[str, Outcome] = {}
        self.adjusted: dict[str, Adjusted] = {}
        """p-values over the registered set, where the whole of it was decided."""
        self.expected: dict[str, Expected] = {}
        self.problem = ""
        """Why no claim of this session can be decided."""
        self.entries: dict[str, ClaimEntry] = {}
        """The claims' entries as they were reported, by node id."""
        self.report: Path | None = None
        self.unwritten = ""
        """Why there is no report."""
        self.skipped = 0
        """Claims that a mark took out."""
        self.early = ""
        """What deciding early saved, in words."""
        self.missing = 0
        """Claims that were collected and not reported: the run was cut short."""
        self.bar: ProgressBar | None = None


class Teller:
    """Collects entries where reports end up: the controller, or the only process."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a claim's entry when it has run (or could not)."""
        entry = getattr(report, REPORTED, None)
        self.config.stash[SESSION].skipped += bool(getattr(report, SKIPPED, False))
        if entry is not None and (report.when == "call" or (report.when == "setup" and report.failed)):
            self.config.stash[SESSION].entries[report.nodeid] = entry

    def pytest_sessionfinish(self) -> None:
        """Write the report and the JSON record."""
        mine = self.config.stash[SESSION]
        if mine.bar is not None:
            mine.bar.close()
        folder = RunFolder(options.written_path(self.config, "store"), mine.run)
        begun = cast(BegunRecord | None, folder.record())
        if begun is not None:
            started = datetime.fromtimestamp(mine.started, UTC).isoformat(timespec="seconds")
            announced = folder.announced
            record = completed_record(
                {**begun, "collected": begun["collected"] - mine.skipped},
                list(mine.entries.values()),
                started=started,
                wall_seconds=time.time() - mine.started,
                command=published_command(["pytest", *self.config.invocation_params.args]),
                bundles_measured=folder.measured,
                bundles_reused=announced.reused if announced else 0,
            )
            from attnres_core.report.html import page as report  # altair is slow to import

            mine.missing = record["collected"] - len(record["claims"])
            mine.early = record["run"]["early"]["text"] if record["run"]["early"] else ""
            path = options.report_path(self.config)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                report.write(record, path, path.with_suffix(".json"))
                mine.report = path
            except OSError as error:
                mine.unwritten = f"the report could not be written ({error}); give another --attnres-report"
        folder.remove()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of verdicts, the counts, the report's path."""
        mine = self.config.stash[SESSION]
        if mine.report is None and not mine.entries:
            return
        terminalreporter.section("verdicts")
        entries = sorted(mine.entries.values(), key=lambda entry: entry["node_id"])
        for line, markup in verdict_table(entries, terminalreporter._tw.fullwidth):
            terminalreporter.write_line(line, **markup)
        if mine.early:
            terminalreporter.write_line(mine.early, bold=True)
        if mine.missing:
            decided = len(mine.entries)
            text = f"incomplete: {decided} of {decided + mine.missing} claims decided; what was measured is kept"
            terminalreporter.write_line(text, bold=True)
        if mine.unwritten:
            terminalreporter.write_line(f"attnres: {mine.unwritten}", red=True)
        if mine.report is not None:
            terminalreporter.write_line(f"report: {mine.report}")
            terminalreporter.write_line(f"record: {mine.report.with_suffix('.json')}")
