"""`plan`: the prompts that each claim needs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HELP = "print the prompts that each claim needs"
DESCRIPTION = (
    "Measure the claims on the exploration split and print how many prompts would decide each with "
    "80 % power at its share of alpha. The confirmation split is not read."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whatever pytest takes."""
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="as for pytest (default: hypotheses/, where there is such a folder)",
    )


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Run pytest, with its exit status; in a process of its own, which sees this package before anything imports it."""
    given = arguments.arguments or (["hypotheses/"] if Path("hypotheses").is_dir() else [])
    command = [sys.executable, "-m", "pytest", "--attnres-plan", "-q", *given]
    sys.exit(subprocess.run(command, check=False).returncode)
