"""The commands of `python -m attnres_core`: a module each, of the command's name, with its arguments and its work.

`checkpoint` and `telling` are none: they hold what several commands share. `recipe_...` are the actions of `recipe`.
"""

from __future__ import annotations

import argparse
from typing import Protocol

from attnres_core.commands import (
    badge,
    card,
    compare,
    counterexample,
    fetch,
    map,
    measure,
    new,
    plan,
    prompts,
    recipe,
    store,
    train,
)


class Command(Protocol):
    """The names that each module of this package holds. Whatever is slow to import, `run` imports."""

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


COMMANDS: dict[str, Command] = {
    "train": train,
    "fetch": fetch,
    "prompts": prompts,
    "plan": plan,
    "new": new,
    "map": map,
    "measure": measure,
    "store": store,
    "compare": compare,
    "card": card,
    "badge": badge,
    "recipe": recipe,
    "counterexample": counterexample,
}
"""By name, in the order in which help lists them."""
