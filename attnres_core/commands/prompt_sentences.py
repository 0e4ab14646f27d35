"""`prompts sentences`: pairs of sentences, good and bad, by grammar phenomenon, for any checkpoint's tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

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
    counts = (arguments.exploration or EXPLORATION, arguments.confirmation or CONFIRMATION)
    if min(counts) < sentences.LEAST:
        root.error(
            f"--exploration {counts[0]} --confirmation {counts[1]}: give {sentences.LEAST} pairs at least of each"
        )
    command = f"python -m attnres_core prompts sentences --checkpoint {name}"
    try:
        tokenizer = Path(resolved(name)) / "tokenizer.json"
        for line in sentences.main(tokenizer, arguments.out or Path("fixtures/prompts"), command, *counts):
            print(line)
    except (ValueError, OSError) as error:
        root.error(str(error))
