"""`new`: a first file of claims."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

HELP = "write a first file of claims, with comments"
DESCRIPTION = (
    "Write a file of claims that runs as it stands, and whose comments say what to change. "
    "It needs no clone: `pytest FILE` decides it wherever this package is installed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where it goes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="such as test_my_claim.py; never overwritten")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the file and say how to go on."""
    from attnres_core.commands import starting

    try:
        starting.write_first_claims(arguments.file)
    except ValueError as error:
        root.error(str(error))
    print(f"{arguments.file} written; now: pytest {shlex.quote(str(arguments.file))}")
