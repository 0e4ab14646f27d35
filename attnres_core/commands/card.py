"""`card`: a run's replication card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "a run's replication card, in Markdown or LaTeX"
DESCRIPTION = (
    "Write the claims, verdicts, effects, intervals, method, digests, command and citation of a run as "
    "a short Markdown page, for a paper's appendix or a model card; or its claims as a LaTeX table."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which run, and where it goes."""
    parser.add_argument("record", type=Path, metavar="REPORT.json", help="a run's record, such as reports/latest.json")
    told = "show claims with this in their key or title alone (default: all)"
    parser.add_argument("-k", "--only", default="", metavar="TEXT", help=told)
    told = "markdown, the whole card, or latex, a booktabs table of the claims (default: %(default)s)"
    parser.add_argument("--format", choices=("markdown", "latex"), default="markdown", help=told)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="where it goes (default: printed)")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the card."""
    from attnres_core.files import writing
    from attnres_core.records.reading import one_line
    from attnres_core.report.card import write_card
    from attnres_core.report.latex import write_latex

    try:
        write = write_latex if arguments.format == "latex" else write_card
        page = write(arguments.record, arguments.only)
        if arguments.out is None:
            sys.stdout.write(page)
        else:
            with writing(arguments.out):
                arguments.out.write_text(page, encoding="utf-8")
    except ValueError as error:
        root.error(one_line(error))
