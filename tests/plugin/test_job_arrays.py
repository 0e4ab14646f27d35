"""A job array: every job measures a part into a store of its own; joined, they decide what one run decides."""

import re
import shutil
import subprocess

import pytest
from support.small_suite import ONE, record_of

from attnres_core.__main__ import main
from attnres_core.commands import measure
from attnres_core.registration.ledger import READS, read_rows

MEASURED = re.compile(r"part (\S+): (\d+) bundles measured, (\d+) were in the store, (\d+) failed")


def told(result):
    """The last line's counts: measured, found, failed."""
    [counts] = MEASURED.findall(result.stdout.str())
    return tuple(map(int, counts[1:]))


def store(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["store", *map(str, arguments)])
    return ended.value.code


def decided(pytester):
    """What a run measured, and its verdicts with their numbers."""
    record = record_of(pytester)
    return record["run"]["bundles_measured"], [(c["node_id"], c["statements"]) for c in record["claims"]]


def test_parts_in_stores_of_their_own_joined_decide_what_one_run_decides(suite, pytester):
    def part(number):
        return suite(f"--attnres-shard={number}/2", f"--attnres-store=part-{number}", "-n", "0")

    first, second = part(1), part(2)
    assert (first.ret, second.ret) == (0, 0)
    second.stdout.fnmatch_lines(["*1 claims choose families by what was measured; the run that decides*"])
    assert not (pytester.path / READS).exists()  # jobs on other machines would write to it at once
    measured = told(second)[0]
    assert told(first)[0] > 0 < measured
    for number in (1, 2):
        assert not list((pytester.path / f"part-{number}" / "locks").iterdir())  # not every file system has locks
        assert not list((pytester.path / f"part-{number}" / "runs").iterdir())
    [*_, folder] = sorted((pytester.path / "part-2" / "units").glob("*/*/"))
    shutil.rmtree(folder)  # as if the job had been killed, and begun again
    again, found, failed = told(part(2))
    assert 0 < again < measured
    assert found > 0
    assert failed == 0

    assert store("merge", *(pytester.path / f"part-{k}" for k in (1, 2)), "--store", pytester.path / "joined") == 0
    [note] = read_rows(pytester.path / "joined")
    assert [note] == read_rows(pytester.path / "part-1") == read_rows(pytester.path / "part-2")
    suite("-n", "0", "--attnres-store=joined")
    assert read_rows(pytester.path) == [note]
    assert not (pytester.path / "joined" / READS).exists()
    left, verdicts = decided(pytester)
    suite("-n", "0", "--attnres-store=alone")
    assert left == 0
    assert verdicts == decided(pytester)[1]


AS_IF_ON_CUDA = """
import torch
from attnres_core.engine import resources
from attnres_core.engine.worker import Worker

resources.cuda_devices = lambda: 1
torch.cuda.mem_get_info = lambda device: (2**40, 2**40)

def on_the_cpu(self, checkpoints, resources, device):
    real(self, checkpoints, resources, "cpu")

real = Worker.__init__
Worker.__init__ = on_the_cpu
"""


def test_a_machine_without_a_gpu_judges_what_jobs_measured_on_theirs(suite, pytester):
    assert told(suite("--attnres-shard=1/1", "-n", "0", claims=ONE, conftest=AS_IF_ON_CUDA))[0] > 0
    (pytester.path / "conftest.py").unlink()
    refused = suite("-n", "0", claims=ONE)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*.attnres was measured on GPUs, and none is here: give --attnres-device cuda to *"])
    judged = suite("-n", "0", "--attnres-device=cuda", claims=ONE)
    judged.stdout.fnmatch_lines(["*device: cuda, float32, and no CUDA device is here: what the store holds is judged*"])
    assert judged.ret == 0
    assert decided(pytester)[0] == 0
    lacking = suite("-n", "0", "--attnres-device=cuda", claims=ONE.replace("MLP", "ATTN"))
    assert lacking.ret == pytest.ExitCode.USAGE_ERROR
    lacking.stderr.fnmatch_lines(
        ["*no CUDA device * run this where there is one, or on the CPU: --attnres-device cpu*"]
    )


BREAKS = """
from attnres_core.engine.worker import Worker

def measure(self, bundle, missing):
    raise ValueError("it broke")

Worker.measure = measure
"""


def test_a_bundle_that_fails_is_named_and_the_exit_status_tells(suite, pytester):
    pytester.makeconftest(BREAKS)
    result = suite("--attnres-shard=1/1", "-n", "0", claims=ONE)
    assert result.ret == 1
    assert told(result)[2] > 0
    result.stdout.fnmatch_lines(["*attnres: measuring * failed: ValueError: it broke"])


def test_workers_are_refused(suite):
    result = suite("--attnres-shard=1/2", "-n", "2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--attnres-shard needs one process: add -n 0*"])


def test_the_command_takes_its_own_options_on_either_side_of_the_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ran = []

    def noted(command, check):
        ran.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(measure.subprocess, "run", noted)
    before = ["--shard", "2/5", "--store", "mine", "a.py", "-k", "x"]
    between = ["a.py", "--shard", "2/5", "-k", "x", "--store=mine"]
    for given in (before, between):
        with pytest.raises(SystemExit) as ended:
            main(["measure", *given])
        assert ended.value.code == 3
    assert ran[0] == ran[1]
    assert ran[0][-5:] == ["--attnres-shard=2/5", "--attnres-store=mine", "a.py", "-k", "x"]


def test_a_part_needs_a_store_of_its_own(capsys):
    for command in (["measure", "a.py"], ["recipe", "run", "--checkpoints", "a-model"]):
        with pytest.raises(SystemExit):
            main([*command, "--shard", "2/5"])
        assert "--shard 2/5 needs a store of its own, such as --store stores/2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["store", "list", "--no-such"])
    assert "unrecognized arguments: --no-such" in capsys.readouterr().err
