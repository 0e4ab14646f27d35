"""`python -m attnres_core store`: what a store holds is listed, verified and pruned, and nothing else is touched."""

import os
import time

import numpy as np
import pytest

from attnres_core.__main__ import main
from attnres_core.engine import store_maintenance
from attnres_core.engine.store import Store
from attnres_core.planning.material import NUMERICS_VERSION

NOW, BEFORE = (
    f"tiny abc (trained), cpu float32, numerics {NUMERICS_VERSION}",
    "tiny abc (trained), cpu float32, numerics 0",
)


def unit(value=1.0):
    return {"delta_nll": np.full(3, value)}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    made.add_units("a" * 32, "first", {"drop": unit(), "routing": unit()}, NOW)
    made.add_units("a" * 32, "second", {"drop": unit()}, NOW)
    made.add_units("b" * 32, "first", {"drop": unit()}, BEFORE)
    made.add_units("c" * 32, "first", {"drop": unit()})  # by a version that wrote nothing about it
    made.add_judged("key", {"verdict": "SUPPORTED"})
    return made


def files(store):
    return {str(file.relative_to(store.root)) for file in store.root.rglob("*") if file.is_file()}


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["store", *map(str, arguments)])
    return ended.value.code, capsys.readouterr()


def test_list_says_what_there_is(store, capsys):
    code, output = run(capsys, "list", "--store", store.root)
    assert code == 0
    lines = output.out.splitlines()
    assert "3 models" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        f"cccccccccccc  {store_maintenance.UNKNOWN}",
        f"bbbbbbbbbbbb  {BEFORE}",
        f"aaaaaaaaaaaa  {NOW}",
    ]
    assert "2 chunks of prompts, 2 interventions" in lines[3]
    assert ["another numerics version" in line for line in lines[1:]] == [True, True, False]


def test_verify_sets_damaged_files_aside_and_says_so(store, capsys):
    assert run(capsys, "verify", "--store", store.root)[0] == 0
    file = next((store.root / "units" / ("a" * 32) / "second").iterdir())
    file.write_bytes(file.read_bytes()[:-7])
    (store.root / "judged/key.json").write_text("{}")
    code, output = run(capsys, "verify", "--store", store.root)
    assert code == 1
    assert output.out.count("damaged, set aside") == 2
    assert "3 files of units, 0 decisions and 0 searches are whole" in output.out
    assert run(capsys, "verify", "--store", store.root)[0] == 0  # what is aside is no part of it


def test_prune_removes_what_no_run_can_read_and_keeps_decisions(store, capsys):
    for numerics in (store_maintenance.NUMERICS_VERSION, store_maintenance.NUMERICS_VERSION - 1):
        store.add_search(f"{'a' * 32}-{numerics}", "search", {})
    (store.root / "runs/old").mkdir()
    long_ago = time.time() - store_maintenance.RECENT - 1
    os.utime(store.root / "runs/old", (long_ago, long_ago))
    (store.root / "locks/bundle-x.lock").touch()
    (store.root / f"units/{'a' * 32}/first/.x.safetensors.0.tmp").touch()
    before = files(store)
    code, output = run(capsys, "prune", "--store", store.root, "--dry-run")
    assert (code, files(store)) == (0, before)
    assert output.out.splitlines()[-2:] == [
        "would go: searches of another numerics version on 1 checkpoints",
        "would go: 3 leftovers of earlier runs",
    ]
    run(capsys, "prune", "--store", store.root)
    assert {file.split("/")[1] for file in files(store) if file.startswith("units")} == {"a" * 32}
    assert "judged/key.json" in files(store)
    assert not any(file.endswith((".tmp", ".lock")) for file in files(store))
    assert run(capsys, "prune", "--store", store.root)[1].out == "nothing to remove\n"
    run(capsys, "prune", "aaaa", "--store", store.root)
    assert files(store) == {"judged/key.json", f"searches/{'a' * 32}-{store_maintenance.NUMERICS_VERSION}/search.json"}


def damage(store):
    """Break a file of units; returns where it goes once it is set aside."""
    file = next((store.root / "units" / ("a" * 32) / "second").iterdir())
    file.write_bytes(file.read_bytes()[:-7])
    return file.with_suffix(".damaged")


