"""Who measures the bundles of a run, and where.

Comes in: bundles. Goes out: stored units, and the bundles that failed with the reason. Imports `engine` and `planning`.
An executor is a class like `protocol.Executor` in a file of its own, and a row of `EXECUTORS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from attnres_core.engine.executors.local import LocalExecutor
from attnres_core.engine.executors.protocol import Executor, MakesExecutor
from attnres_core.engine.resources import Resources
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.quantities.vocabulary import AnyRole

__all__ = ["DEFAULT", "EXECUTORS", "Executor", "open_executor"]

DEFAULT = "local"
"""The executor of a run that names none."""
EXECUTORS: dict[str, MakesExecutor] = {DEFAULT: LocalExecutor}
"""By name: what `open_executor` knows."""


def open_executor(
    checkpoints: Mapping[AnyRole, Checkpoint], store: Store, run: str, resources: Resources, name: str = DEFAULT
) -> Executor:
    """An executor of one run; arguments as for `MakesExecutor`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in EXECUTORS:
        raise ValueError(f"there is no executor {name!r}; there are: {', '.join(EXECUTORS)}")
    return EXECUTORS[name](checkpoints, store, run, resources)
