"""`prompts variants`: each text of a prompt file in four forms, so that a claim can be decided over each."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

DESCRIPTION = (
    "variants [FILE]: every text of a prompt file (default: the shipped set) as it is written, with its lines wrapped "
    "anew, in lower case and indented; one document each, for claims with `variants=True`."
)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the file, and tell how many texts have all four forms."""
    from attnres_core import prompt_making
    from attnres_core.prompts import load_prompts
    from attnres_core.shipped import reference_prompts, resolved

    if len(arguments.sources) > 1:
        root.error(f"`prompts variants` takes one prompt file; {len(arguments.sources)} were given")
    out = arguments.out or Path("variants.jsonl")
    try:
        prompts = load_prompts(arguments.sources[0] if arguments.sources else reference_prompts())
        tokenizer = Path(resolved(arguments.checkpoint or "tiny-open-block")) / "tokenizer.json"
        made = prompt_making.make_variants(prompts, tokenizer)
        written = prompt_making.write_prompts(made, out)
    except (ValueError, OSError) as error:
        root.error(str(error))
    print(f"{len(prompts):,} texts: {len(written):,} prompts of {len(written.documents):,} documents")
    if made.left_out:
        print(f"left out: {prompt_making.told(made.left_out)}")
    print(f"prompts: {out}\nnow: pytest --attnres-prompts={shlex.quote(str(out))}")
