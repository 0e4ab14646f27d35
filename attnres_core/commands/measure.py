"""`measure`: what claims need is measured into a store, whole or a part of it, and nothing is decided."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from attnres_core.planning.shards import Shard

HELP = "measure what claims need, or the K-th of N parts of it, and decide nothing"
DESCRIPTION = (
    "Measure the bundles that claims need into a store, and stop. With --shard K/N the K-th of N parts, for a job "
    "array: every job has a store of its own, needs no lock and no other job, and can be started again: what its store "
    "holds is not measured again. Then `store merge` joins the stores, and pytest decides. Exit status 1 where a "
    "bundle failed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part, into which store; the rest is pytest's."""
    _add_own(parser)
    told = "files of claims and options, as for pytest (default: hypotheses/, where there is such a folder)"
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help=told)


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shard", type=_shard, default="1/1", metavar="K/N", help="the K-th of N parts (default: all)")
    told = "the store of this part (default: as pytest would, .attnres)"
    parser.add_argument("--store", type=Path, metavar="DIR", help=told)


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: {error}") from None


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Run pytest in a process of its own, with its exit status."""
    own = argparse.ArgumentParser(root.prog + " measure", add_help=False, allow_abbrev=False)
    _add_own(own)
    own.set_defaults(shard=arguments.shard, store=arguments.store)
    ours, given = own.parse_known_args(arguments.arguments)  # (they may stand behind the files, too)
    store = [f"--attnres-store={ours.store}"] if ours.store else []
    if not given and Path("hypotheses").is_dir():
        given = ["hypotheses/"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--attnres-shard={ours.shard}", *store, *given]
    sys.exit(subprocess.run(command, check=False).returncode)
