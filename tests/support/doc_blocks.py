"""Blocks of code in a page of docs/, and whether what a command printed is what the page says.

With ATTNRES_REWRITE_DOCS=1 a line that is not in the output is replaced, in the page, by the likest line that is: look
at the difference before you commit it.
"""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[+-]?\d+\.\d+")
HIDDEN = ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "GITHUB_STEP_SUMMARY")


def words(line):
    """A line without its numbers and its spacing."""
    return " ".join(NUMBER.sub("#", line).split())


def printed(line, output):
    """Whether a line stands in an output, its numbers within a hundredth (another machine rounds otherwise)."""
    numbers = [float(each) for each in NUMBER.findall(line)]
    for other in output.splitlines():
        if words(other) == words(line):
            found = [float(each) for each in NUMBER.findall(other)]
            if found == pytest.approx(numbers, rel=0.01, abs=1e-3):
                return True
    return False


def hold(page, text, output):
    """Hold a block of a page against what its commands printed, line by line."""
    for line in filter(str.strip, text.splitlines()):
        if printed(line, output):
            continue
        if not os.environ.get("ATTNRES_REWRITE_DOCS"):
            pytest.fail(f"{page.name}: {line}\n\nis not in\n\n{output}")
        likest = difflib.get_close_matches(line, output.splitlines(), n=1, cutoff=0)[0]
        page.write_text(page.read_text().replace(f"\n{line}\n", f"\n{likest.rstrip()}\n", 1))


def shell(command, folder):
    """Run a block of commands as a reader does, in a terminal of 80 columns; its exit status and all it printed."""
    env = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    env |= {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
