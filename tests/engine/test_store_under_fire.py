"""The store when things really go wrong: killed workers, full disks, read-only folders, two suites at once.

Nothing here is simulated: processes are killed with SIGKILL, file systems are full or read-only.
"""

import contextlib
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from support.fire import LOGGING, command, held, written
from support.small_suite import CLAIMS, verdicts

from attnres_core.engine.store import Store

pytestmark = pytest.mark.usefixtures("_quiet")


def test_killing_a_sweep_loses_the_bundle_in_flight_and_nothing_is_measured_twice(pytester, micro):
    """SIGKILL to the whole process group in mid-sweep, twice; then a run to the end."""
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeconftest(LOGGING)
    store, before = pytester.path / ".attnres", 0
    for _ in range(2):
        process = subprocess.Popen(command(micro, "-n", "2"), start_new_session=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(held(store)) <= before and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left = held(store)
        assert len(left) > before, "nothing was measured before the kill"
        before = len(left)
    pytester.run(*command(micro, "-n", "2"))
    assert left <= held(store)
    assert written(pytester).keys() <= held(store)
    assert set(written(pytester).values()) == {1}
    assert {entry["verdict"] for entry in verdicts(pytester).values()} >= {"SUPPORTED", "REFUTED"}

    before = written(pytester)
    pytester.run(*command(micro, "-n", "0"))
    assert written(pytester) == before  # all there: nothing written


@pytest.mark.parametrize("more", [[], ["--deselect", "test_claims.py::test_supported"]], ids=["same", "other claims"])
def test_two_suites_at_once_on_one_store_measure_each_unit_once(pytester, micro, more):
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeconftest(LOGGING)
    running = [
        subprocess.Popen(command(micro, "-n", "2", f"--attnres-report=r{k}/r.html", *own), stdout=subprocess.DEVNULL)
        for k, own in enumerate([[], more])
    ]
    assert {process.wait(timeout=300) for process in running} == {1}  # findings, in both
    assert set(written(pytester)) == held(pytester.path / ".attnres")
    assert set(written(pytester).values()) == {1}
    one, other = (verdicts(pytester, f"r{k}/r.json") for k in range(2))
    assert {name: one[name] for name in other} == other


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_is_a_clear_error_and_the_store_stays_valid(pytester, micro, small_disk, workers):
    pytester.makepyfile(test_claims=CLAIMS)
    result = pytester.run(*command(micro, "-n", workers, f"--attnres-store={small_disk / 'store'}"))
    output = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert "cannot be written ([Errno 28] No space left on device" in output
    assert "free some space, or give another with --attnres-store" in output
    assert "INTERNALERROR" not in output
    kept = held(small_disk / "store")  # every file that is there can be read in full
    assert kept
    assert not list((small_disk / "store/units").rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    pytester.run(*command(micro, "-n", workers, f"--attnres-store={small_disk / 'store'}"))
    assert kept <= held(small_disk / "store")
    assert {entry["verdict"] for entry in verdicts(pytester).values()} >= {"SUPPORTED", "REFUTED"}


def test_a_read_only_folder_is_a_clear_error(pytester, micro, small_disk):
    pytester.makepyfile(test_claims=CLAIMS)
    Store(small_disk / "store").add_units("m" * 32, "c", {"drop": {"delta_nll": np.ones(3)}})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = pytester.run(*command(micro, "-n", "0", f"--attnres-store={small_disk / 'store'}"))
    output = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Read-only file system" in output
    assert "free some space, or give another with --attnres-store" in output
    assert "INTERNALERROR" not in output
    assert len(held(small_disk / "store")) == 1
