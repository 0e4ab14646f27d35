"""A command, or an action of one: the names that its module holds, and how a parser gets it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Protocol


class Command(Protocol):
    """The names that each module of a command holds. Whatever is slow to import, `run` imports."""

    HELP: str
    """A line among the other commands'."""
    DESCRIPTION: str
    """What heads its own help."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments to a parser of its own."""

    def run(self, arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
        """Do it; what was asked for and cannot be done goes to `root.error`.

        `arguments.given` is the command line as it was written.
        """


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, Command], what: str) -> None:
    """Add commands by name, of which the command line must name one; its name becomes the argument `what`."""
    parsers = parser.add_subparsers(dest=what, required=True, metavar=what.upper())
    for name, command in commands.items():
        command.add_arguments(parsers.add_parser(name, help=command.HELP, description=command.DESCRIPTION))