def test_list_names_what_it_sets_aside(store, capsys):
    aside = damage(store)
    code, output = run(capsys, "list", "--store", store.root)
    assert code == 0
    assert f"set aside as {aside.name}" in output.out.splitlines()[0]
    assert aside.is_file()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_prune_sets_nothing_aside(store, capsys, dry):
    aside, before = damage(store), files(store)
    code, output = run(capsys, "prune", "--store", store.root, *dry)
    assert code == 0
    assert "leftovers" not in output.out
    gone = set() if dry else {file for file in before if file.split("/")[1][0] in "bc"}
    assert files(store) == before - gone
    assert not aside.exists()


def test_prune_leaves_a_run_that_reports_without_a_lock(store, capsys):
    (store.root / "runs/now/done").mkdir(parents=True)
    long_ago = time.time() - store_maintenance.RECENT - 1
    os.utime(store.root / "runs/now", (long_ago, long_ago))  # (a bundle of it has just been counted)
    (store.root / "locks/chunk-x.lock").touch()
    run(capsys, "prune", "--store", store.root)
    assert (store.root / "runs/now/done").is_dir()
    assert (store.root / "locks/chunk-x.lock").is_file()


def test_prune_leaves_a_store_alone_while_a_run_uses_it(store, capsys):
    before = files(store)
    with store.held("slot-cpu-0"):
        code, output = run(capsys, "prune", "--store", store.root)
    assert code == 2
    assert "a run is under way (slot-cpu-0.lock is held)" in output.err
    assert before <= files(store)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "zzz"], "holds no model 'zzz'; `list` names them"),
        (["list", "aaa"], "KEY is for prune and merge, not for list"),
        (["list", "--store", "/no/such"], "/no/such: there is no such store"),
    ],
)
def test_what_makes_no_sense_is_refused(store, capsys, arguments, message):
    given = arguments if "--store" in arguments else [*arguments, "--store", store.root]
    code, output = run(capsys, *given)
    assert code == 2
    assert message in output.err


def test_merge_copies_what_is_lacking_and_leaves_out_what_is_of_another_version(store, tmp_path, capsys):
    other = Store(tmp_path / "other")
    other.add_units("a" * 32, "first", {"drop": unit(2.0), "keep": unit()}, NOW)  # `drop` is here: ours counts
    other.add_units("d" * 32, "first", {"drop": unit()}, NOW)
    other.add_units("b" * 32, "second", {"drop": unit()}, BEFORE)
    other.add_judged("key", {"verdict": "REFUTED"})
    other.add_judged("new", {"verdict": "INCONCLUSIVE"})
    other.add_search("subject", "one", {"found": 1})
    for line in (
        "2 units copied, 1 were here; 2 decisions and searches copied; 1 models of another numerics version left out",
        "0 units copied, 3 were here; 0 decisions and searches copied; 1 models of another numerics version left out",
    ):
        code, output = run(capsys, "merge", other.root, "--store", store.root)
        assert code == 0
        assert output.out == f"{other.root}: {line}\n"
    merged = Store(store.root)
    assert merged.units("a" * 32, "first")["drop"]["delta_nll"][0] == 1.0
    assert merged.units("a" * 32, "first").keys() == {"drop", "routing", "keep"}
    assert merged.units("d" * 32, "first").keys() == {"drop"}
    assert merged.units("b" * 32, "second") == {}
    assert (merged.judged("key"), merged.judged("new")) == ({"verdict": "SUPPORTED"}, {"verdict": "INCONCLUSIVE"})
    assert merged.searches("subject") == [{"found": 1}]


def test_merge_leaves_out_what_is_damaged_and_says_so(store, tmp_path, capsys):
    other = Store(tmp_path / "other")
    other.add_units("d" * 32, "first", {"drop": unit()}, NOW)
    [damaged] = other.root.rglob("*.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    code, output = run(capsys, "merge", other.root, "--store", store.root)
    assert code == 1
    assert f"{damaged} is damaged" in output.out
    assert Store(store.root).units("d" * 32, "first") == {}
    assert run(capsys, "verify", "--store", store.root)[0] == 0


def test_what_cannot_be_merged_is_refused(store, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for given, why in (
        ([], "merge needs the folders of the stores to copy from"),
        ([tmp_path / "empty"], "there is no such store"),
        ([tmp_path / "none"], "there is no such store"),
    ):
        code, output = run(capsys, "merge", *given, "--store", tmp_path / "joined")
        assert code == 2
        assert why in output.err
    assert "into itself" in run(capsys, "merge", store.root, "--store", store.root)[1].err
    assert not (tmp_path / "joined").exists()
