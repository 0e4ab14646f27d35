"""`plan`: the prompts that each claim needs."""

from __future__ import annotations

import argparse
import subprocess
import sys

from attnres_core.commands.for_pytest import leave_to_pytest, with_claims

HELP = "print the prompts that each claim needs"
DESCRIPTION = (
    "Measure the claims on the exploration split and print how many prompts would decide each with "
    "80 % power at its share of alpha. The confirmation split is not read."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Leave everything to pytest."""
    leave_to_pytest(parser)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Run pytest, with its exit status; in a process of its own, which sees this package before anything imports it."""
    command = [sys.executable, "-m", "pytest", "--attnres-plan", "-q", *with_claims(arguments.for_pytest)]
    sys.exit(subprocess.run(command, check=False).returncode)
