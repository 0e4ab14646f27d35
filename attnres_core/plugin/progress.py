"""What a run says while it measures: what it works on, and a bar of bundles."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from attnres_core.engine.run_folder import DECIDED, RunFolder


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
        from tqdm import tqdm  # every controller has this thread, and few runs have claims

        with tqdm(total=total, desc="measuring", unit="bundle", leave=False, file=terminal) as bar:
            while not (self._stop.wait(0.2) or self.folder.has_record(DECIDED)):
                bar.n = self.folder.measured
                bar.set_postfix_str(self.folder.workers, refresh=False)
                bar.total = max(total, bar.n)  # families chosen on exploration add bundles
                bar.refresh()


def write_header(reporter: Any, lines: Sequence[str]) -> None:
    """What the run works on, on lines of its own whatever pytest was just writing."""
    if reporter._tw.width_of_current_line:  # "collecting ...", or xdist's count of workers
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)
