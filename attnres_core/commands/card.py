"""`card`: a run's replication card."""

from __future__ import annotations

import argparse

from attnres_core.commands import telling

HELP = "a run's replication card, in Markdown or LaTeX"
DESCRIPTION = (
    "Write the claims, verdicts, effects, intervals, method, digests, command and citation of a run as "
    "a short Markdown page, for a paper's appendix or a model card; or its claims as a LaTeX table."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which run, which of its claims, in which format, and where it goes."""
    telling.add_arguments(parser)
    told = "show claims with this in their key or title alone (default: all)"
    parser.add_argument("-k", "--only", default="", metavar="TEXT", help=told)
    told = "markdown, the whole card, or latex, a booktabs table of the claims (default: %(default)s)"
    parser.add_argument("--format", choices=("markdown", "latex"), default="markdown", help=told)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the card."""
    from attnres_core.report.card import write_card
    from attnres_core.report.latex import write_latex

    write = write_latex if arguments.format == "latex" else write_card
    telling.tell(lambda: write(arguments.record, arguments.only), arguments.out, root)
