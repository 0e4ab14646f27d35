"""`prompts pairs`: pairs of prompts that interchanges take from, for any checkpoint's tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.commands import prompt_making_options

HELP = "pairs that differ in a token and in their answer, for any checkpoint's tokenizer"
DESCRIPTION = (
    "Make six tasks whose prompts come in pairs that differ in a token and in their answer, each the other's donor. "
    "Exploration pairs are kept where the clean model solves them; tasks that it does not solve are left out."
)
EXPLORATION, CONFIRMATION = 96, 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many pairs, and which models must solve them."""
    prompt_making_options.add_arguments(parser, out="fixtures/prompts")
    told = "models that must solve exploration pairs, of one tokenizer (default: the one of --checkpoint)"
    parser.add_argument("--solved-by", nargs="+", metavar="CHECKPOINT", help=told)
    add_counts(parser, EXPLORATION, CONFIRMATION)


def add_counts(parser: argparse.ArgumentParser, exploration: int, confirmation: int) -> None:
    """Add how many pairs, with these defaults."""
    for name, purpose, count in (("exploration", "explore", exploration), ("confirmation", "confirm", confirmation)):
        told = f"pairs drawn to {purpose} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=int, metavar="N", default=count, help=told)


def asked(arguments: argparse.Namespace, root: argparse.ArgumentParser, least: int) -> tuple[int, int]:
    """How many pairs to explore and to confirm; fewer than `least` of either end the program."""
    explored, confirmed = arguments.exploration, arguments.confirmation
    if min(explored, confirmed) < least:
        root.error(f"--exploration {explored} --confirmation {confirmed}: give {least} pairs at least of each")
    return explored, confirmed


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files, and tell how many pairs of each task stay."""
    from attnres_core.shipped import resolved
    from attnres_core.training import pairs

    names = arguments.solved_by or [arguments.checkpoint]
    counts = asked(arguments, root, pairs.LEAST)
    command = f"python -m attnres_core prompts pairs --solved-by {' '.join(names)}"
    try:
        folders = [Path(resolved(name)) for name in names]
        for line in pairs.main(folders, arguments.out, command, *counts):
            print(line)
    except (ValueError, OSError) as error:
        root.error(str(error))
