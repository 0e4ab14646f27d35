"""Who measures, and where.

Input: bundles. Output: stored units, and the bundles that failed with the reason. May import `engine` and what is
below. An executor is a class like `protocol.Executor` in a file of its own, and a row of EXECUTORS, from which
`--attnres-executor` chooses. Prompts that are made up as one goes, which no plan can know, `in_memory` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnres_core.engine.executors.local import LocalExecutor
from attnres_core.engine.executors.protocol import Executor, MakesExecutor
from attnres_core.engine.executors.ray_cluster import RayExecutor
from attnres_core.engine.resources import Asked, Resources
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

__all__ = ["EXECUTORS", "Executor", "announce", "check_executor", "choose", "open_executor"]

EXECUTORS: dict[str, MakesExecutor] = {"local": LocalExecutor, "ray": RayExecutor}
"""By the name that the option takes."""


def check_executor(name: str) -> None:
    """Refuse a name that is no executor's.

    Raises:
        ValueError: the names that are.
    """
    if name not in EXECUTORS:
        raise ValueError(f"there is no executor {name!r}; allowed: {', '.join(EXECUTORS)}")


def choose(name: str, asked: Asked) -> Resources:
    """Where and how the executor of this name computes.

    Raises:
        ValueError: there is none of that name, or it cannot compute as asked.
    """
    check_executor(name)
    return EXECUTORS[name].choose(asked)


def open_executor(
    name: str, checkpoints: Mapping[AnyRole, Checkpoint], store: Store, run: str, resources: Resources
) -> Executor:
    """The executor of one run, with the run's folder made.

    Args:
        name: one of EXECUTORS.
        checkpoints: the model in every role.
        store: where units go.
        run: the run's name, the same in all its processes.
        resources: devices, slots and memory of this machine.

    Raises:
        ValueError: there is none of that name.
    """
    check_executor(name)
    return EXECUTORS[name](checkpoints, store, RunFolder(store.root, run, store.writing).open(), resources)


def announce(bundles: Sequence[Bundle], store: Store, run: str, lines: Sequence[str]) -> int:
    """Say what a run is about to measure, for progress and for the report; returns how many bundles lack units.

    Args:
        bundles: all that is known to be needed.
        store: where units are looked for.
        run: the run's name.
        lines: what heads the run, for a reader.
    """
    missing = [bundle for bundle in bundles if store.missing(bundle)]
    RunFolder(store.root, run, store.writing).open().announce(missing, len(bundles) - len(missing), lines)
    return len(missing)
