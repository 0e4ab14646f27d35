"""The telling of a run where reports end up: the controller, or the only process.

Every pytest run has a `Reporter`; what it needs to tell of claims is imported once there are any.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from attnres_core.engine.run_folder import RunFolder
from attnres_core.plugin import options
from attnres_core.plugin.progress import ProgressBar
from attnres_core.plugin.session import REPORTED, SESSION, SKIPPED

if TYPE_CHECKING:
    from attnres_core.records.schema import BegunRecord, ClaimEntry


def watch_workers(config: pytest.Config) -> None:
    """On a controller: check what was asked for, and watch the progress of the workers.

    Raises:
        pytest.UsageError: something it was asked to use cannot be used, or an option needs one process.
    """
    for name in ("write-expected", "register", "plan", "shard"):
        if options.option(config, name):
            raise pytest.UsageError(f"--attnres-{name} needs one process: add -n 0")
    if any(config.getoption(option.ini) is not None or config.getini(option.ini) for option in options.OPTIONS):
        from attnres_core.plugin.deciding import suite_of

        suite = suite_of(config)  # a wrong path is one error here, not one from every worker
        config.stash[SESSION].device = suite.inputs.resources.device_class
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        folder = RunFolder(options.written_path(config, "store"), config.stash[SESSION].run)
        config.stash[SESSION].bar = ProgressBar(folder, reporter)


class Reporter:
    """Collects the claims' entries, then writes the report and sums up."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.started = time.time()
        self.entries: dict[str, ClaimEntry] = {}
        """The claims' entries as they were reported, by node id."""
        self.skipped = 0
        """Claims that a mark took out."""
        self.report: Path | None = None
        self.part = False
        """Whether the run was cut short, or ran again what failed: its report takes no whole run's place."""
        self.unwritten = ""
        """Why there is no report."""
        self.scope: list[str] = []
        """What the verdicts cover, in sentences."""
        self.early = ""
        """What deciding early saved, in words."""
        self.missing = 0
        """Claims that were collected and not reported: the run was cut short."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a claim's entry when it has run (or could not)."""
        entry = getattr(report, REPORTED, None)
        self.skipped += bool(getattr(report, SKIPPED, False))
        if entry is not None and (report.when == "call" or (report.when == "setup" and report.failed)):
            self.entries[report.nodeid] = entry

    def pytest_sessionfinish(self) -> None:
        """Write the report and the JSON record."""
        session = self.config.stash[SESSION]
        if session.bar is not None:
            session.bar.close()
        folder = RunFolder(options.written_path(self.config, "store"), session.run)
        begun = cast("BegunRecord | None", folder.record())
        if begun is not None:
            self._write(begun, folder)
        folder.remove()

    def _write(self, begun: BegunRecord, folder: RunFolder) -> None:
        from attnres_core.files import published_command
        from attnres_core.records.run_record import completed_record
        from attnres_core.report.html import page  # altair is slow to import
        from attnres_core.report.scope import scope

        started = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds")
        announced = folder.announced
        record = completed_record(
            {**begun, "collected": begun["collected"] - self.skipped},
            list(self.entries.values()),
            started=started,
            wall_seconds=time.time() - self.started,
            command=published_command(["pytest", *self.config.invocation_params.args, *options.untyped(self.config)]),
            bundles_measured=folder.measured,
            bundles_reused=announced.reused if announced else 0,
        )
        self.missing = record["collected"] - len(record["claims"])
        self.scope = scope(record)
        self.early = record["run"]["early"]["text"] if record["run"]["early"] else ""
        path = options.report_path(self.config)
        self.part = bool(self.missing or any(self.config.getoption(name, None) for name in ("lf", "stepwise")))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.report = page.write(record, path, part=self.part, columns=folder.columns)
            self._tell_github(self.report.with_suffix(".json"))
        except OSError as error:
            self.unwritten = f"the report could not be written ({error}); give another --attnres-report"

    @staticmethod
    def _tell_github(record: Path) -> None:
        """Add the replication card to the summary of a GitHub job, where one asks for it."""
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            from attnres_core.report.card import write_card

            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(write_card(record) + "\n")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of verdicts, the counts, the report's path."""
        if self.report is None and not self.entries:
            return
        from attnres_core.plugin.terminal import verdict_table

        terminalreporter.section("verdicts")
        entries = sorted(self.entries.values(), key=lambda entry: str(entry["node_id"]))
        width = terminalreporter._tw.fullwidth if terminalreporter.isatty else None
        for line, markup in verdict_table(entries, width, full=terminalreporter.verbosity > 0):
            terminalreporter.write_line(line, **markup)
        for place, text in enumerate(self.scope):
            terminalreporter.write_line(text, bold=not place)
        if self.early:
            terminalreporter.write_line(self.early, bold=True)
        if self.missing:
            decided = len(self.entries)
            text = f"incomplete: {decided} of {decided + self.missing} claims decided; what was measured is kept"
            terminalreporter.write_line(text, bold=True)
        if self.unwritten:
            terminalreporter.write_line(f"attnres: {self.unwritten}", red=True)
        if self.report is not None:
            kept = f" (of a part; {options.report_path(self.config).name} is left as it was)" if self.part else ""
            terminalreporter.write_line(f"report: {self.report}{kept}")
            terminalreporter.write_line(f"record: {self.report.with_suffix('.json')}")
