"""Workers of one run, and of several: who measures a bundle, who waits, and what a deadly bundle takes with it."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from attnres_core.engine.executors import local
from attnres_core.engine.executors.attempts import ATTEMPTS
from attnres_core.engine.executors.local import LocalExecutor
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.planning.bundles import Bundle
from attnres_core.prompts import Prompt, Split
from attnres_core.quantities.intervention import SHAM
from attnres_core.quantities.vocabulary import Role

Named = namedtuple("Named", "key")
PROMPT = Prompt("p", "text", "document", "stratum", Split.CONFIRMATION)


def bundle(*keys, model="m" * 64, chunk="c" * 64, fields=("delta_nll",)):
    asked = tuple(map(Named, keys)), (frozenset(fields),) * len(keys)
    return Bundle(Role.TRAINED, Split.CONFIRMATION, model, chunk, (PROMPT,), *asked)


class Bench:
    """Measures nothing, and remembers what it was asked for; `meanwhile` happens while it does."""

    def __init__(self, meanwhile=lambda: None):
        self.asked, self.meanwhile = [], meanwhile

    def measure(self, bundle, missing):
        self.asked.append(set(missing))
        self.meanwhile()
        return {key: {field: np.ones(1) for field in fields} for key, fields in missing.items()}


def executor(store, run="run"):
    """As another process would make it: with a store object of its own."""
    own = Store(store.root)
    resources = SimpleNamespace(slots=("cpu",), device_class="cpu")
    return LocalExecutor({}, own, RunFolder(own.root, run, own.writing).open(), resources)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_two_runs_whose_bundles_overlap_measure_each_unit_once(store):
    mine, theirs = bundle("a", "b"), bundle("b", "c")
    other = Bench()

    def meanwhile():
        assert not executor(store, "their run")._measure_if_free(theirs, other)
        assert not other.asked

    bench = Bench(meanwhile)
    assert executor(store, "my run")._measure_if_free(mine, bench)
    assert executor(store, "their run")._measure_if_free(theirs, other)
    assert bench.asked == [{"a", "b", "routing", SHAM.key}]
    assert other.asked == [{"c"}]


def test_bundles_of_other_chunks_and_models_are_measured_side_by_side(store):
    others = [bundle("a", chunk="d" * 64), bundle("a", model="n" * 64)]
    beside = Bench()

    def meanwhile():
        for other in others:
            assert executor(store, "run")._measure_if_free(other, beside)

    assert executor(store, "run")._measure_if_free(bundle("a"), Bench(meanwhile))
    assert len(beside.asked) == 2


def die(run, deadly):
    """What is left of the workers that a bundle killed, once another has looked at it again."""
    for _ in range(ATTEMPTS):
        run.folder.attempt(deadly)
    assert run._measure_if_free(deadly, Bench())
    assert "died 2 times" in run.folder.failure(deadly)


def test_a_deadly_bundle_leaves_the_others_of_its_model_alone(store):
    run, bench = executor(store), Bench()
    die(run, bundle("a"))
    assert run._measure_if_free(bundle("b"), bench)
    assert len(bench.asked) == 1


def test_after_two_deadly_bundles_their_models_are_left_alone_and_no_others(store):
    run, bench = executor(store), Bench()
    die(run, bundle("a"))
    die(run, bundle("b"))
    assert run._measure_if_free(bundle("c"), bench)
    assert "killed its process before" in run.folder.failure(bundle("c"))
    elsewhere = bundle("c", model="n" * 64)
    assert run._measure_if_free(elsewhere, bench)
    assert run.folder.failure(elsewhere) is None
    assert len(bench.asked) == 1


def test_waiting_for_a_slot_costs_nothing_and_a_slot_is_kept(store, monkeypatch):
    monkeypatch.setattr(local, "Worker", lambda *_: Bench())
    run = executor(store)
    with Store(store.root).held("slot-cpu-0"):
        assert [run._slot() for _ in range(50)] == [None] * 50
        assert not run._stack._exit_callbacks
    with run:
        kept = run._slot()
        assert kept is run._slot()
        with Store(store.root).held("slot-cpu-0") as free:
            assert not free
    with Store(store.root).held("slot-cpu-0") as free:
        assert free


def test_no_time_passes_between_bundles(store, monkeypatch):
    monkeypatch.setattr(local.time, "sleep", lambda _: pytest.fail("slept"))
    run = executor(store)
    run._worker = Bench()
    assert run.carry_out([bundle("a"), bundle("b", chunk="d" * 64)]) == {}
    assert len(run._worker.asked) == 2


def test_a_bundle_measured_for_more_and_more_fields_is_not_deadly(store):
    run, bench = executor(store), Bench()
    for count in range(1, 5):
        assert run._measure_if_free(bundle("a", fields=["delta_nll", "kl", "trace", "more"][:count]), bench)
    assert run.folder.failure(bundle("a")) is None
    assert bench.asked == [{"a", "routing", SHAM.key}, {"a"}, {"a"}, {"a"}]


def test_without_a_device_what_the_store_holds_is_found_and_nothing_else_is_measured(store):
    held, lacking = bundle("a"), bundle("b")
    assert executor(store)._measure_if_free(held, Bench())
    without = executor(store, "another run")
    without.resources = SimpleNamespace(slots=(), device_class="cuda")
    assert without.carry_out([held]) == {}
    with pytest.raises(ValueError, match=r"the store lacks units, and no CUDA device .* --attnres-device cpu"):
        without.carry_out([held, lacking])
