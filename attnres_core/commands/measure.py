"""`measure`: what claims need is measured into a store, whole or a part of it, and nothing is decided."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from attnres_core.commands.for_pytest import leave_to_pytest, with_claims
from attnres_core.planning.shards import Shard

HELP = "measure what claims need, or the K-th of N parts of it, and decide nothing"
DESCRIPTION = (
    "Measure the bundles that claims need into a store, and stop. With --shard K/N the K-th of N parts, for a job "
    "array: every job has a store of its own, needs no lock and no other job, and can be started again: what its store "
    "holds is not measured again. Then `store merge` joins the stores, and pytest decides. Exit status 1 where a "
    "bundle failed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the part and its store; the rest is pytest's."""
    parser.add_argument("--shard", type=shard, default="1/1", metavar="K/N", help="the K-th of N parts (default: all)")
    told = "the store of this part; each of several parts needs one of its own (default: as pytest would, .attnres)"
    parser.add_argument("--store", type=Path, metavar="DIR", help=told)
    leave_to_pytest(parser, "[--shard K/N] [--store DIR] ")


def shard(text: str) -> Shard:
    """Read the value of `--shard`, for argparse."""
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: {error}") from None


def own_store(part: Shard, store: Path | None, root: argparse.ArgumentParser) -> None:
    """Refuse a part of several without a store of its own: parts take no locks."""
    if part.count > 1 and store is None:
        root.error(f"--shard {part} needs a store of its own, such as --store stores/{part.number}")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Run pytest in a process of its own, with its exit status."""
    part, given = arguments.shard, arguments.for_pytest
    own_store(part, arguments.store, root)
    store = [f"--attnres-store={arguments.store}"] if arguments.store else []
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--attnres-shard={part}", *store, *with_claims(given)]
    sys.exit(subprocess.run(command, check=False).returncode)
