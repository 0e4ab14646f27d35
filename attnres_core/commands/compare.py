"""`compare`: two runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "two runs side by side, the verdicts that changed first"
DESCRIPTION = (
    "Compare the JSON records of two runs: two checkpoints, or two steps of one training run. The exit status is 0; "
    "with --fail-on it is 1 where the runs differ in what is named; 2 is an error."
)
FAILING = {"changed": ("changed",), "any": ("changed", "restated", "only first", "only second")}
"""What `--fail-on` takes, and the kinds of pairs that fail then."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two records, and where a page goes."""
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar=f"{name.upper()}.json", help="such as reports/latest.json")
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help="also as a page; default: the terminal alone")
    told = (
        "also test each effect's difference document by document: both runs must have read the same prompts, and their "
        ".columns.safetensors must lie beside the records"
    )
    parser.add_argument("--paired", action="store_true", help=told)
    told = "exit with 1 where a verdict changed, or where any claim differs (also restated, or in one run alone)"
    parser.add_argument("--fail-on", choices=tuple(FAILING), help=told)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Print the comparison, and write its page."""
    from attnres_core.records.reading import one_line
    from attnres_core.report import comparison

    try:
        given = (arguments.first, arguments.second, arguments.out)
        text, pairs = comparison.compare(*given, by_document=arguments.paired)
        print(text)
        if arguments.out is not None:
            print(f"\npage: {arguments.out}")
    except ValueError as error:
        root.error(one_line(error))
    if any(pair.kind in FAILING.get(arguments.fail_on, ()) for pair in pairs):
        raise SystemExit(1)
