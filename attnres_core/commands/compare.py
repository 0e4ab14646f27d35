"""`compare`: two runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "two runs side by side, the verdicts that changed first"
DESCRIPTION = "Compare the JSON records of two runs: two checkpoints, or two steps of one training run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which two, and where a page goes."""
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar=f"{name.upper()}.json", help="such as reports/latest.json")
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help="also as a page; default: the terminal alone")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Print the comparison, and write its page."""
    from attnres_core.records.reading import one_line
    from attnres_core.report import comparison

    try:
        print(comparison.compare(arguments.first, arguments.second, arguments.out))
        if arguments.out is not None:
            print(f"\npage: {arguments.out}")
    except ValueError as error:
        root.error(one_line(error))
