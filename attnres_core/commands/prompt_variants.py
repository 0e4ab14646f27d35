"""`prompts variants`: each text of a prompt file in four forms, so that a claim can be decided over each."""

from __future__ import annotations

import argparse
import shlex

from attnres_core.commands import prompt_making_options

HELP = "each text of a prompt file in four forms, for claims with `variants=True`"
DESCRIPTION = (
    "Make four forms of each text of a prompt file: as it is written, with its lines wrapped anew, in lower case and "
    "indented; one document each, for claims with `variants=True`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the prompt file, the tokenizer and where it goes."""
    parser.add_argument("source", nargs="?", metavar="FILE", help="a prompt file (default: the shipped prompts)")
    prompt_making_options.add_arguments(parser, out="variants.jsonl")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the file, and tell how many texts have all four forms."""
    from attnres_core import prompt_making
    from attnres_core.prompts import load_prompts
    from attnres_core.shipped import reference_prompts

    try:
        prompts = load_prompts(arguments.source or reference_prompts())
        made = prompt_making.make_variants(prompts, prompt_making_options.tokenizer_of(arguments.checkpoint))
        written = prompt_making.write_prompts(made, arguments.out)
    except (ValueError, OSError) as error:
        root.error(str(error))
    print(f"{len(prompts):,} texts: {len(written):,} prompts of {len(written.documents):,} documents")
    if made.left_out:
        print(f"left out: {prompt_making.told(made.left_out)}")
    print(f"prompts: {arguments.out}\nnow: pytest --attnres-prompts={shlex.quote(str(arguments.out))}")
