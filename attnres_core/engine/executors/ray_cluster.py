"""A Ray cluster: every process of it holds one loaded model, and units come back to the driver, which stores them.

One process of a run drives (a file lock); the others wait until every bundle has a result or a failure. Nodes need the
package in the same versions, and no disk in common: a checkpoint that a node lacks is sent to it once. Security is the
cluster's: whoever reaches its ports can run code on it.

Imports ray, and connects, when something must be measured. See docs/clusters.md, and Ray's own documentation of actors
and of scheduling strategies (docs.ray.io).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from attnres_core.engine.executors.local import POLL_SECONDS
from attnres_core.engine.executors.protocol import Tell, silent
from attnres_core.engine.executors.ray_driver import Driver
from attnres_core.engine.resources import (
    BATCH_TOKENS,
    NARROW,
    Asked,
    Resources,
    check_fit,
    cores,
    cuda_devices,
    largest_need,
)
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import Checkpoint, RetrofittedCheckpoint
from attnres_core.models.checkpoints.placement import BALANCED
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

LOCAL = "local"
"""The address of a cluster that is started on this machine for the run."""
AUTO = "auto"
"""The address of the cluster that this machine is a node of."""
ANSWER_SECONDS = 10.0
"""A head that does not answer for so long is not there; ray itself asks for minutes."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The ray module, connected to the cluster at an address; `local` starts one on this machine.

    Raises:
        ValueError: ray is not installed, or no cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # (measuring is what a run is for)
    try:
        import ray
    except ImportError:
        raise ValueError(
            "--attnres-executor ray needs the package ray: pip install ray, here and on every node"
        ) from None
    if ray.is_initialized():  # the caller's own
        yield ray
        return
    own: dict[str, Any] = {}
    if address not in (LOCAL, AUTO):
        check_answers(address)
    if address == LOCAL:
        own = {"num_cpus": cores(), "num_gpus": cuda_devices(), "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ValueError(f"--attnres-ray-address: no Ray cluster answers at {address} ({error})") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Refuse an address at which nothing listens.

    Raises:
        ValueError: it is not HOST:PORT, or nothing answers there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"--attnres-ray-address: no Ray cluster answers at {address} ({error}); give the HOST:PORT that `ray start "
            "--head` printed, or auto on a node of the cluster"
        ) from None


class RayExecutor:
    """A run's measuring on a Ray cluster; whoever gets the run's lock drives until the executor is closed.

    Args:
        checkpoints: the model in every role.
        store: where units go.
        folder: the run's.
        resources: what a process computes in, and the cluster's address.
    """

    def __init__(
        self, checkpoints: Mapping[AnyRole, Checkpoint], store: Store, folder: RunFolder, resources: Resources
    ) -> None:
        self.checkpoints, self.store, self.folder, self.resources = checkpoints, store, folder, resources
        self._stack = ExitStack()
        self._driver: Driver | None = None

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @staticmethod
    def choose(asked: Asked) -> Resources:
        """What every process of the cluster computes in.

        Raises:
            ValueError: the device is neither auto, cpu nor cuda; the device map is another; the budget is too small;
                the address is not for programs of the cluster; no cluster answers.
        """
        if asked.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--attnres-device is {asked.device!r}; allowed: auto, cpu, cuda")
        if retrofits := [each.name for each in asked.checkpoints if isinstance(each, RetrofittedCheckpoint)]:
            told = f"{retrofits[0]} is a retrofit, whose base would not be sent along"
            raise ValueError(f"--attnres-executor ray: {told}; leave it out")
        if asked.device_map not in (None, BALANCED):
            raise ValueError(f"--attnres-device-map is {asked.device_map!r}; allowed: {BALANCED}")
        address, device = asked.address or os.environ.get("RAY_ADDRESS") or LOCAL, asked.device
        if address.startswith("ray://"):
            raise ValueError(
                f"--attnres-ray-address is {address!r}, for programs outside of the cluster; run this on a node of it, "
                "such as the head, and give HOST:6379 or auto"
            )
        if device == "auto":
            device = "cuda" if _has_gpus(address) else "cpu"
        if asked.device_map and device == "cpu":
            raise ValueError(f"--attnres-device-map {BALANCED} is for CUDA devices, and the device is cpu")
        need = largest_need(asked.checkpoints, asked.dtype, BATCH_TOKENS)
        if asked.budget is not None:
            check_fit(need, asked.budget, asked.dtype, "--attnres-memory")
        width = max((c.size("hidden_size") for c in asked.checkpoints), default=NARROW)
        spread = (BALANCED,) if asked.device_map else ()
        return Resources(device, asked.dtype, (), need, spread=spread, width=width, address=address)

    def carry_out(self, bundles: Sequence[Bundle], tell: Tell = silent) -> dict[Bundle, str]:
        """See `Executor`."""
        while waiting := [b for b in bundles if self.store.missing(b) and self.folder.failure(b) is None]:
            before = len(bundles) - len(waiting)
            tell(before)
            try:
                driver = self._drive()
                if driver is None or not driver.carry_out(waiting, tell, before):
                    time.sleep(POLL_SECONDS)  # others are at it
            except Exception as error:
                if type(error).__module__.startswith("ray."):
                    raise ValueError(f"the Ray cluster at {self.resources.address} fails ({error})") from None
                raise
        tell(len(bundles))
        failures = {bundle: self.folder.failure(bundle) for bundle in bundles}
        return {bundle: why for bundle, why in failures.items() if why is not None}

    def _drive(self) -> Driver | None:
        """This process's driver, unless another process of the run drives."""
        if self._driver is None:
            with ExitStack() as asked:
                if asked.enter_context(self.store.held(f"{self.folder.path.name}-driver")):
                    address = self.resources.address
                    self.folder.tell_workers("Ray starts" if address == LOCAL else f"connecting to Ray at {address}")
                    ray = asked.enter_context(connected(address))
                    self._driver = asked.enter_context(
                        Driver(ray, self.checkpoints, self.store, self.folder, self.resources)
                    )
                    self._stack.push(asked.pop_all())
        return self._driver


def _has_gpus(address: str) -> bool:
    if address == LOCAL:
        return cuda_devices() > 0
    with connected(address) as ray:
        return any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
