"""What the commands that run pytest share: its arguments, and the claims where none are named."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.plugin.options import OPTIONS

_TAKE_VALUES = ("-n", "-p", "-k", "-m", "-c", "-o", "-W", "-r", "--junitxml", "--rootdir", "--confcutdir", "--basetemp")
"""Of pytest's own options those that a path or a word follows."""


def leave_to_pytest(parser: argparse.ArgumentParser, own: str = "") -> None:
    """Let a command take whatever pytest does, beside what it has of its `own`, as `arguments.for_pytest`."""
    parser.usage = f"{parser.prog} [-h] {own}[files of claims and options, as for pytest]"
    parser.epilog = "Without a file, it is hypotheses/, where there is such a folder."
    parser.set_defaults(for_pytest=[])


def with_claims(given: list[str]) -> list[str]:
    """What pytest is given, with `hypotheses/` where no file of claims is among it; an option's value is none."""
    takes_value = {f"--attnres-{option.name}" for option in OPTIONS if not option.flag} | set(_TAKE_VALUES)
    words = [word for before, word in zip(["", *given], given, strict=False) if before not in takes_value]
    files = [word for word in words if not word.startswith("-") and Path(word.split("::")[0]).exists()]
    return given if files or not Path("hypotheses").is_dir() else [*given, "hypotheses/"]
