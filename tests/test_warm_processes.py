"""A process forked for a test is to itself and to others what a real one is, but for what it has imported."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.warm_processes import warm

PROBE = """
import json, os, signal, sys, tempfile, threading
import attnres_core

print(json.dumps({
    "argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ), "path": sys.path,
    "read": sys.stdin.read(), "temporary": tempfile.gettempdir(), "library": attnres_core.__file__,
    "name": __name__, "module": __spec__.name, "main": sys.modules["__main__"].__dict__ is globals(),
    "interrupt": repr(signal.getsignal(signal.SIGINT)),
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "group": os.getpgid(0), "threads": threading.active_count(),
    "streams": [[s.encoding, s.errors, s.line_buffering, s.isatty()] for s in (sys.stdin, sys.stdout, sys.stderr)],
}))
print("told", file=sys.stderr)
"""
INTERRUPTIBLE = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
TORCH = "import sys; print('torch' in sys.modules)"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module; the command that runs it in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def written(code, *arguments):
        (tmp_path / "probe.py").write_text(code)
        return [sys.executable, "-m", "probe", *arguments]

    return written


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_warm_process_finds_what_a_real_one_finds(module, tmp_path):
    command = module(PROBE, "-k", "a b", "ä")
    environment = {**os.environ, "MINE": "1\n2", "TMPDIR": str(tmp_path)}
    real, forked = (run(each, input="given", env=environment) for each in (command, warm(command)))
    assert json.loads(forked.stdout) == json.loads(real.stdout)
    assert json.loads(real.stdout)["read"] == "given"
    assert (forked.stderr, forked.returncode) == (real.stderr, real.returncode) == ("told\n", 0)


def test_it_has_imported_torch_and_a_real_one_has_not(module):
    command = module(TORCH)
    assert (run(command).stdout, run(warm(command)).stdout) == ("False\n", "True\n")


@pytest.mark.parametrize("change", [{"OMP_NUM_THREADS": "2"}, {"PYTHONUTF8": "1"}, {"HF_HOME": "elsewhere"}])
def test_settings_that_are_read_at_import_make_a_real_process(module, change):
    assert run(warm(module(TORCH)), env=os.environ | change).stdout == "False\n"


def test_another_copy_of_the_library_makes_a_real_process(module, tmp_path):
    command = module("import attnres_core; print(attnres_core.__file__)")
    (tmp_path / "attnres_core.py").touch()
    assert run(warm(command)).stdout == f"{tmp_path / 'attnres_core.py'}\n"


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os; os._exit(9)", 9),
        ("raise ValueError('broken')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        (f"{INTERRUPTIBLE}os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import atexit; atexit.register(print, 'last words')", 0),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()", 0),
    ],
)
def test_it_ends_as_a_real_one(module, code, ending):
    command = module(code)
    real, forked = run(command), run(warm(command))
    assert (forked.returncode, forked.stdout) == (real.returncode, real.stdout)
    assert real.returncode == ending
    assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_it_ends_with_who_asked_for_it(module, tmp_path):
    beat = tmp_path / "beat"
    code = (
        "import pathlib, time\nwhile True:\n    pathlib.Path('beat').write_text(str(time.time()))\n    time.sleep(0.01)"
    )
    client = subprocess.Popen(warm(module(code)))
    while not beat.exists():
        time.sleep(0.01)
    client.kill()
    client.wait()
    time.sleep(0.5)
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


def test_other_commands_come_back_as_they_are():
    for command in (["git", "status"], [sys.executable, "-c", "pass"]):
        assert warm(command) == command
