"""A Ray cluster: every process of it holds one loaded model, and units come back to the driver, which stores them.

One process of a run drives (a file lock); the others wait until every bundle has a result or a failure. Nodes need the
package in the same versions, and no disk in common: a checkpoint that a node lacks is sent to it once. Security is the
cluster's: whoever reaches its ports can run code on it.

Imports ray, and connects, when something must be measured. See docs/clusters.md, and Ray's own documentation of actors
and of scheduling strategies (docs.ray.io).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from attnres_core.amounts import size
from attnres_core.engine.executors import ray_actor
from attnres_core.engine.executors.attempts import ATTEMPTS, barred, killed, waits, went_wrong
from attnres_core.engine.executors.local import POLL_SECONDS
from attnres_core.engine.executors.protocol import Tell, silent
from attnres_core.engine.resources import (
    BATCH_TOKENS,
    LIBRARIES,
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
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.models.checkpoints.placement import BALANCED
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

STAFF_SECONDS = 5.0
"""How often to look for nodes that came or went."""
CLOSE_SECONDS = 5.0
"""How long to wait for processes that tidy up at the end."""
LOCAL = "local"
"""The address of a cluster that is started on this machine for the run."""
WAITING_SECONDS = 60.0
"""After so long without a process the run says that it waits."""
PROBE_SECONDS = 15.0
"""A node that does not answer for so long is lost."""
_Loading = tuple[str, str]
"""What a process must load for a bundle: role and dtype."""


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


@dataclass(frozen=True, slots=True)
class Demand:
    """What one measuring process takes of its node."""

    cpus: int
    gpus: int
    memory: int
    """Bytes of host memory."""

    def fitting(self, node: Mapping[str, float]) -> int:
        """How many such processes a node with these resources holds."""
        rooms = [node.get("CPU", 0) // self.cpus, node.get("memory", 0) // self.memory]
        return int(min([*rooms, node.get("GPU", 0) // self.gpus] if self.gpus else rooms))


def demand_of(resources: Resources, node: Mapping[str, float]) -> Demand:
    """What a process takes of a node: a GPU, or all of them where models are spread; cores, one for narrow models.

    Args:
        resources: what the run needs.
        node: the node's resources.
    """
    if resources.device_class == "cuda":
        gpus = int(node.get("GPU", 0)) if resources.spread else 1
        return Demand(1, max(gpus, 1), LIBRARIES + resources.need.weights)
    cpus = max(int(node.get("CPU", 0)), 1) if resources.width >= NARROW else 1
    return Demand(cpus, 0, LIBRARIES + resources.need.total)


@dataclass(eq=False)
class Hand:
    """A process of the cluster, as the driver knows it."""

    actor: Any
    node: str
    station: ray_actor.Station | None = None
    """Where it is, once it is up."""
    loading: _Loading | None = None
    """What it holds."""
    busy: bool = True


@dataclass(eq=False)
class Flight:
    """What a hand is doing."""

    hand: Hand
    bundle: Bundle | None = None
    """None: it starts."""
    missing: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """What the store lacks of the bundle."""
    locks: ExitStack = dataclasses.field(default_factory=ExitStack)


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
                no cluster answers.
        """
        if asked.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--attnres-device is {asked.device!r}; allowed: auto, cpu, cuda")
        if asked.device_map not in (None, BALANCED):
            raise ValueError(f"--attnres-device-map is {asked.device_map!r}; allowed: {BALANCED}")
        address, device = asked.address or os.environ.get("RAY_ADDRESS") or LOCAL, asked.device
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
                    ray = asked.enter_context(connected(self.resources.address))
                    self._driver = asked.enter_context(
                        Driver(ray, self.checkpoints, self.store, self.folder, self.resources)
                    )
                    self._stack.push(asked.pop_all())
        return self._driver


