"""The state of one pytest process, and the keys under which it stands. Imports nothing that costs time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from attnres_core.claims.claim import Claim
    from attnres_core.claims.statements import ClaimError, Statement
    from attnres_core.judging.decisions import Adjusted
    from attnres_core.judging.outcomes import Outcome
    from attnres_core.plugin.progress import ProgressBar
    from attnres_core.suite.expected_verdicts import Expected
    from attnres_core.suite.suite import Suite

REPORTED = "attnres"
"""The attribute of a test report that carries a claim's entry, as plain data, from worker to controller."""
SKIPPED = "attnres_skipped"
"""The attribute of a test report that says whether a claim was skipped by a mark, so that none is missed."""


class Session:
    """The run, as far as one pytest process knows it."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.suite: Suite | None = None
        self.outcomes: dict[str, Outcome] = {}
        self.adjusted: dict[str, Adjusted] = {}
        """p-values over the registered set, where the whole of it was decided."""
        self.expected: dict[str, Expected] = {}
        self.problem = ""
        """Why no claim of this session can be decided."""
        self.mistakes: list[str] = []
        """Files that could not be imported since the library refused something in them, a line each."""
        self.broken = False
        """Whether another file could not be imported, for a reason that is not ours."""
        self.device: str | None = None
        """The controller's: where its workers compute, once that is known."""
        self.bar: ProgressBar | None = None
        """The controller's, which watches what its workers measure."""


SESSION: pytest.StashKey[Session] = pytest.StashKey()
TRACED: pytest.StashKey[Claim | ClaimError] = pytest.StashKey()
"""A test that is a claim, or why its claim cannot be decided; other tests have none."""
BODY: pytest.StashKey[Sequence[Statement]] = pytest.StashKey()
"""The statements of a claim's body, as it is written."""


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Return whether this process hands out tests to workers of pytest-xdist; it collects none itself."""
    return bool(config.getoption("numprocesses", None)) and not is_worker(config)
