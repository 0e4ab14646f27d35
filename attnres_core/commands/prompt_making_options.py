"""The arguments of every command that makes prompts: whose tokenizer they are made for, and where they go."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the checkpoint, and `out`, where the prompts go by default."""
    told = "whose tokenizer prompts are made for: folder or shipped name (default: %(default)s)"
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", default="tiny-open-block", help=told)
    add_out(parser, out)


def add_out(parser: argparse.ArgumentParser, out: str) -> None:
    """Add where the prompts go."""
    parser.add_argument("-o", "--out", type=Path, default=Path(out), help="where they go (default: %(default)s)")


def tokenizer_of(checkpoint: str) -> Path:
    """The tokenizer file of a folder or a shipped checkpoint.

    Raises:
        ValueError: neither.
    """
    from attnres_core.shipped import resolved

    return Path(resolved(checkpoint)) / "tokenizer.json"