class Driver:
    """Hands bundles to the processes of a cluster that it is connected to, and stores what comes back."""

    def __init__(
        self,
        ray: Any,
        checkpoints: Mapping[AnyRole, Checkpoint],
        store: Store,
        folder: RunFolder,
        resources: Resources,
    ) -> None:
        self.ray, self.checkpoints, self.store, self.folder, self.resources = ray, checkpoints, store, folder, resources
        self.hands: list[Hand] = []
        self.flights: dict[Any, Flight] = {}
        identity = cache(ray_actor.identity)  # (roles share folders)
        self._identities = {role: identity(c.folder, c.tokenizer_file) for role, c in checkpoints.items()}
        self._sent: dict[str, dict[str, list[Any]]] = {}
        self._left_alone = dict[str, str]()
        """Nodes that take no part any more, with the reason."""
        self._staffed = -STAFF_SECONDS
        self._idle_since: float | None = time.monotonic()
        """Since when no process has started; None: that was told."""
        self._attempts = Counter[str]()
        """How often a process died at a bundle, or an attempt at it raised an error, by the bundle's id."""

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        for flight in self.flights.values():
            flight.locks.close()
        with contextlib.suppress(Exception):  # (a cluster that is gone is no reason to fail at the end)
            idle = [hand.actor.close.remote() for hand in self.hands if not hand.busy]
            self.ray.wait(idle, num_returns=len(idle), timeout=CLOSE_SECONDS)
            for hand in self.hands:
                self.ray.kill(hand.actor)

    def carry_out(self, bundles: Sequence[Bundle], tell: Tell, before: int) -> bool:
        """Measure what no other run is measuring; returns whether anything was settled.

        Args:
            bundles: what is to be measured.
            tell: called with how many bundles are settled.
            before: how many were settled already.

        Raises:
            StoreError: the store cannot be read or written.
            ValueError: no node of the cluster can measure: why.
        """
        queue, settled = list(bundles), 0
        while queue or self._measuring:
            self._staff(len(queue))
            self._assign(queue)
            if not self.flights:
                break  # what is left other runs hold
            done, _ = self.ray.wait(list(self.flights), num_returns=1, timeout=STAFF_SECONDS)
            for reference in done:
                flight, outcome = self.flights.pop(reference), self._outcome(reference)
                flight.hand.busy = False
                with flight.locks:
                    if isinstance(outcome, ray_actor.Measured):
                        self._assign(queue)  # the cluster works on while this process writes
                    again = self._settle(flight, outcome)
                if again and flight.bundle is not None:
                    queue.insert(0, flight.bundle)
                elif flight.bundle is not None:
                    settled += 1
                    tell(before + settled)
        return settled > 0

    @property
    def _measuring(self) -> bool:
        return any(flight.bundle is not None for flight in self.flights.values())

    def _outcome(self, reference: Any) -> Any:
        """What a call returned, or the error that it ended with."""
        try:
            return self.ray.get(reference)
        except Exception as error:
            return error

    def _staff(self, waiting: int) -> None:
        """Start processes where nodes have room for them and bundles wait.

        Raises:
            ValueError: no node of the cluster has room for a single one.
        """
        if time.monotonic() - self._staffed < STAFF_SECONDS and self.hands:
            return
        self._staffed = time.monotonic()
        alive = {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}
        nodes = {node: held for node, held in alive.items() if node not in self._left_alone}
        if self.resources.spread:  # (the model may not fit on fewer GPUs than there are together anywhere)
            most = max((held.get("GPU", 0) for held in nodes.values()), default=0)
            nodes = {node: held for node, held in nodes.items() if held.get("GPU", 0) == most}
        demands = {node: demand_of(self.resources, held) for node, held in nodes.items()}
        there = Counter(hand.node for hand in self.hands)
        rooms = [node for node, held in nodes.items() for _ in range(demands[node].fitting(held) - there[node])]
        starting = sum(flight.bundle is None for flight in self.flights.values())
        for node in rooms[: max(waiting - starting, 0)]:
            self._start(node, demands[node])
        if not self.hands and waiting:
            raise ValueError(self._no_room(list(alive.values())))
        up = [hand for hand in self.hands if hand.station is not None]
        self.folder.tell_workers(f"{len({hand.node for hand in up})} nodes, {len(up)} processes")
        if not up and self._idle_since is not None and time.monotonic() - self._idle_since > WAITING_SECONDS:
            self._idle_since = None
            message = f"no process has started for {WAITING_SECONDS:.0f} s: other jobs hold the Ray cluster; waiting"
            warnings.warn(message, ClusterWarning, stacklevel=2)

    def _no_room(self, alive: Sequence[Mapping[str, float]]) -> str:
        """Why no node measures."""
        demand = demand_of(self.resources, alive[0] if alive else {})
        takes = f"{f'{demand.gpus} GPU, ' if demand.gpus else ''}{demand.cpus} CPU and {size(demand.memory)} of memory"
        holds = [
            f"{int(held.get('CPU', 0))} CPU, {int(held.get('GPU', 0))} GPU, {size(int(held.get('memory', 0)))}"
            for held in alive
        ]
        reasons = "".join(f"; {why}" for why in self._left_alone.values())
        return (
            f"no node of the Ray cluster can measure: a process takes {takes}; the nodes that are alive have "
            f"{' | '.join(holds) or 'nothing'}{reasons}"
        )

    def _start(self, node: str, demand: Demand) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        devices = tuple(f"cuda:{index}" for index in range(demand.gpus)) or ("cpu",)
        need = largest_need(self.checkpoints.values(), self.resources.dtype, BATCH_TOKENS, len(devices))
        own = dataclasses.replace(
            self.resources, need=need, slots=devices[:1], spread=devices if self.resources.spread else (), address=""
        )
        actor = (
            self.ray.remote(ray_actor.Measurer)
            .options(
                num_cpus=demand.cpus,
                num_gpus=demand.gpus,
                memory=demand.memory,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(self.checkpoints, self._identities, own)
        )
        hand = Hand(actor, node)
        self.hands.append(hand)
        self.flights[actor.station.remote()] = Flight(hand)

    def _last_words(self, hand: Hand) -> str | None:
        """The end of what a process wrote to its stderr; None where its node does not answer any more."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if hand.node in self._left_alone:
            return None
        there = NodeAffinitySchedulingStrategy(hand.node, soft=False)
        ask = self.ray.remote(ray_actor.last_words).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        try:
            return str(self.ray.get(ask.remote(hand.station.stderr if hand.station else Path()), timeout=PROBE_SECONDS))
        except Exception:  # whichever way ray says it
            return None

    def _assign(self, queue: list[Bundle]) -> None:
        """Give every idle process a bundle of the queue that nobody else measures."""
        for hand in (hand for hand in self.hands if not hand.busy):
            flight = self._next(hand, queue)
            if flight is None or flight.bundle is None:
                break  # what is left other runs hold: it is nothing for the next process either
            hand.busy, hand.loading = True, loading(flight.bundle)
            constants = self.store.constants(flight.bundle)
            alone = dataclasses.replace(flight.bundle, fits=())  # (their prompts need not travel)
            self.flights[hand.actor.measure.remote(alone, flight.missing, constants)] = flight

    def _next(self, hand: Hand, queue: list[Bundle]) -> Flight | None:
        """Take the next bundle for a process off the queue, and what others have settled with it.

        It is one of the model that the process holds, else of the model that has most bundles a process.
        """
        waiting = Counter(map(loading, queue))
        holding = Counter(each.loading for each in self.hands if each is not hand)
        order = sorted(waiting, key=lambda each: (each != hand.loading, -waiting[each] / (holding[each] + 1)))
        for bundle in sorted(queue, key=lambda each: order.index(loading(each))):
            if waits(self.store, self.folder, bundle):
                continue
            with ExitStack() as locks:
                if not locks.enter_context(self.store.held(f"chunk-{bundle.model[:32]}-{bundle.chunk[:32]}")):
                    continue
                queue.remove(bundle)
                if (missing := self.store.missing(bundle)) and not barred(self.folder, bundle):
                    return Flight(hand, bundle, missing, locks.pop_all())
        return None

    def _settle(self, flight: Flight, outcome: Any) -> bool:
        """Do what an outcome asks for; returns whether its bundle is to be measured again.

        Raises:
            StoreError: units cannot be written.
        """
        bundle, hand = flight.bundle, flight.hand
        if isinstance(outcome, ray_actor.Station):
            self._welcome(hand, outcome)
            return False
        if bundle is None:
            self._leave_alone(hand, f"a process cannot start there: {outcome}")
            return False
        if isinstance(outcome, ray_actor.Lacks):
            if (problem := self._sending(hand, bundle)) is not None:
                name = self.checkpoints[bundle.role].name
                self._leave_alone(hand, f"{name} is not there and cannot be sent: {problem}")
            return True
        if isinstance(outcome, ray_actor.Measured):
            self.store.add_units(bundle.model, bundle.chunk, outcome.units, bundle.about)
            self.folder.finish(bundle)
            for category, message in outcome.notices:
                warnings.warn(message, category, stacklevel=2)
            return False
        return self._failed(flight, bundle, outcome)

    def _failed(self, flight: Flight, bundle: Bundle, error: Exception) -> bool:
        """Tell a bundle's failure from its process's and its node's; returns whether it is to be measured again."""
        from ray.exceptions import RayError, RayTaskError, UnserializableException

        before = self._attempts[bundle.id]
        if isinstance(error, (RayTaskError, UnserializableException)) or not isinstance(error, RayError):
            cause = error.cause if isinstance(error, RayTaskError) and isinstance(error.cause, Exception) else error
            words = "" if isinstance(cause, ValueError) else _told(self._last_words(flight.hand))
            self._attempts[bundle.id] += 1
            went_wrong(self.folder, bundle, cause, before, words)
            return self.folder.failure(bundle) is None
        self._dismiss(flight.hand)
        last = self._last_words(flight.hand)
        if last is None:
            self._left_alone.setdefault(flight.hand.node, f"node {flight.hand.node[:8]} was lost")
            return True
        self._attempts[bundle.id] += 1
        if before + 1 >= ATTEMPTS:
            killed(self.folder, bundle, before + 1, _told(last))
        return before + 1 < ATTEMPTS

    def _dismiss(self, hand: Hand) -> None:
        """Let a process go; there is room again where it was."""
        self.hands.remove(hand)
        with contextlib.suppress(Exception):
            self.ray.kill(hand.actor)
        self._staffed = -STAFF_SECONDS

    def _welcome(self, hand: Hand, station: ray_actor.Station) -> None:
        """A process is up: it takes part if its node runs the same versions."""
        hand.station, own = station, ray_actor.versions()
        names = own.keys() | station.versions.keys()
        both = [(name, station.versions.get(name, "none"), own.get(name, "none")) for name in sorted(names)]
        differing = [f"{name} {there} (here {here})" for name, there, here in both if there != here]
        if differing:
            self._leave_alone(hand, f"it runs {', '.join(differing)}; install the same versions")

    def _leave_alone(self, hand: Hand, why: str) -> None:
        """Let a node take no part, and say why."""
        self._dismiss(hand)
        if hand.node not in self._left_alone:
            address = next((n["NodeManagerAddress"] for n in self.ray.nodes() if n["NodeID"] == hand.node), "unknown")
            self._left_alone[hand.node] = f"node {hand.node[:8]} ({address}) measures nothing: {why}"
            warnings.warn(self._left_alone[hand.node], ClusterWarning, stacklevel=2)

    def _sending(self, hand: Hand, bundle: Bundle) -> Exception | None:
        """Send a bundle's checkpoint to a node and wait until it is there; returns what went wrong."""
        key, checkpoint = self._identities[bundle.role], self.checkpoints[bundle.role]
        try:
            if key not in self._sent:
                self._sent[key] = {
                    name: [self.ray.put(piece) for piece in ray_actor.pieces_of(file)]
                    for name, file in ray_actor.files_of(checkpoint).items()
                }
            self.ray.get(hand.actor.receive.remote(bundle.role, self._sent[key]))
        except Exception as error:
            return error
        return None


class ClusterWarning(UserWarning):
    """A node of the cluster takes no part in a run, or none has room for it yet."""


def loading(bundle: Bundle) -> _Loading:
    """What a process must load for a bundle."""
    return str(bundle.role), bundle.dtype


def _told(words: str | None) -> str:
    """A process's last words, behind the reason for a failure."""
    return f"\nits stderr ends: {words}" if words else ""


def _has_gpus(address: str) -> bool:
    if address == LOCAL:
        return cuda_devices() > 0
    with connected(address) as ray:
        return any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
