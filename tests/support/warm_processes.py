"""Child processes of tests, without the eight seconds of CPU that each needs before it does what a test is about.

Six import torch, transformers, scipy and pandas, and two bundle the page's script. `warm` turns the command
`python -m module ...` into one that a server's fork carries out (see `warm_server`): the same arguments, folder,
environment, streams, exit code. `pytester` does so for every process it starts (conftest.py).

Real processes stay real where a test is about the process:

- what it imports and what that costs: test_cost, and tests marked `real_processes`
- signals to it and its terminal: test_running, test_store_under_fire
- another installation or copy of the library: test_outside, test_recipes
- commands as a shell finds them: test_docs
- xdist's workers, each of which pays for its imports: `-n 2` is for tests about workers

All forks of a server share one seed of string hashes, so a test that an order of sets would break needs real processes
or workers.
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attnres_core

HERE = Path(__file__).parent
ENVIRONMENT = dict(os.environ)
"""This process's, before tests change it."""


def warm(command: Sequence[str | Path]) -> list[str]:
    """Return a command that does what `python -m module ...` does; any other comes back as it is."""
    words = [os.fspath(word) for word in command]
    if words[0] != sys.executable or not words[1].startswith("-m") or not hasattr(os, "pidfd_open"):
        return words
    module = words[1:] if words[1] == "-m" else ["-m", words[1][2:], *words[2:]]
    return [sys.executable, "-I", "-S", str(HERE / "warm_client.py"), _server(), *module]


@cache
def _server() -> str:
    """Start this process's server; its address."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = str(folder / "socket")
    library = Path(attnres_core.__file__).parents[1]
    environment = ENVIRONMENT | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}
    end, lifeline = os.pipe()  # however this process ends, `lifeline` closes with it
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        command = [sys.executable, str(HERE / "warm_server.py"), str(end)]
        server = subprocess.Popen(command, stdin=listener, env=environment, pass_fds=[end])
    os.close(end)
    atexit.register(_stop, server, lifeline, folder)
    return address


def _stop(server: subprocess.Popen[bytes], lifeline: int, folder: Path) -> None:
    os.close(lifeline)
    server.wait()
    shutil.rmtree(folder)
