"""`prompts`: the shipped prompt sets, made again."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make the shipped prompt sets"
DESCRIPTION = (
    "docstrings: 512 prompts, one from each of 512 held-out documents, half for exploration. "
    "structured: induction, recall, closing and headers, 256 prompts each with answers and foils, half so."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which sets, for which tokenizer."""
    parser.add_argument("which", nargs="?", choices=("docstrings", "structured"), default="docstrings")
    parser.add_argument("--checkpoint", help="whose tokenizer structured prompts are for (default: tiny-open-block)")
    parser.add_argument("--out", type=Path, default=Path("fixtures/prompts"), help="default: %(default)s")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files."""
    from attnres_core.references import reference
    from attnres_core.training import prompts, structured

    folder = Path(arguments.checkpoint) if arguments.checkpoint else reference("tiny-open-block")
    make = structured.main if arguments.which == "structured" else prompts.main
    try:
        make(folder / "tokenizer.json", arguments.out, f"python -m attnres_core prompts {arguments.which}")
    except ValueError as error:
        root.error(str(error))
