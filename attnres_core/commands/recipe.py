"""`recipe`: claims about a training recipe, checkpoints as units: registered, measured seed by seed, decided."""

from __future__ import annotations

import argparse

from attnres_core.commands import recipe_decide, recipe_register, recipe_run
from attnres_core.commands.command import Command, add_commands

HELP = "claims about a training recipe: register them, run them on every seed, decide them"
DESCRIPTION = "Claims about a training recipe, with five or more seeds as units. Each action has a --help of its own."
ACTIONS: dict[str, Command] = {"register": recipe_register, "run": recipe_run, "decide": recipe_decide}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An action, with its own arguments."""
    add_commands(parser, ACTIONS, "action")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Do it."""
    ACTIONS[arguments.action].run(arguments, root)
