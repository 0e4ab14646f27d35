"""This machine's processes: each takes a measuring slot, and works through the bundles that nobody else holds.

Every process of a run plans the same bundles. One that gets a slot (a file lock) measures; the others wait until every
bundle has a result or a failure. A killed process's locks are freed by the system, and another goes on. Only a slot's
holder imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from attnres_core.engine.executors.attempts import ATTEMPTS, barred, killed, waits, went_wrong
from attnres_core.engine.executors.protocol import Tell, silent
from attnres_core.engine.resources import Asked, Resources, choose_resources
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store, StoreError
from attnres_core.engine.worker import Worker
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

POLL_SECONDS = 0.1


class LocalExecutor:
    """This process's part in a run's measuring; a slot, once it has one, is kept until the executor is closed.

    Args:
        checkpoints: the model in every role.
        store: where units go.
        folder: the run's.
        resources: devices, slots and memory of this machine.
        worker: one that holds its model already, outside of all slots.
    """

    def __init__(
        self,
        checkpoints: Mapping[AnyRole, Checkpoint],
        store: Store,
        folder: RunFolder,
        resources: Resources,
        worker: Worker | None = None,
    ) -> None:
        self.checkpoints, self.store, self.folder, self.resources = checkpoints, store, folder, resources
        self._stack = ExitStack()
        self._worker = worker

    @staticmethod
    def choose(asked: Asked) -> Resources:
        """See `choose_resources`."""
        if asked.address:
            raise ValueError("--attnres-ray-address is for --attnres-executor ray; add it, or leave the address out")
        return choose_resources(
            asked.device, asked.dtype, asked.workers, asked.checkpoints, asked.budget, asked.device_map
        )

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def carry_out(self, bundles: Sequence[Bundle], tell: Tell = silent) -> dict[Bundle, str]:
        """See `Executor`."""
        while waiting := [b for b in bundles if self.store.missing(b) and self.folder.failure(b) is None]:
            settled = before = len(bundles) - len(waiting)
            tell(settled)
            if (worker := self._slot()) is not None:
                for bundle in waiting:
                    settled += self._measure_if_free(bundle, worker)
                    tell(settled)
            if settled == before:
                time.sleep(POLL_SECONDS)  # others are at it
        tell(len(bundles))
        failures = {bundle: self.folder.failure(bundle) for bundle in bundles}
        return {bundle: why for bundle, why in failures.items() if why is not None}

    def _slot(self) -> Worker | None:
        """This process's worker, once a slot is free for it.

        Raises:
            ValueError: no device of this machine can be one.
        """
        if self._worker is None and not self.resources.slots:
            raise ValueError(
                "--attnres-device is 'cuda', the store lacks units, and no CUDA device with a CUDA build of torch is "
                "here to measure them; run this where there is one, or on the CPU: --attnres-device cpu"
            )
        if self._worker is None:
            for index, device in enumerate(self.resources.slots):
                with ExitStack() as asked:
                    if asked.enter_context(self.store.held(f"slot-{self.resources.device_class}-{index}")):
                        self._stack.push(asked.pop_all())
                        self._worker = Worker(self.checkpoints, self.resources, device)
                        break
        return self._worker

    def _measure_if_free(self, bundle: Bundle, worker: Worker) -> bool:
        """Measure what is missing of a bundle unless another process is at its chunk; returns whether that changed it.

        The lock is the chunk's: bundles of other runs overlap with this one, each with ablations of its own.
        """
        if waits(self.store, self.folder, bundle):
            return False
        with self.store.held(f"chunk-{bundle.model[:32]}-{bundle.chunk[:32]}") as mine:
            missing = self.store.missing(bundle)
            if not mine or not missing or self.folder.failure(bundle) is not None:
                return False
            if barred(self.folder, bundle):
                return True
            attempts = self.folder.attempt(bundle)
            if attempts >= ATTEMPTS:
                killed(self.folder, bundle, attempts)
                return True
            try:
                units = worker.measure(bundle, missing, **self._beside(bundle))
                self.store.add_units(bundle.model, bundle.chunk, units, bundle.about)
            except StoreError:  # no bundle's fault: the run ends with it
                raise
            except Exception as error:  # whatever it is, it is this bundle's failure and not the run's
                went_wrong(self.folder, bundle, error, attempts)
            else:
                self.folder.finish(bundle)
            return True

    def _beside(self, bundle: Bundle) -> dict[str, Any]:
        """What measuring takes beside a bundle: the constants that were fitted for it, or whom a fit tells."""
        if bundle.start:
            return {"tell": self.folder.tell_fit}
        return {"constants": self.store.constants(bundle)} if bundle.fits else {}
