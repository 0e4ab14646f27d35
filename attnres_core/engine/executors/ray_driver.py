"""The driver of a Ray cluster: it starts processes where nodes have room, hands bundles out, and writes the store.

It waits for one thing only: whichever call returns first, of a process that starts, measures or receives a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from attnres_core.amounts import size
from attnres_core.engine.executors import ray_actor
from attnres_core.engine.executors.attempts import ATTEMPTS, killed, went_wrong
from attnres_core.engine.executors.protocol import Tell
from attnres_core.engine.executors.ray_queue import Loading, Pace, Queue, Task, loading
from attnres_core.engine.resources import BATCH_TOKENS, LIBRARIES, NARROW, Resources, largest_need
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.bundles import Bundle
from attnres_core.quantities.vocabulary import AnyRole

STAFF_SECONDS = 5.0
"""How often to look for nodes that came or went."""
LISTEN_SECONDS = 1.0
"""How often to ask how far a fit is, while there is one."""
WAITING_SECONDS = 60.0
"""After so long without a process the run says that it waits."""
PROBE_SECONDS = 15.0
"""A node that does not answer for so long is lost, whatever the cluster says of it."""
ALIVE_SECONDS = 1.0
"""How often to ask the cluster, while a node does not answer."""


class ClusterWarning(UserWarning):
    """A node of the cluster takes no part in a run, or none has room for it yet."""


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

    def __str__(self) -> str:
        """`1 GPU, 1 CPU and 1.2 GiB of memory`."""
        return f"{f'{self.gpus} GPU, ' if self.gpus else ''}{self.cpus} CPU and {size(self.memory)} of memory"


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
    loading: Loading | None = None
    """What it holds."""
    busy: bool = False


@dataclass(frozen=True, eq=False)
class Flight:
    """A call that a process has not returned from."""

    hand: Hand
    land: Callable[[Any], None]
    """Takes what it returned, or the error that it ended with."""


class Driver:
    """Hands bundles to the processes of a cluster that it is connected to, and stores what comes back.

    Args:
        ray: the module, connected.
        checkpoints: the model in every role.
        store: where units go.
        folder: the run's.
        resources: what a process computes in.
    """

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
        self.pace = Pace()
        self.queue = Queue(store, folder)
        self._identities = {role: ray_actor.identity(c.folder, c.tokenizer_file) for role, c in checkpoints.items()}
        self._sender: Any = None
        """Reads checkpoints for nodes that lack them, once one does."""
        self._ear: Any = None
        """Hears how far fits are, once there is one."""
        self._asked: Any = None
        """The question to it that is not answered."""
        self._said = ""
        """What the run's folder says of fits."""
        self._left_alone = dict[str, str]()
        """Nodes that take no part any more, with the reason."""
        self._staffed = -STAFF_SECONDS
        self._idle_since: float | None = time.monotonic()
        """Since when no process has started; None: that was told."""
        self._attempts = Counter[str]()
        """How often a process died at a bundle, or an attempt at it raised an error, by the bundle's id."""
        self._settled = 0

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self.queue.close()
        with contextlib.suppress(Exception):  # (a cluster that is gone is no reason to fail at the end)
            for actor in (*(hand.actor for hand in self.hands), self._sender, self._ear):
                if actor is not None:
                    self.ray.kill(actor)

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
        self.queue, self._settled = Queue(self.store, self.folder, bundles, self.pace), 0
        while self.queue or self.queue.under_way:
            self._staff()
            self._assign()
            if not self.flights:
                break  # what is left other runs hold
            self._listen()
            timeout = LISTEN_SECONDS if self.queue.fitting else STAFF_SECONDS
            done, _ = self.ray.wait(list(self.flights), num_returns=1, timeout=timeout)
            for reference in done:
                flight, settled = self.flights.pop(reference), self._settled
                flight.hand.busy = False
                flight.land(self._outcome(reference))
                if self._settled > settled:
                    tell(before + self._settled)
        self._listen()
        return self._settled > 0

    def _call(self, hand: Hand, reference: Any, land: Callable[[Any], None]) -> None:
        """A process is busy until a call returns."""
        hand.busy = True
        self.flights[reference] = Flight(hand, land)

    def _outcome(self, reference: Any) -> Any:
        """What a call returned, or the error that it ended with."""
        try:
            return self.ray.get(reference)
        except Exception as error:
            return error

    def _staff(self) -> None:
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
        free = sum(hand.station is None or not hand.busy for hand in self.hands)
        for node in rooms[: max(len(self.queue) - free, 0)]:
            self._start(node, demands[node])
        if not self.hands and self.queue:
            raise ValueError(self._no_room(list(alive.values())))
        up = [hand for hand in self.hands if hand.station is not None]
        where = f"{_counted(len({hand.node for hand in up}), 'node')}, {_counted(len(up), 'process')}"
        self.folder.tell_workers(where if up else "processes of the Ray cluster start")
        if not up and self._idle_since is not None and time.monotonic() - self._idle_since > WAITING_SECONDS:
            self._idle_since = None
            least = min(demands.values(), key=lambda demand: (demand.gpus, demand.cpus), default=None)
            message = (
                f"no process has started for {WAITING_SECONDS:.0f} s: other jobs hold the Ray cluster; waiting for "
                f"{least} on one of its nodes"
            )
            warnings.warn(message, ClusterWarning, stacklevel=2)

    def _no_room(self, alive: Sequence[Mapping[str, float]]) -> str:
        """Why no node measures."""
        takes = demand_of(self.resources, alive[0] if alive else {})
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
        devices = tuple(f"cuda:{index}" for index in range(demand.gpus)) or ("cpu",)
        need = largest_need(self.checkpoints.values(), self.resources.dtype, BATCH_TOKENS, len(devices))
        own = dataclasses.replace(
            self.resources, need=need, slots=devices[:1], spread=devices if self.resources.spread else (), address=""
        )
        actor = (
            self.ray.remote(ray_actor.Measurer)
            .options(
                num_cpus=demand.cpus, num_gpus=demand.gpus, memory=demand.memory, scheduling_strategy=_only_on(node)
            )
            .remote(self.checkpoints, self._identities, own)
        )
        hand = Hand(actor, node)
        self.hands.append(hand)
        self._call(hand, actor.station.remote(), partial(self._welcome, hand))

    def _welcome(self, hand: Hand, station: Any) -> None:
        """A process is up: it takes part if its node runs the same versions."""
        if not isinstance(station, ray_actor.Station):
            self._leave_alone(hand, f"a process cannot start there: {station}")
            return
        hand.station, own = station, ray_actor.versions()
        names = own.keys() | station.versions.keys()
        both = [(name, station.versions.get(name, "none"), own.get(name, "none")) for name in sorted(names)]
        differing = [f"{name} {there} (here {here})" for name, there, here in both if there != here]
        if differing:
            self._leave_alone(hand, f"it runs {', '.join(differing)}; install the same versions")

    def _assign(self) -> None:
        """Give every idle process a bundle of the queue."""
        holding, idle = Counter(hand.loading for hand in self.hands if hand.loading), set[Loading | None]()
        for hand in (hand for hand in self.hands if not hand.busy):
            if hand.loading in idle:  # there is nothing for others that hold the same
                continue
            others = holding - Counter([hand.loading] if hand.loading else [])
            if (task := self.queue.take(hand.loading, others)) is None:
                idle.add(hand.loading)
                continue
            hand.loading = loading(task.bundle)
            holding = others + Counter([hand.loading])
            alone = dataclasses.replace(task.bundle, fits=())  # (their prompts need not travel)
            constants, ear = self.store.constants(task.bundle), self._ear_of(task.bundle)
            call = hand.actor.measure.remote(alone, task.missing, constants, ear)
            self._call(hand, call, partial(self._measured, hand, task))

    def _measured(self, hand: Hand, task: Task, outcome: Any) -> None:
        """Do what an outcome of measuring asks for.

        Raises:
            StoreError: units cannot be written.
        """
        bundle = task.bundle
        with self.queue.ending(task):
            if isinstance(outcome, ray_actor.Measured):
                if not bundle.start:  # (a fit takes as long as many bundles)
                    self.pace.note(outcome.seconds, loaded=outcome.loaded)
                self._assign()  # the cluster works on while this process writes
                self.store.add_units(bundle.model, bundle.chunk, outcome.units, bundle.about)
                self.folder.finish(bundle)
                self._settled += 1
                for category, message in outcome.notices:
                    warnings.warn(message, category, stacklevel=2)
            elif isinstance(outcome, ray_actor.Lacks):
                hand.loading = None
                self._send(hand, bundle.role)
                self.queue.put_back(bundle)
            elif self._failed(hand, bundle, outcome):
                self.queue.put_back(bundle)
            else:
                self._settled += 1

    def _ear_of(self, bundle: Bundle) -> Any:
        """Who hears how far a bundle's fit is; None: it is none."""
        if bundle.start and self._ear is None:
            self._ear = self._beside(ray_actor.Ear)
        return self._ear if bundle.start else None

    def _listen(self) -> None:
        """Pass on how far a fit is, without waiting for the answer."""
        words = ""
        if self.queue.fitting:
            self._asked = self._asked or self._ear.told.remote()
            if not self.ray.wait([self._asked], timeout=0)[0]:
                return
            answer, self._asked = self._outcome(self._asked), None
            words = answer if isinstance(answer, str) else ""
        if words != self._said:
            self._said = words
            self.folder.tell_fit(words)

    def _beside(self, kind: type, *given: Any) -> Any:
        """An actor on this node that takes no core."""
        here = self.ray.get_runtime_context().get_node_id()
        return self.ray.remote(kind).options(num_cpus=0, scheduling_strategy=_only_on(here)).remote(*given)

    def _send(self, hand: Hand, role: AnyRole) -> None:
        """Let a process receive a checkpoint, which a process of this node reads a piece at a time."""
        if self._sender is None:
            files = {self._identities[role]: ray_actor.files_of(held) for role, held in self.checkpoints.items()}
            self._sender = self._beside(ray_actor.Sender, files)
        self._call(hand, hand.actor.receive.remote(role, self._sender), partial(self._received, hand, role))

    def _received(self, hand: Hand, role: AnyRole, outcome: Any) -> None:
        """A checkpoint is there, or its node takes no part."""
        if outcome is not None:
            name = self.checkpoints[role].name
            self._leave_alone(hand, f"{name} is not there and cannot be sent: {_cause(outcome)}")

    def _failed(self, hand: Hand, bundle: Bundle, error: Exception) -> bool:
        """Tell a bundle's failure from its process's and its node's; returns whether it is to be measured again."""
        from ray.exceptions import RayError, RayTaskError, UnserializableException

        before = self._attempts[bundle.id]
        if isinstance(error, (RayTaskError, UnserializableException)) or not isinstance(error, RayError):
            cause = _cause(error)
            words = "" if isinstance(cause, ValueError) else _told(self._last_words(hand))
            self._attempts[bundle.id] += 1
            went_wrong(self.folder, bundle, cause, before, words)
            return self.folder.failure(bundle) is None
        self._dismiss(hand)
        last = self._last_words(hand)
        if last is None:
            self._left_alone.setdefault(hand.node, f"node {hand.node[:8]} was lost")
            return True
        self._attempts[bundle.id] += 1
        if before + 1 >= ATTEMPTS:
            killed(self.folder, bundle, before + 1, _told(last))
        return before + 1 < ATTEMPTS

    def _last_words(self, hand: Hand) -> str | None:
        """The end of what a process wrote to its stderr; None where its node is lost."""
        if hand.node in self._left_alone or hand.station is None:
            return None
        ask = self.ray.remote(ray_actor.last_words)
        ask = ask.options(num_cpus=0, max_retries=0, scheduling_strategy=_only_on(hand.node))
        asked, until = ask.remote(hand.station.stderr), time.monotonic() + PROBE_SECONDS
        while time.monotonic() < until and self._alive(hand.node):
            answered, _ = self.ray.wait([asked], timeout=ALIVE_SECONDS)
            if answered:
                words = self._outcome(asked)
                return words if isinstance(words, str) else None
        return None

    def _alive(self, node: str) -> bool:
        """Whether the cluster takes a node for alive; it learns of a node's end after a while only."""
        return any(each["NodeID"] == node and each["Alive"] for each in self.ray.nodes())

    def _dismiss(self, hand: Hand) -> None:
        """Let a process go; there is room again where it was."""
        self.hands.remove(hand)
        with contextlib.suppress(Exception):
            self.ray.kill(hand.actor)
        self._staffed = -STAFF_SECONDS

    def _leave_alone(self, hand: Hand, why: str) -> None:
        """Let a node take no part, and say why."""
        self._dismiss(hand)
        if hand.node not in self._left_alone:
            address = next((n["NodeManagerAddress"] for n in self.ray.nodes() if n["NodeID"] == hand.node), "unknown")
            self._left_alone[hand.node] = f"node {hand.node[:8]} ({address}) measures nothing: {why}"
            warnings.warn(self._left_alone[hand.node], ClusterWarning, stacklevel=2)


def _counted(count: int, what: str) -> str:
    """`1 node`, `2 processes`."""
    return f"{count} {what}" + ("" if count == 1 else "es" if what.endswith("s") else "s")


def _only_on(node: str) -> Any:
    """Ray's word for one node and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _cause(error: Exception) -> Exception:
    """What was raised in a process, without ray's wrapping."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _told(words: str | None) -> str:
    """A process's last words, behind the reason for a failure."""
    return f"\nits stderr ends: {words}" if words else ""
