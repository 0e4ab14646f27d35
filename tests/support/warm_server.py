"""A process that has imported what claims need, and forks for each command that a client asks for.

Started by `warm_processes`, with a listening socket as its standard input and the end of a pipe as its argument: the
pipe closes when the process of tests ends, and the server ends with it.

    client -> server -> keeper -> program
              forks     waits for the program, and tells the client how it ended; kills it when the client is gone

A program starts as `python -m module` would: environment, folder, `sys.path`, `sys.argv` and the three streams are its
own. Where that cannot be (see `fits`), it is replaced by a real process.
"""

import gc
import importlib
import importlib.machinery
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import vl_convert

HEAVY = (
    "torch",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.models.inkling2.modeling_inkling2",
    "scipy.stats",
    "pandas",
    "statsmodels.stats.multitest",
    "altair",
    "psutil",
    "attnres_core",
)
READ_AT_IMPORT = ("HF_", "LANG", "LC_", "MKL_", "OMP_", "PYTHON", "TORCH", "TRANSFORMERS_", "XDG_")
"""Beginnings of the names of variables that Python and libraries read when they are imported."""


def preload() -> None:
    """Import everything, but what pytest imports itself: its plugins, ours among them."""
    for name in HEAVY:
        importlib.import_module(name)
    ours = sys.modules["attnres_core"]
    for module in pkgutil.walk_packages(ours.__path__, "attnres_core."):
        if not module.name.startswith(("attnres_core.plugin", "attnres_core.__main__")):
            importlib.import_module(module.name)
    importlib.import_module("_pytest.config").get_config()
    # Two seconds of work whose result is always the same; made elsewhere, since its threads would not survive a fork
    bundled = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
    script = subprocess.run([sys.executable, "-c", bundled], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    vl_convert.javascript_bundle = script.stdout.decode
    # pytest warns of plugins' packages whose asserts it came too late to rewrite, unless they say that they need it not
    bring_plugins = [each for each in metadata.distributions() if each.entry_points.select(group="pytest11")]
    packages = {Path(file.parts[0]).stem for each in bring_plugins for file in each.files or ()}
    for package in packages & sys.modules.keys():
        sys.modules[package].__doc__ = f"{sys.modules[package].__doc__} PYTEST_DONT_REWRITE"


def serve(listener: socket.socket, lifeline: int) -> tuple[dict, list[int]]:
    """Return, in a process of its own, each request that comes and its three streams."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the programs' affair
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no one to wait for them
    while True:
        ready, _, _ = select.select([listener, lifeline], [], [])
        if lifeline in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        request = json.loads(connection.makefile().readline())
        program = os.fork()
        if program == 0:
            connection.close()
            signal.signal(signal.SIGINT, interrupt)
            return request, streams
        keep(program, connection, streams)


def keep(program: int, connection: socket.socket, streams: list[int]) -> None:
    """Wait for a program's end and tell its client; end with it."""
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(program)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(program, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    if ended in ready:
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def fits(environment: dict[str, str], folder: str) -> bool:
    """Whether a real process would import what is imported here: the same copy of the library, by the same settings."""

    def read_at_import(variables: dict[str, str]) -> dict[str, str]:
        return {k: v for k, v in variables.items() if k.startswith(READ_AT_IMPORT) and k != "PYTHONPATH"}

    paths = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep), *SITE]
    ours = importlib.machinery.PathFinder.find_spec("attnres_core", paths)
    same = ours is not None and ours.origin == sys.modules["attnres_core"].__file__
    return same and read_at_import(environment) == read_at_import(dict(os.environ))


def become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Run `python ARGUMENTS`, which are `-m module ...`, in this process."""
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    if not fits(environment, folder):
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *SITE]
    sys.argv[:] = arguments[1:]
    tempfile.tempdir = None  # TMPDIR is the program's
    sys.path_importer_cache.clear()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    # What a real process finds after its folder and PYTHONPATH, an editable installation of the library among it
    bare = [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
    SITE = subprocess.run(bare, capture_output=True, text=True, check=True).stdout.splitlines()
    preload()
    gc.freeze()
    given, theirs = serve(socket.socket(fileno=os.dup(0)), int(sys.argv[1]))
    become(**given, streams=theirs)
