"""What an executor is: whatever measures bundles into the store, here or elsewhere.

Beside carrying bundles out it keeps the run's folder: for every bundle `attempt` before measuring, then `finish` or
`fail`. The progress bar, the report's counts and the failures that claims tell come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from attnres_core.engine.resources import Asked, Resources
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

Tell = Callable[[int], object]
"""Hears how many bundles are settled."""


def silent(settled: int) -> None:
    """Tells nobody."""


class Executor(Protocol):
    """Measures bundles into the store; a context manager, which gives back what it holds when it is left."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, *error: object) -> None:
        """Give slots, models and connections back."""

    def carry_out(self, bundles: Sequence[Bundle], tell: Tell = silent) -> dict[Bundle, str]:
        """Return once every bundle is in the store or has failed: the failed ones, with the reason.

        Args:
            bundles: what is to be measured; those that are in the store cost nothing.
            tell: called with how many of the bundles are settled, whenever that may have grown.

        Raises:
            StoreError: the store cannot be read or written.
        """


class MakesExecutor(Protocol):
    """A row of EXECUTORS."""

    def choose(self, asked: Asked) -> Resources:
        """Where and how such an executor computes.

        Raises:
            ValueError: it cannot compute as asked: what was given, what is allowed.
        """

    def __call__(
        self, checkpoints: Mapping[AnyRole, Checkpoint], store: Store, folder: RunFolder, resources: Resources
    ) -> Executor:
        """An executor of one run.

        Args:
            checkpoints: the model in every role.
            store: where units go.
            folder: the run's, which it keeps.
            resources: devices, slots and memory of this machine.
        """
