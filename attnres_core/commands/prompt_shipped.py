"""`prompts structured`, `prompts docstrings`, `prompts unseen`: the shipped prompt sets, made again."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass

from attnres_core.commands import prompt_making_options

TOKENIZER = "tiny-open-block"
"""The shipped checkpoint whose tokenizer cuts docstrings."""


@dataclass(slots=True)
class ShippedSet:
    """One action: the module of `attnres_core.training` of which it is the command, and its words."""

    name: str
    module: str
    HELP: str
    DESCRIPTION: str
    any_tokenizer: bool = False
    """Made for any checkpoint's tokenizer."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add where it goes; and the checkpoint, where it can be made for any."""
        add = prompt_making_options.add_arguments if self.any_tokenizer else prompt_making_options.add_out
        add(parser, out="fixtures/prompts")

    def run(self, arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
        """Write the files."""
        making = importlib.import_module(f"attnres_core.training.{self.module}")
        try:
            tokenizer = prompt_making_options.tokenizer_of(arguments.checkpoint if self.any_tokenizer else TOKENIZER)
            making.main(tokenizer, arguments.out, f"python -m attnres_core prompts {self.name}")
        except ValueError as error:
            root.error(str(error))


STRUCTURED = ShippedSet(
    "structured",
    "structured",
    "prompts with answers and foils, for any checkpoint's tokenizer",
    "Make four kinds of prompts with answers and foils: induction, recall, closing and headers, 256 each, half to "
    "explore.",
    any_tokenizer=True,
)
DOCSTRINGS = ShippedSet(
    "docstrings",
    "prompts",
    "the shipped prompts, from documentation strings",
    "Make the shipped prompts again: 512, one from each of 512 held-out documents, half for exploration. "
    f"They are cut by the tokenizer of {TOKENIZER}.",
)
UNSEEN = ShippedSet(
    "unseen",
    "unseen",
    "documentation strings of packages that no reference checkpoint was trained on, and their variants",
    "Make the shipped sets `unseen` and `variants` again: 512 documentation strings of eight packages that no "
    f"reference checkpoint was trained on, half to explore. They are cut by the tokenizer of {TOKENIZER}.",
)
