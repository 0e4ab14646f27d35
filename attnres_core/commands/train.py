"""`train`: the reference checkpoints, from scratch."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

HELP = "train the reference checkpoints from scratch (about 20 minutes each on 2 free cores)"
DESCRIPTION = (
    "Train tiny-open-block, tiny-vanilla and tiny-kimi-block on the docstrings of the installed "
    "packages: same tokens, same order, same seed. tiny-nanogpt (the published BabyLM models' shape, in small) and "
    "tiny-hyper-connections (parallel streams) read the first of these tokens. Stopped runs resume from --scratch."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoints, their recipe and the device."""
    names, others = ("tiny-open-block", "tiny-vanilla", "tiny-kimi-block"), ("tiny-nanogpt", "tiny-hyper-connections")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which (default: {', '.join(names)}; also {', '.join(others)})"
    )
    parser.add_argument("--out", type=Path, default=Path("fixtures/checkpoints"), help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, default=Path("training-runs"), help="default: %(default)s")
    parser.add_argument("--steps", type=int, help="default: 4000 (8.2 M tokens); 1000 and 1500 for these two")
    parser.add_argument("--seed", type=int, default=20261122, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        help="of matrix products; default: bfloat16, float32 for tiny-hyper-connections",
    )
    parser.add_argument(
        "--keep",
        type=int,
        nargs="*",
        default=[],
        metavar="STEP",
        help="also keep these steps, as OUT/NAME/checkpoint-STEP",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile: a minute or two first, then faster")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Train them one after the other."""
    import torch

    from attnres_core.training import train

    known = (*train.NAMES, *train.RECIPES)
    if unknown := sorted(set(arguments.names) - set(known)):
        root.error(f"no recipe for {', '.join(unknown)}; there are {', '.join(known)}")
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    asked = {field: getattr(arguments, field) for field in ("steps", "seed", "precision")}
    given = {field: value for field, value in asked.items() if value is not None}
    names = arguments.names or train.NAMES
    recipes = {name: dataclasses.replace(train.RECIPES.get(name, train.Recipe()), **given) for name in names}
    fewest = min(recipe.steps for recipe in recipes.values())
    if beyond := [step for step in arguments.keep if not 0 <= step <= fewest]:
        root.error(f"--keep {beyond[0]}: the run has steps 0 to {fewest}")
    try:
        for name, recipe in recipes.items():
            train.refuse_another(arguments.out / name, recipe)
    except ValueError as error:
        root.error(str(error))
    train.main(
        recipes,
        arguments.out,
        device=device,
        scratch=arguments.scratch,
        compiled=arguments.compile,
        kept_steps=arguments.keep,
    )
