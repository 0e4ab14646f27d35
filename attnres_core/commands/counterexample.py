"""`counterexample`: the smallest prompt on which a claim does not hold."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from attnres_core.commands import checkpoint

HELP = "search the smallest prompt on which a claim does not hold"
DESCRIPTION = (
    "Generate prompts, measure the claim's statements on each alone, and shrink one that violates "
    "them. Exploratory: a claim is about a mean, which one prompt does not refute. Prompts are excerpts of "
    "exploration prompts; --tokens or --matching takes others. Measured in float32, as rounding could turn a sign. "
    "What comes of it is kept in the store, and told with the claim in the reports of later runs on this checkpoint."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the claim, the checkpoint and the kind of prompts."""
    checkpoint.add_arguments(parser)
    told = "a claim, or a case of one, FILE.py::TEST[CASE]; collected as pytest does it, its imports are run"
    parser.add_argument("claim", metavar="FILE.py::TEST", help=told)
    parser.add_argument("--threshold", type=float, metavar="X", help="in place of the claim's own; 0: the wrong sign")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--tokens", action="store_true", help="any sequences of token ids")
    kind.add_argument("--matching", metavar="REGEX", help="texts that match a regular expression as a whole")
    parser.add_argument("--prompts", type=Path, help="JSONL file of prompts (default: the shipped docstrings)")
    parser.add_argument("--min-tokens", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--max-tokens", type=int, default=16, metavar="N", help="default: %(default)s")
    parser.add_argument("--candidates", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found as JSON")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Search, print what is found and keep it."""
    from attnres_core.claims.statements import ClaimError
    from attnres_core.quantities.intervention import NotApplicable

    try:
        _search(arguments)
    except (ValueError, OSError, ClaimError, NotApplicable) as error:
        root.error(str(error))


def _search(arguments: argparse.Namespace) -> None:
    """Do the work of `run`.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    from hypothesis import strategies

    import attnres_core as ac
    from attnres_core.engine.resources import cuda_devices
    from attnres_core.engine.store import Store
    from attnres_core.exploration import kept_searches
    from attnres_core.exploration.violations import stated
    from attnres_core.files import published_command, writing
    from attnres_core.plugin.one_claim import read_claim
    from attnres_core.prompts import Split
    from attnres_core.shipped import resolved

    statements = stated(read_claim(arguments.claim), arguments.threshold)
    store = Store(arguments.store)
    device = ("cuda" if cuda_devices() else "cpu") if arguments.device == "auto" else arguments.device
    read = (arguments.wrap, arguments.num_blocks, device)
    model = ac.load_model(resolved(arguments.checkpoint), *read, revision=arguments.revision, adapter=arguments.adapter)
    exploration = ac.load_prompts(arguments.prompts or ac.reference_prompts()).part(Split.EXPLORATION)
    lengths = {"min_tokens": arguments.min_tokens, "max_tokens": arguments.max_tokens}
    if arguments.matching is not None:
        try:
            pattern = re.compile(arguments.matching)
        except re.error as error:
            raise ValueError(f"--matching: {arguments.matching!r} is no regular expression ({error})") from None
        prompts = ac.texts(model, strategies.from_regex(pattern, fullmatch=True))
    elif arguments.tokens:
        prompts = ac.any_tokens(model, **lengths)
    else:
        prompts = ac.excerpts(model, exploration, **lengths)
    found = ac.search_counterexample(
        model,
        statements,
        prompts,
        candidates=arguments.candidates,
        seed=arguments.seed,
        reference=exploration,
    )
    print(found)
    command = published_command(["python", "-m", "attnres_core", *arguments.given])
    kept_searches.keep(store, found.as_json(), statements, command)
    if arguments.json is not None:
        with writing(arguments.json):
            arguments.json.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
