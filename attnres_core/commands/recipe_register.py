"""`recipe register`: fix the claims, recipes and seeds before a seed is measured."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "register claims about training recipes, before their seeds are measured"
DESCRIPTION = (
    "Write recipes.lock and recipes.ledger beside a claims.lock: which of its claims are claims about which recipes, "
    "and the seeds that decide them. Commit both before you measure a seed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the claims, the recipes and the seeds."""
    parser.add_argument("folder", type=Path, help="the folder that holds claims.lock, such as hypotheses")
    told = "claims with any of these in their keys, such as test_older_feeds_late_attention"
    parser.add_argument("--claims", nargs="+", required=True, metavar="TEXT", help=told)
    parser.add_argument(
        "--recipes", nargs="+", required=True, metavar="NAME", help="as `train` and manifests name them"
    )
    told = "the seeds to be trained; the reference checkpoint's and every seed seen so far are no such seeds"
    parser.add_argument("--seeds", nargs="+", type=_seed, required=True, metavar="SEED", help=told)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"`{text}` is no seed; give whole numbers from 0, such as 101 102 103")
    return int(text)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write both files."""
    from attnres_core.judging.recipe_registration import register
    from attnres_core.records.reading import one_line

    try:
        lock = register(arguments.folder, arguments.claims, arguments.recipes, arguments.seeds)
    except ValueError as error:
        root.error(one_line(error))
    rule = f"{lock.agreeing} of {len(lock.seeds)} seeds must agree, alpha {lock.alpha:.3g} each"
    print(f"registered {len(lock.claims)} claims about {', '.join(lock.recipes)}: {rule}; commit both files now")
