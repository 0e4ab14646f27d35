"""Messages between the processes of one run, in a folder of the store. Nobody else knows its layout.

    plan.json            what is to be measured, and the lines that head the run
    attempts/<bundle>    how often measuring a bundle was begun
    failed/<bundle>      why a bundle has no result in this run
    deadly/<model>-<bundle>
                         bundles that killed the processes that measured them
    done/<bundle>        the cost of a bundle that this run measured
    workers.txt          who measures, in a few words
    fit.txt              which constants are being fitted
    begun.json, decided.json
                         the run's record, but for its claims, before and after they were decided
    columns.safetensors  the columns that it was decided on, one number a document

The barrier is "every bundle has a result or a failure of this run", never "every worker arrived".
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnres_core.files import atomic

if TYPE_CHECKING:
    from attnres_core.planning.bundles import Bundle
    from attnres_core.shapes import Column

DEADLY = 2
"""Once so many bundles of a run are deadly, the models of such bundles are left alone: xdist replaces only so many
workers, and other claims need them."""
BEGUN, DECIDED = "begun", "decided"
"""What a run's record is called before and after its claims are decided."""
_COLUMNS = "columns.safetensors"
_RECORDS = {DECIDED: "decided.json", BEGUN: "begun.json"}


@dataclass(frozen=True, slots=True)
class Announcement:
    """The work that a run is about to measure."""

    bundles: int
    """Bundles to measure, as far as they are known at the start."""
    cost: int
    """How long they take together, in the unit of a bundle's cost."""
    reused: int
    """Bundles whose units are all in the store."""
    lines: tuple[str, ...]
    """What heads the run, for a reader."""


class RunFolder:
    """One run's folder in a store; `writing` turns what fails into the store's own error."""

    def __init__(
        self, store: Path, run: str, writing: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.path = store / "runs" / run
        self._writing = writing
        self._costs: dict[str, int] = {}

    def open(self) -> RunFolder:
        """The same, made on disk."""
        with self._writing():
            for name in ("failed", "attempts", "done", "deadly"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        return self

    def announce(self, missing: Sequence[Bundle], reused: int, lines: Sequence[str]) -> None:
        """Say which bundles this run measures and how many it finds; the first process's word stands."""
        if not (self.path / "plan.json").exists():
            cost = sum(bundle.cost for bundle in missing)
            told = {"bundles": len(missing), "cost": cost, "reused": reused, "lines": list(lines)}
            self._write(self.path / "plan.json", json.dumps(told))

    @property
    def announced(self) -> Announcement | None:
        """Return what was announced; None: nothing yet."""
        try:
            told = json.loads((self.path / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Announcement(told["bundles"], told["cost"], told["reused"], tuple(told["lines"]))

    def failure(self, bundle: Bundle) -> str | None:
        """Return why this bundle failed in this run."""
        try:
            return (self.path / "failed" / bundle.id).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def fail(self, bundle: Bundle, why: str) -> None:
        """Record that a bundle failed."""
        self._write(self.path / "failed" / bundle.id, why)

    def deadly(self, bundle: Bundle) -> bool:
        """Return whether this bundle's model is to be left alone: see DEADLY."""
        names = [file.name for file in (self.path / "deadly").iterdir()]
        return len(names) >= DEADLY and any(name.startswith(bundle.model) for name in names)

    def beware(self, bundle: Bundle) -> None:
        """Remember that a bundle is deadly."""
        with self._writing():
            (self.path / "deadly" / f"{bundle.model}-{bundle.id}").touch()

    def attempt(self, bundle: Bundle) -> int:
        """Count an attempt; returns how many there were before."""
        file = self.path / "attempts" / bundle.id
        before = int(file.read_text(encoding="utf-8")) if file.exists() else 0
        self._write(file, str(before + 1))
        return before

    def finish(self, bundle: Bundle) -> None:
        """Count a bundle that this run measured; what it is asked for later is begun anew."""
        self._write(self.path / "done" / bundle.id, str(bundle.cost))
        with self._writing():
            (self.path / "attempts" / bundle.id).unlink(missing_ok=True)

    @property
    def workers(self) -> str:
        """Return who measures, in a few words; empty: this machine."""
        file = self.path / "workers.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def tell_workers(self, words: str) -> None:
        """Say who measures, for the progress bar."""
        self._write(self.path / "workers.txt", words)

    @property
    def fit(self) -> str:
        """Which constants are being fitted, and how far that is; empty: none."""
        file = self.path / "fit.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def tell_fit(self, words: str) -> None:
        """Say how far a fit is, for the progress bar."""
        self._write(self.path / "fit.txt", words)

    @property
    def measured(self) -> int:
        """Return how many bundles this run has measured."""
        return len(self._done)

    @property
    def cost(self) -> int:
        """Return what these cost."""
        for file in self._done:
            if file.name not in self._costs:
                self._costs[file.name] = int(file.read_text(encoding="utf-8"))
        return sum(self._costs.values())

    @property
    def _done(self) -> list[Path]:
        done = self.path / "done"
        return [file for file in done.iterdir() if not file.name.startswith(".")] if done.is_dir() else []

    def has_record(self, name: str) -> bool:
        """Return whether the record BEGUN or DECIDED was left."""
        return (self.path / _RECORDS[name]).exists()

    def leave_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Leave what is known of the run at BEGUN or DECIDED, for the process that reports."""
        self._write(self.path / _RECORDS[name], json.dumps(record))

    def record(self) -> dict[str, Any] | None:
        """The latest record that was left; None: the run never began."""
        for name in _RECORDS.values():
            if (file := self.path / name).is_file():
                found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                return found
        return None

    def leave_columns(self, columns: Mapping[str, Column]) -> None:
        """Leave the columns that the run was decided on, for the process that reports."""
        from safetensors.numpy import save

        with self._writing(), atomic(self.path / _COLUMNS) as temporary:
            temporary.write_bytes(save(dict(columns)))

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that were left; none: the run was decided on none, or not at all."""
        file = self.path / _COLUMNS
        if not file.is_file():
            return {}
        from safetensors.numpy import load

        return dict(load(file.read_bytes()))

    def remove(self) -> None:
        """Forget the run; what it measured stays in the store."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self, file: Path, text: str) -> None:
        with self._writing(), atomic(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
