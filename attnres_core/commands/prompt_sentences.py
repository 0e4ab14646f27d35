"""`prompts sentences`: pairs of sentences, good and bad, by grammar phenomenon, for any checkpoint's tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.commands import prompt_pairs

DESCRIPTION = (
    "sentences: pairs of a good sentence and a bad one, a file for each of five phenomena of grammar (anaphor, "
    "quantifiers, determiner, binding, islands), from templates and a seed; no model is asked."
)
EXPLORATION, CONFIRMATION = 128, 256


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files, and tell of each."""
    from attnres_core.shipped import resolved
    from attnres_core.training import sentences

    name = arguments.checkpoint or "tiny-open-block"
    counts = prompt_pairs.asked(arguments, root, EXPLORATION, CONFIRMATION, sentences.LEAST)
    command = f"python -m attnres_core prompts sentences --checkpoint {name}"
    try:
        tokenizer = Path(resolved(name)) / "tokenizer.json"
        for line in sentences.main(tokenizer, arguments.out or Path("fixtures/prompts"), command, *counts):
            print(line)
    except (ValueError, OSError) as error:
        root.error(str(error))
