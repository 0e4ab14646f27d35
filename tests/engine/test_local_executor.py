"""Workers of one run, and of several: who measures a bundle, who waits, and what a deadly bundle takes with it."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from attnres_core.engine.executors import local
from attnres_core.engine.executors.local import ATTEMPTS, Barrier, Crew
from attnres_core.engine.store import Store
from attnres_core.planning.bundles import Bundle
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.intervention import SHAM
from attnres_core.quantities.vocabulary import Role

Named = namedtuple("Named", "key")
PROMPT = Prompt("p", "text", "document", "stratum", Split.CONFIRMATION)


def bundle(*keys, model="m" * 64, chunk="c" * 64):
    return Bundle(Role.TRAINED, Split.CONFIRMATION, model, chunk, (PROMPT,), tuple(map(Named, keys)))


class Bench:
    """Measures nothing, and remembers what it was asked for; `meanwhile` happens while it does."""

    def __init__(self, meanwhile=lambda: None):
        self.asked, self.meanwhile = [], meanwhile

    def measure(self, bundle, missing, store):
        self.asked.append(missing)
        self.meanwhile()
        store.add_units(bundle.model, bundle.chunk, {key: {"delta_nll": np.ones(1)} for key in missing})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_two_runs_whose_bundles_overlap_measure_each_unit_once(store):
    mine, theirs = bundle("a", "b"), bundle("b", "c")
    other = Bench()

    def meanwhile():
        assert not local._measure_if_free(theirs, Barrier(Store(store.root), "their run"), other)
        assert not other.asked

    bench = Bench(meanwhile)
    assert local._measure_if_free(mine, Barrier(store, "my run"), bench)
    assert local._measure_if_free(theirs, Barrier(Store(store.root), "their run"), other)
    assert bench.asked == [{"a", "b", "routing", SHAM.key}]
    assert other.asked == [{"c"}]


def test_bundles_of_other_chunks_and_models_are_measured_side_by_side(store):
    others = [bundle("a", chunk="d" * 64), bundle("a", model="n" * 64)]
    beside = Bench()

    def meanwhile():
        for other in others:
            assert local._measure_if_free(other, Barrier(Store(store.root), "run"), beside)

    assert local._measure_if_free(bundle("a"), Barrier(store, "run"), Bench(meanwhile))
    assert len(beside.asked) == 2


def die(barrier, deadly):
    """What is left of the workers that a bundle killed, once another has looked at it again."""
    for _ in range(ATTEMPTS):
        barrier.attempt(deadly)
    assert local._measure_if_free(deadly, barrier, Bench())
    assert "died 2 times" in barrier.failure(deadly)


def test_a_deadly_bundle_leaves_the_others_of_its_model_alone(store):
    barrier, bench = Barrier(store, "run"), Bench()
    die(barrier, bundle("a"))
    assert local._measure_if_free(bundle("b"), barrier, bench)
    assert len(bench.asked) == 1


def test_after_two_deadly_bundles_their_models_are_left_alone_and_no_others(store):
    barrier, bench = Barrier(store, "run"), Bench()
    die(barrier, bundle("a"))
    die(barrier, bundle("b"))
    assert local._measure_if_free(bundle("c"), barrier, bench)
    assert "killed its process before" in barrier.failure(bundle("c"))
    elsewhere = bundle("c", model="n" * 64)
    assert local._measure_if_free(elsewhere, barrier, bench)
    assert barrier.failure(elsewhere) is None
    assert len(bench.asked) == 1


def test_waiting_for_a_slot_costs_nothing_and_a_slot_is_kept(store, monkeypatch):
    place = SimpleNamespace(slots=("cpu",), device_class="cpu")
    monkeypatch.setattr(local, "_Workbench", lambda *_: Bench())
    crew = Crew({}, Barrier(store, "run"), place)
    with Store(store.root).held("slot-cpu-0"):
        assert [crew._slot() for _ in range(50)] == [None] * 50
        assert not crew._stack._exit_callbacks
    with crew:
        kept = crew._slot()
        assert kept is crew._slot()
        with Store(store.root).held("slot-cpu-0") as free:
            assert not free
    with Store(store.root).held("slot-cpu-0") as free:
        assert free


def test_no_time_passes_between_bundles(store, monkeypatch):
    monkeypatch.setattr(local.time, "sleep", lambda _: pytest.fail("slept"))
    crew = Crew({}, Barrier(store, "run"), SimpleNamespace(slots=("cpu",), device_class="cpu"))
    crew._bench = Bench()
    assert crew.carry_out([bundle("a"), bundle("b", chunk="d" * 64)]) == {}
    assert len(crew._bench.asked) == 2
