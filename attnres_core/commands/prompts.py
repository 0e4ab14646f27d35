"""`prompts`: the shipped prompt sets, made again."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.commands import prompt_pairs

HELP = "make the shipped prompt sets"
DESCRIPTION = (
    "docstrings: 512 prompts, one from each of 512 held-out documents, half for exploration. "
    "structured: induction, recall, closing and headers, 256 prompts each with answers and foils, half so. "
    f"{prompt_pairs.DESCRIPTION}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which sets, for which tokenizer."""
    parser.add_argument("which", nargs="?", choices=("docstrings", "structured", "pairs"), default="docstrings")
    told = "whose tokenizer structured prompts are for: folder or shipped name (default: tiny-open-block)"
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", help=told)
    parser.add_argument("--out", type=Path, default=Path("fixtures/prompts"), help="default: %(default)s")
    prompt_pairs.add_arguments(parser)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files."""
    if arguments.which == "pairs":
        prompt_pairs.run(arguments, root)
        return
    from attnres_core.shipped import resolved
    from attnres_core.training import prompts, structured

    if arguments.checkpoint and arguments.which == "docstrings":
        root.error("--checkpoint is for structured prompts; docstrings are cut by the tokenizer of tiny-open-block")
    make = structured.main if arguments.which == "structured" else prompts.main
    try:
        tokenizer = Path(resolved(arguments.checkpoint or "tiny-open-block")) / "tokenizer.json"
        make(tokenizer, arguments.out, f"python -m attnres_core prompts {arguments.which}")
    except ValueError as error:
        root.error(str(error))
