"""The store: what was written comes back exactly, what was damaged never comes back, and workers do not collide."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from attnres_core.engine.measurements import Measurements
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store, StoreError, Unit
from attnres_core.files import atomic
from attnres_core.quantities.vocabulary import Statistic
from attnres_core.shapes import Column
from attnres_core.statistics.associations import influence

HOLD = """
import sys, time
from pathlib import Path
from attnres_core.engine.store import Store
with Store(Path(sys.argv[1])).held("slot") as got:
    print(got, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def units(*keys: str) -> dict[str, Unit]:
    rng = np.random.default_rng(len(keys))
    return {key: {"delta_nll": rng.normal(size=5), "kl": rng.normal(size=5)} for key in keys}


def same(found: dict[str, Unit], expected: dict[str, Unit]) -> bool:
    return {key: {name: array.tobytes() for name, array in unit.items()} for key, unit in found.items()} == {
        key: {name: array.tobytes() for name, array in unit.items()} for key, unit in expected.items()
    }


def only_file(store: Store) -> Path:
    (file,) = store.root.glob("units/*/*/*.safetensors")
    return file


def test_units_come_back_bit_for_bit(store: Store) -> None:
    written = units("a", "b") | {"odd": {"nll": np.array([np.nan, -0.0, 5e-324, np.inf, 0.1])}}
    store.add_units("model", "chunk", written)
    assert same(Store(store.root).units("model", "chunk"), written)


def test_strided_and_transposed_arrays_come_back_as_they_are(store: Store) -> None:
    table = np.arange(24.0).reshape(4, 6)
    written = {"a": {"every second": table[:, ::2], "turned": table.T, "backwards": table[::-1]}}
    store.add_units("model", "chunk", written)
    assert same(Store(store.root).units("model", "chunk"), written)


def test_units_of_another_model_or_chunk_are_not_read(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    assert store.units("model", "other") == store.units("other", "chunk") == {}


def test_units_written_later_join_those_before(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    assert store.units("model", "chunk").keys() == {"a"}
    store.add_units("model", "chunk", units("b", "c"))
    assert store.units("model", "chunk").keys() == {"a", "b", "c"}


def test_the_same_units_written_twice_are_one_file(store: Store) -> None:
    for _ in range(2):
        store.add_units("model", "chunk", units("a"))
    assert only_file(store).is_file()


def test_no_flipped_bit_of_a_unit_file_goes_unnoticed(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    file = only_file(store)
    data = file.read_bytes()
    for position in range(len(data)):  # one bit a byte, another one each time
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        with pytest.warns(UserWarning, match="is damaged"):
            assert store.units("model", "chunk") == {}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_unit_file_warns_and_counts_as_missing(store: Store, share: float) -> None:
    store.add_units("model", "chunk", units("a"))
    file = only_file(store)
    os.truncate(file, int(share * file.stat().st_size))
    why = "its bytes do not have the SHA-256 it is named for"
    with pytest.warns(UserWarning, match="is damaged") as caught:
        assert store.units("model", "chunk") == {}
    aside = f"{file.stem}.damaged"
    assert str(caught[0].message) == f"{file} is damaged ({why}); set aside as {aside}, made again"


def test_a_file_that_cannot_be_read_now_is_left_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_units("model", "chunk", units("a"))
    store.add_judged("question", {"verdict": "SUPPORTED"})

    def refuse(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        for read in (lambda: store.units("model", "chunk"), lambda: store.judged("question")):
            with pytest.raises(StoreError, match=r"cannot be read .*Too many open files.* left as it is"):
                read()
    assert store.units("model", "chunk").keys() == {"a"}
    assert store.judged("question") == {"verdict": "SUPPORTED"}


@pytest.mark.parametrize("write", ["judged", "search", "units", "run"])
def test_whatever_cannot_be_written_is_told_with_the_remedy(
    store: Store, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    act = {
        "judged": lambda: store.add_judged("question", {}),
        "search": lambda: store.add_search("subject", "key", {}),
        "units": lambda: store.add_units("model", "chunk", units("a")),
        "run": lambda: RunFolder(store.root, "run", store.writing).open(),
    }[write]
    with pytest.raises(StoreError, match=r"No space left on device.*free some space, or give another with"):
        act()


def test_a_damaged_unit_file_is_set_aside_once(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    file = only_file(store)
    file.write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="is damaged"):
        store.units("model", "chunk")
    assert not file.exists()
    assert file.with_suffix(".damaged").read_bytes() == b"garbage"
    assert store.units("model", "chunk") == {}  # a second warning would be an error here


def test_a_unit_measured_again_after_damage_is_seen_by_the_store_that_met_the_damage(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    only_file(store).write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="is damaged"):
        store.units("model", "chunk")
    store.add_units("model", "chunk", units("a"))
    assert same(store.units("model", "chunk"), units("a"))


def test_damage_to_one_unit_file_leaves_the_others(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    only_file(store).write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="is damaged"):  # (what is there is not written again, so it is read)
        store.add_units("model", "chunk", units("b", "c"))
    assert store.units("model", "chunk").keys() == {"b", "c"}


def test_a_decided_statement_comes_back(store: Store) -> None:
    entry = {"verdict": "supported", "low": 0.1, "high": float("inf"), "parts": [1, {"a": None}]}
    store.add_judged("key", entry)
    assert store.judged("key") == entry


def test_an_undecided_statement_is_none(store: Store) -> None:
    assert store.judged("key") is None


def test_a_decided_statement_can_be_decided_anew(store: Store) -> None:
    store.add_judged("key", {"verdict": "supported"})
    store.add_judged("key", {"verdict": "refuted"})
    assert store.judged("key") == {"verdict": "refuted"}


def test_no_flipped_bit_of_a_decided_statement_changes_it(store: Store) -> None:
    entry = {"verdict": "refuted", "low": 0.125}
    store.add_judged("key", entry)
    (file,) = store.root.glob("judged/*.json")
    data = file.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        with pytest.warns(UserWarning, match="is damaged"):
            assert store.judged("key") is None


def test_atomic_puts_the_new_file_in_the_old_ones_place(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with atomic(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("before", [None, "old"])
def test_atomic_leaves_no_trace_of_a_block_that_fails(tmp_path: Path, before: str | None) -> None:
    file = tmp_path / "file"
    if before:
        file.write_text(before)

    def fail() -> None:
        with atomic(file) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ([before] if before else [])


def test_units_that_cannot_be_written_leave_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.add_units("model", "chunk", units("a"))
    assert [path for path in (store.root / "units").rglob("*") if path.is_file()] == []


def test_a_lock_is_granted_once_and_freed(store: Store) -> None:
    with store.held("slot") as first, store.held("slot") as second, store.held("other") as third:
        assert (first, second, third) == (True, False, True)
    with store.held("slot") as again:
        assert again


def test_a_lock_is_freed_when_its_block_fails(store: Store) -> None:
    def fail() -> None:
        with store.held("slot"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.held("slot") as got:
        assert got


def test_a_lock_held_by_another_process_is_not_granted_until_that_process_is_killed(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "True\n"
            with store.held("slot") as while_held:
                assert not while_held
        finally:
            holder.send_signal(signal.SIGKILL)
        holder.wait()
        with store.held("slot") as after_death:
            assert after_death


def test_a_waiting_worker_gets_the_lock_of_a_killed_one(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        holder.send_signal(signal.SIGKILL)
        with store.held("slot", wait=True) as got:
            assert got


def test_a_store_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    root = tmp_path / "file" / "store"
    with pytest.raises(ValueError, match="cannot be written") as caught:  # tests run as root, whom no mode stops
        Store(root)
    why = f"[Errno 20] Not a directory: '{root / 'units'}'"
    assert (
        str(caught.value)
        == f"the store {root} cannot be written ({why}); free some space, or give another with --attnres-store"
    )


def _write_some(root: Path, worker: int) -> None:
    store = Store(root)
    for index in range(10):
        store.add_units("model", "chunk", {f"{worker}.{index}": {"nll": np.array([worker, index], dtype=np.float64)}})


def test_concurrent_writers_of_one_chunk_lose_nothing(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_some, args=(store.root, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = store.units("model", "chunk")
    assert {key: unit["nll"].tolist() for key, unit in found.items()} == {
        f"{worker}.{index}": [worker, index] for worker in range(3) for index in range(10)
    }


# Fields ---------------------------------------------------------------------------------------------------------------


def test_the_fields_of_one_unit_may_lie_in_several_files(store: Store) -> None:
    store.add_units("model", "chunk", {"a": {"kl": np.ones(2)}, "b": {"kl": np.ones(2)}})
    store.add_units("model", "chunk", {"a": {"new": np.zeros(2)}})
    for reader in (store, Store(store.root)):
        found = reader.units("model", "chunk")
        assert {key: sorted(unit) for key, unit in found.items()} == {"a": ["kl", "new"], "b": ["kl"]}
        assert found["a"]["kl"].tolist() == [1, 1]


def test_what_is_there_is_not_written_again(store: Store) -> None:
    store.add_units("model", "chunk", units("a"))
    file = only_file(store)
    store.add_units("model", "chunk", {"a": {"kl": np.zeros(5)}})
    assert only_file(store) == file
    store.add_units("model", "chunk", {"a": {"kl": np.zeros(5), "new": np.zeros(5)}})
    (added,) = set(store.root.glob("units/*/*/*.safetensors")) - {file}
    added.rename(alone := store.root / "alone.safetensors")
    assert [name.split("|")[1] for name in load_file(alone)] == ["new"]


def test_of_equal_fields_the_first_file_by_name_counts(tmp_path: Path) -> None:
    """Whatever wrote them (two machines on one disk): every reader takes the same."""
    stores = [Store(tmp_path / name) for name in "ab"]
    for value, each in enumerate(stores):
        each.add_units("model", "chunk", {"a": {"kl": np.full(2, float(value))}})
    first, second = map(only_file, stores)
    shutil.copy(second, first.parent)
    expected = 0 if first.name < second.name else 1
    assert Store(stores[0].root).units("model", "chunk")["a"]["kl"].tolist() == [expected, expected]


def test_a_settled_store_is_taken_as_it_was_found_until_others_may_measure(store: Store) -> None:
    other = Store(store.root)
    other.add_units("model", "chunk", units("a"))
    store.settled = True
    assert store.units_of(("model", "none"), "chunk").keys() == {"a"}
    other.add_units("model", "chunk", units("a", "b"))
    other.add_units("none", "chunk", units("c"))
    assert store.units_of(("model", "none"), "chunk").keys() == {"a"}
    store.settled = False
    assert store.units_of(("model", "none"), "chunk").keys() == {"a", "b", "c"}


@pytest.mark.parametrize("settled", [False, True])
def test_statistics_are_computed_once_and_come_back_bit_for_bit(store: Store, settled: bool) -> None:
    tables = np.random.default_rng(1).normal(size=(2, 5, 20))
    material: Any = None  # (a statistic is of tables, wherever they are from)
    store.settled = settled
    first = Measurements(store, material)._kept(influence, Statistic.SPEARMAN, *tables)
    assert first.tobytes() == influence(Statistic.SPEARMAN, *tables).tobytes()

    def lost(*given: object) -> Column:
        raise AssertionError("it is in the store")

    lost.__name__ = influence.__name__
    again = Measurements(Store(store.root), material)
    assert again._kept(lost, Statistic.SPEARMAN, *tables).tobytes() == first.tobytes()
    with pytest.raises(AssertionError):
        again._kept(lost, Statistic.SPEARMAN, tables[0], tables[1] + 1)
