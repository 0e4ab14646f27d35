"""`python -m attnres_core`: what is done outside pytest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from attnres_core.commands import COMMANDS
from attnres_core.commands.command import add_commands

STATUSES = (
    "Exit status: 0 done; 1 what was looked for is there, or a part failed: runs that differ (compare --fail-on), "
    "damaged files (store verify, store merge), a bundle that failed (measure), a checkpoint that could not be decided "
    "(recipe run); 2 it cannot be done, and stderr says why. `plan` and `measure` have pytest's."
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m attnres_core", description=__doc__, epilog=STATUSES)
    add_commands(root, COMMANDS, "command")
    return root


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    root = parser()
    given = sys.argv[1:] if argv is None else list(argv)
    arguments, for_pytest = root.parse_known_args(given, argparse.Namespace(given=given))
    if for_pytest and not hasattr(arguments, "for_pytest"):
        root.error(f"unrecognized arguments: {' '.join(for_pytest)}")
    arguments.for_pytest = for_pytest
    COMMANDS[arguments.command].run(arguments, root)


if __name__ == "__main__":
    main()
