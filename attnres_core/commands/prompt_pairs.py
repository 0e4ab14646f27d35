"""`prompts pairs`: pairs of prompts that interchanges take from, for any checkpoint's tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = (
    "pairs: six tasks whose prompts come in pairs that differ in a token and in their answer, each the other's donor; "
    "exploration pairs are kept where the clean model solves them, and tasks that it does not solve are left out."
)

EXPLORATION, CONFIRMATION = 96, 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many pairs, and which models must solve them."""
    own = parser.add_argument_group("with `pairs` and `sentences`")
    told = "with `pairs`: models that must solve exploration pairs, of one tokenizer (default: the one of --checkpoint)"
    own.add_argument("--solved-by", nargs="+", metavar="CHECKPOINT", help=told)
    told = "pairs drawn to explore (default: 96, of sentences 128)"
    own.add_argument("--exploration", type=int, metavar="N", help=told)
    own.add_argument("--confirmation", type=int, metavar="N", help="pairs drawn to confirm (default: 256)")


def asked(
    arguments: argparse.Namespace, root: argparse.ArgumentParser, exploration: int, confirmation: int, least: int
) -> tuple[int, int]:
    """How many pairs to explore and to confirm: as given, or these; fewer than `least` of either end the program."""
    given = arguments.exploration, arguments.confirmation
    explored, confirmed = (
        own if count is None else count for count, own in zip(given, (exploration, confirmation), strict=True)
    )
    if min(explored, confirmed) < least:
        root.error(f"--exploration {explored} --confirmation {confirmed}: give {least} pairs at least of each")
    return explored, confirmed


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files, and tell how many pairs of each task stay."""
    from attnres_core.shipped import resolved
    from attnres_core.training import pairs

    names = arguments.solved_by or [arguments.checkpoint or "tiny-open-block"]
    counts = asked(arguments, root, EXPLORATION, CONFIRMATION, pairs.LEAST)
    command = f"python -m attnres_core prompts pairs --solved-by {' '.join(names)}"
    try:
        folders = [Path(resolved(name)) for name in names]
        for line in pairs.main(folders, arguments.out or Path("fixtures/prompts"), command, *counts):
            print(line)
    except (ValueError, OSError) as error:
        root.error(str(error))
