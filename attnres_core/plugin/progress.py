"""The words of a run while it measures: its work, and how far it is, as a bar or where there is none as lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from attnres_core.engine.run_folder import DECIDED, Announcement, RunFolder

STEPS = 10
"""Lines at most that tell of progress where there is no terminal."""
APART = 5.0
"""Seconds between two of them at least."""
FIRST = 10.0
"""Seconds until the first line, once a hundredth is done: the pace while models load says little."""
PATIENCE = 60.0
"""Seconds until the first line, however little is done by then: a long run tells soon how long."""
FIT_APART = 30.0
"""Seconds between two lines while constants are being fitted: a fit is one bundle, and takes long."""

BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
"""How far a run is by cost: a fit takes as long as many other bundles."""


class ProgressBar:
    """Watches a run's folder from a thread, since pytest's own loop blocks: header once, then bundles done.

    It ends once the claims are decided: what is printed from then on are the tests.
    """

    def __init__(self, folder: RunFolder, reporter: Any, *, header: bool = True, apart: float = APART) -> None:
        self.folder, self.reporter, self.header, self.apart = folder, reporter, header, apart
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
        if not announced.bundles:
            return
        if terminal.isatty():
            self._draw(announced, terminal)
        else:
            self._tell(announced)

    def _draw(self, announced: Announcement, terminal: Any) -> None:
        """A bar, where there is a terminal."""
        from tqdm import tqdm  # every controller has this thread, and few runs have claims

        with tqdm(total=announced.cost, desc="measuring", leave=False, file=terminal, bar_format=BAR) as bar:
            while self._measuring():
                measured = self.folder.measured
                bar.n = self.folder.cost
                bar.total = max(announced.cost, bar.n)  # families chosen on exploration add bundles
                counts = counted(measured, announced.bundles)
                about = self.folder.fit or self.folder.workers
                bar.set_postfix_str(f"{counts}; {about}" if about else counts, refresh=False)
                bar.refresh()

    def _tell(self, announced: Announcement) -> None:
        """A first line, then one every 10 %, where there is none; a run that takes a few seconds says nothing."""
        started = told_at = time.monotonic()
        steps, first = 0, True
        while self._measuring():
            done, total, now = self.folder.cost, announced.cost, time.monotonic()
            if (fit := self.folder.fit) and now - told_at >= FIT_APART:
                told_at = now
                write_header(self.reporter, [f"attnres: {fit}"])
            due = FIRST if 100 * done >= total else PATIENCE
            late = first and done and now - started >= max(due, self.apart)
            if done < total and (late or (STEPS * done // total > steps and now - told_at >= self.apart)):
                steps, told_at, first = STEPS * done // total, now, False
                by = f"; {self.folder.workers}" if self.folder.workers else ""
                counts = counted(self.folder.measured, announced.bundles)
                write_header(self.reporter, [progress_line(done, total, now - started, counts) + by])

    def _measuring(self) -> bool:
        return not (self._stop.wait(0.2) or self.folder.has_record(DECIDED))


def counted(measured: int, announced: int) -> str:
    """`12 of 40 bundles`; families chosen on exploration add some to what was announced."""
    return f"{measured} of {max(announced, measured)} bundles"


def progress_line(done: int, total: int, seconds: float, counts: str) -> str:
    """`measuring: 30 % (12 of 40 bundles), about 2 min 20 s left`, at the pace of the `seconds` so far."""
    from attnres_core.report.numbers import duration

    left = duration(round(seconds * (total - done) / done))
    return f"attnres: measuring: {100 * done // total} % ({counts}), about {left} left"


def write_header(reporter: Any, lines: Sequence[str]) -> None:
    """Write what the run works on, on lines of its own whatever pytest was just writing."""
    if reporter._tw.width_of_current_line:  # "collecting ...", or xdist's count of workers
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)
