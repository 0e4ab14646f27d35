"""Bundles that wait for a process of the cluster, and those under way; a chunk is locked while one of its is."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import fmean

from attnres_core.engine.executors.attempts import barred, waits
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.planning.bundles import Bundle

Loading = tuple[str, str]
"""What a process must load for a bundle: role and dtype."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A bundle under way."""

    bundle: Bundle
    missing: Mapping[str, frozenset[str]]
    """What is to be measured of it: fields by unit."""


@dataclass(slots=True, eq=False)
class _Chunk:
    """A chunk of prompts on a model that this run holds the lock of."""

    lock: ExitStack
    tasks: list[Task] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Pace:
    """How long bundles took that came back: seconds."""

    first: list[float] = field(default_factory=list)
    """Of those that a model was loaded for, loading included."""
    further: list[float] = field(default_factory=list)
    """Of those whose model the process held."""

    def note(self, seconds: float, *, loaded: bool) -> None:
        """Remember one; `loaded`: whether the model was loaded for it."""
        (self.first if loaded else self.further).append(seconds)

    def worth_loading(self, waiting: int, holders: int) -> bool:
        """Whether so many bundles keep the processes that hold their model for longer than it takes to load it.

        As long as nobody knows what loading takes, it is.
        """
        if not holders or not self.first or not self.further:
            return True
        bundle = fmean(self.further)
        return waiting * bundle > holders * (fmean(self.first) - bundle)


class Queue:
    """The bundles of a run, each taken once unless it is put back.

    Args:
        store: what is there already; holds the locks of chunks, which other runs may be at.
        folder: the run's.
        bundles: what is to be measured.
        pace: how fast it went so far.
    """

    def __init__(
        self, store: Store, folder: RunFolder, bundles: Iterable[Bundle] = (), pace: Pace | None = None
    ) -> None:
        self.store, self.folder, self.pace = store, folder, pace or Pace()
        self._waiting: defaultdict[Loading, deque[Bundle]] = defaultdict(deque)
        self._chunks: dict[tuple[str, str], _Chunk] = {}
        for bundle in bundles:
            self._waiting[loading(bundle)].append(bundle)

    def __len__(self) -> int:
        """How many bundles wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def under_way(self) -> bool:
        """Whether a bundle was taken that is not done."""
        return bool(self._chunks)

    @property
    def fitting(self) -> bool:
        """Whether constants are being fitted."""
        return any(task.bundle.start for chunk in self._chunks.values() for task in chunk.tasks)

    def take(self, held: Loading | None, others: Counter[Loading]) -> Task | None:
        """The next bundle for a process: of the model that it holds, else of the one with most bundles a process.

        A model that other processes hold is loaded once more only if that takes less time than its bundles would.

        What is in the store by now goes, and so does what another run measures at the moment: it waits no longer. What
        needs constants that are not fitted yet stays.

        Args:
            held: what the process holds.
            others: what the other processes hold.
        """
        waiting = [each for each, bundles in self._waiting.items() if bundles]
        waiting.sort(key=lambda each: (each != held, -len(self._waiting[each]) / (others[each] + 1)))
        for each in waiting:
            bundles, unfitted, task = self._waiting[each], list[Bundle](), None
            if each != held and not self.pace.worth_loading(len(bundles), others[each]):
                continue
            while bundles and task is None:
                bundle = bundles.popleft()
                if waits(self.store, self.folder, bundle):
                    unfitted.append(bundle)
                else:
                    task = self._begin(bundle)
            bundles.extendleft(reversed(unfitted))
            if task is not None:
                return task
        return None

    def put_back(self, bundle: Bundle) -> None:
        """Let a bundle be the next of its model."""
        self._waiting[loading(bundle)].appendleft(bundle)

    @contextlib.contextmanager
    def ending(self, task: Task) -> Iterator[None]:
        """A task is under way until the block ends."""
        try:
            yield
        finally:
            place = task.bundle.model, task.bundle.chunk
            self._chunks[place].tasks.remove(task)
            self._free(place)

    def close(self) -> None:
        """Give every lock back."""
        for chunk in self._chunks.values():
            chunk.lock.close()
        self._chunks.clear()

    def _begin(self, bundle: Bundle) -> Task | None:
        """A bundle's task; None: another run is at its chunk, or nothing of it is left to be measured.

        Bundles of a chunk have units in common, the clean run's: the first of them measures these.
        """
        place = bundle.model, bundle.chunk
        if place not in self._chunks:
            with ExitStack() as lock:
                if not lock.enter_context(self.store.held(f"chunk-{bundle.model[:32]}-{bundle.chunk[:32]}")):
                    return None
                self._chunks[place] = _Chunk(lock.pop_all())
        tasks = self._chunks[place].tasks
        missing = self.store.missing(bundle)
        for task in tasks:
            missing = {key: missing[key] - task.missing.get(key, frozenset()) for key in missing}
        missing = {key: fields for key, fields in missing.items() if fields}
        begun = Task(bundle, missing) if missing and not barred(self.folder, bundle) else None
        tasks += [begun] if begun else []
        self._free(place)
        return begun

    def _free(self, place: tuple[str, str]) -> None:
        """Give a chunk's lock back, once none of its bundles is under way."""
        if not self._chunks[place].tasks:
            self._chunks.pop(place).lock.close()


def loading(bundle: Bundle) -> Loading:
    """What a process must load for a bundle."""
    return str(bundle.role), bundle.dtype
