"""`badge`: a run as the JSON file of a badge."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "a run as a badge, for a README"
DESCRIPTION = (
    "Write the JSON file that a shields.io endpoint badge reads: how many claims are supported, refuted and "
    "inconclusive. It is red where a control failed or a verdict changed, yellow where the run confirms nothing."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which run, and where it goes."""
    parser.add_argument("record", type=Path, metavar="REPORT.json", help="a run's record, such as reports/latest.json")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="where it goes (default: printed)")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the badge."""
    from attnres_core.files import writing
    from attnres_core.records.reading import one_line, read_record
    from attnres_core.report.badge import badge

    try:
        text = json.dumps(badge(read_record(arguments.record))) + "\n"
        if arguments.out is None:
            sys.stdout.write(text)
        else:
            with writing(arguments.out):
                arguments.out.write_text(text, encoding="utf-8")
    except ValueError as error:
        root.error(one_line(error))
