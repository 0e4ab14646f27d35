"""The folder where the processes of one run meet, as the process that reports reads it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnres_core.plugin import options
from attnres_core.plugin.session import SESSION

BEGUN, DECIDED = "begun.json", "decided.json"
"""What is known of a run before and after its claims are decided, for the report: files of its folder."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; the plug-in looks into it nowhere else."""

    path: Path

    @classmethod
    def of(cls, config: pytest.Config) -> RunFolder:
        """The folder of this session's run, which only a run that measures makes.

        Raises:
            pytest.UsageError: `--attnres-store` is empty.
        """
        return cls(options.written_path(config, "store") / "runs" / config.stash[SESSION].run)

    @property
    def plan(self) -> dict[str, Any] | None:
        """What the first worker announced: `bundles` to measure, `reused` ones, the header's `lines`; None: nothing."""
        file = self.path / "plan.json"
        return dict(json.loads(file.read_text())) if file.exists() else None

    @property
    def measured(self) -> int:
        """Bundles that this run has measured."""
        done = self.path / "done"
        return len(list(done.iterdir())) if done.is_dir() else 0

    @property
    def decided(self) -> bool:
        """Whether the claims are decided: from then on tests run."""
        return (self.path / DECIDED).exists()

    @property
    def base_record(self) -> dict[str, Any] | None:
        """What the workers left for the report beside the claims' entries; None: no claim was to be decided."""
        file = next((file for name in (DECIDED, BEGUN) if (file := self.path / name).is_file()), None)
        return None if file is None else dict(json.loads(file.read_text()))

    def remove(self) -> None:
        """Forget the run; its measurements are in the store."""
        shutil.rmtree(self.path, ignore_errors=True)
