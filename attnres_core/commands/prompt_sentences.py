"""`prompts sentences`: pairs of sentences, good and bad, by grammar phenomenon, for any checkpoint's tokenizer."""

from __future__ import annotations

import argparse

from attnres_core.commands import prompt_making_options, prompt_pairs

HELP = "pairs of a good and a bad sentence, for any checkpoint's tokenizer"
DESCRIPTION = (
    "Make pairs of a good sentence and a bad one, a file for each of five phenomena of grammar (anaphor, quantifiers, "
    "determiner, binding, islands), from templates and a seed. No model is asked."
)
EXPLORATION, CONFIRMATION = 128, 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tokenizer, and how many pairs."""
    prompt_making_options.add_arguments(parser, out="fixtures/prompts")
    prompt_pairs.add_counts(parser, EXPLORATION, CONFIRMATION)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files, and tell of each."""
    from attnres_core.training import sentences

    counts = prompt_pairs.asked(arguments, root, sentences.LEAST)
    command = f"python -m attnres_core prompts sentences --checkpoint {arguments.checkpoint}"
    try:
        tokenizer = prompt_making_options.tokenizer_of(arguments.checkpoint)
        for line in sentences.main(tokenizer, arguments.out, command, *counts):
            print(line)
    except (ValueError, OSError) as error:
        root.error(str(error))
