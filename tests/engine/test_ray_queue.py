"""Which bundle a process of a cluster gets next, and what is locked meanwhile."""

import heapq
from collections import Counter, namedtuple

import numpy as np
import pytest

from attnres_core.engine.executors.ray_queue import Pace, Queue, loading
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.planning.bundles import Bundle
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.intervention import SHAM
from attnres_core.quantities.vocabulary import Role

Named = namedtuple("Named", "key")
PROMPT = Prompt("p", "text", "document", "stratum", Split.CONFIRMATION)
FIELDS = frozenset({"delta_nll"})


def bundle(*keys, role=Role.TRAINED, chunk="c"):
    asked = tuple(map(Named, keys)), (FIELDS,) * len(keys)
    return Bundle(role, Split.CONFIRMATION, str(role) * 8, chunk * 64, (PROMPT,), *asked)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def queue(store):
    """Makes the queue of a run, as a process of its own would."""

    def made(*bundles, run="run", pace=None):
        own = Store(store.root)
        return Queue(own, RunFolder(own.root, run, own.writing).open(), bundles, pace)

    return made


def test_a_process_keeps_its_model_then_takes_the_one_with_most_bundles_a_process(queue):
    few = [bundle(f"few{i}", role=Role.TRAINED, chunk=f"{i}") for i in range(2)]
    many = [bundle(f"many{i}", role=Role.WRAPPED, chunk=f"{i}") for i in range(3)]
    waiting = queue(*few, *many)

    def taken(held, **others):
        return waiting.take(held and loading(held[0]), Counter({loading(g[0]): n for g, n in others.values()})).bundle

    assert taken(few) is few[0]
    assert taken(None, alone=(many, 0)) is many[0]
    assert taken(None, shared=(many, 2)) is few[1]  # (one of one: more than two of three)
    assert taken(few) is many[1]  # nothing of its own is left
    assert [taken(many), len(waiting)] == [many[2], 0]
    assert waiting.take(None, Counter()) is None


def test_a_model_is_loaded_once_more_only_if_that_takes_less_time_than_what_waits(queue):
    bundles, pace = [bundle("a", chunk=f"{i}") for i in range(7)], Pace()
    waiting = queue(*bundles, pace=pace)
    held, three = loading(bundles[0]), Counter({loading(bundles[0]): 3})
    assert all(waiting.take(None, three) for _ in range(3))  # (how long it takes is not known yet)
    for seconds, loaded in ((7, True), (2, False), (4, False)):  # a bundle takes 3 s, and loading 4 s more
        pace.note(seconds, loaded=loaded)
    assert len(waiting) == 4
    assert waiting.take(None, three) is None  # 12 s of bundles: 4 s for each of the three that hold the model
    assert waiting.take(("another", "float32"), three) is None
    assert waiting.take(held, three)
    assert waiting.take(None, Counter({held: 2}))  # 9 s: more than 4 s for each of two
    assert waiting.take(None, Counter())  # nobody holds it


def carried_out(queue, processes, pace):
    """Carry a queue out by a clock of its own, where loading takes 30 s and a bundle 1 s: loads, and the last end."""
    held, loads, ends, idle, now = [None] * processes, 0, [], set(range(processes)), 0
    while idle or ends:
        for process in sorted(idle):
            others = Counter(each for place, each in enumerate(held) if each and place != process)
            if (task := queue.take(held[process], others)) is not None:
                loaded = loading(task.bundle) != held[process]
                seconds = 31 if loaded else 1
                loads, held[process] = loads + loaded, loading(task.bundle)
                heapq.heappush(ends, (now + seconds, process, seconds, loaded, task))
        if not ends:
            break
        now, process, seconds, loaded, task = heapq.heappop(ends)
        with queue.ending(task):
            pace.note(seconds, loaded=loaded)
        idle = {process} | idle - {process for _, process, *_ in ends}
    assert not len(queue)
    return loads, now


def test_few_models_are_loaded_and_the_run_ends_sooner_for_it(queue):
    def bundles():
        return [bundle("a", role=role, chunk=f"{i:x}") for role in (*Role,)[:3] for i in range(16)]

    class Unknown(Pace):
        def worth_loading(self, waiting, holders):
            return True

    found = []
    for pace in (Pace(), Unknown()):
        found.append(carried_out(queue(*bundles(), run=type(pace).__name__, pace=pace), 8, pace))
    (loads, ended), (more, later) = found
    assert loads == 8 < more  # every process, one model
    assert ended < later


def test_bundles_of_a_chunk_run_at_once_and_measure_what_they_share_once(queue, store):
    first, second = bundle("a", "b"), bundle("c")
    waiting = queue(first, second)
    one, two = waiting.take(None, Counter()), waiting.take(None, Counter())
    assert (one.missing, set(two.missing)) == (first.needs, {"c"})
    theirs = queue(bundle("d"), run="theirs")
    assert theirs.take(None, Counter()) is None  # the chunk is this run's ...
    with waiting.ending(one):
        store.add_units(first.model, first.chunk, {key: {f: np.ones(1) for f in fs} for key, fs in one.missing.items()})
    assert queue(bundle("d"), run="theirs").take(None, Counter()) is None
    with waiting.ending(two):
        assert waiting.under_way
    assert not waiting.under_way
    later = queue(bundle("d"), second, run="theirs")  # ... until the last of its bundles has ended
    assert set(later.take(None, Counter()).missing) == {"d"}
    assert set(later.take(None, Counter()).missing) == {"c"}  # (the second's units were never written)


def test_what_is_put_back_comes_next_and_what_the_store_holds_never(queue, store):
    done, dead, last = bundle("a", chunk="1"), bundle("b", chunk="2"), bundle("c", chunk="3")
    store.add_units(done.model, done.chunk, {key: {f: np.ones(1) for f in fs} for key, fs in done.needs.items()})
    waiting = queue(done, dead, last)
    task = waiting.take(None, Counter())
    assert task.bundle is dead
    assert SHAM.key in task.missing
    with waiting.ending(task):
        waiting.put_back(dead)
    assert waiting.take(None, Counter()).bundle is dead
    waiting.close()
    assert queue(dead, run="another").take(None, Counter()).bundle is dead
