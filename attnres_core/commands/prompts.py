"""`prompts`: a prompt file of one's own texts, pairs of prompts, or the shipped prompt sets, made again."""

from __future__ import annotations

import argparse

from attnres_core.commands import prompt_from, prompt_pairs, prompt_sentences, prompt_shipped, prompt_variants
from attnres_core.commands.command import Command, add_commands

HELP = "make a prompt file from texts or a data set, pairs of prompts, or the shipped prompt sets"
DESCRIPTION = "Make prompts. Each action has a --help of its own."
ACTIONS: dict[str, Command] = {
    "from": prompt_from,
    "variants": prompt_variants,
    "pairs": prompt_pairs,
    "sentences": prompt_sentences,
    "structured": prompt_shipped.STRUCTURED,
    "docstrings": prompt_shipped.DOCSTRINGS,
    "unseen": prompt_shipped.UNSEEN,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An action, with its own arguments."""
    add_commands(parser, ACTIONS, "action")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Do it."""
    ACTIONS[arguments.action].run(arguments, root)
