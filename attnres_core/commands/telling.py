"""The arguments of every command that tells of one run in a text: which run, and where the text goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which run, and where it goes."""
    parser.add_argument("record", type=Path, metavar="REPORT.json", help="a run's record, such as reports/latest.json")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="where it goes (default: printed)")


def tell(text: Callable[[], str], out: Path | None, root: argparse.ArgumentParser) -> None:
    """Print a text, or write it to `out`; a ValueError of either goes to `root.error`."""
    from attnres_core.files import writing
    from attnres_core.records.reading import one_line

    try:
        made = text()
        if out is None:
            sys.stdout.write(made)
        else:
            with writing(out):
                out.write_text(made, encoding="utf-8")
    except ValueError as error:
        root.error(one_line(error))
