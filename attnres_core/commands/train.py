"""`train`: the reference checkpoints, from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train the reference checkpoints from scratch (about 20 minutes each on 2 free cores)"
DESCRIPTION = (
    "Train tiny-open-block, tiny-vanilla, tiny-kimi-block and tiny-nanogpt (the published BabyLM models' shape, in "
    "small) on the docstrings of the installed packages: same tokens, same order, same seed. Stopped runs resume from "
    "--scratch."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoints, their recipe and the device."""
    names = ("tiny-open-block", "tiny-vanilla", "tiny-kimi-block", "tiny-nanogpt")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all of {', '.join(names)})")
    parser.add_argument("--out", type=Path, default=Path("fixtures/checkpoints"), help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, default=Path("training-runs"), help="default: %(default)s")
    told = "default: 4000 (8.2 M tokens), of tiny-nanogpt 1000"
    parser.add_argument("--steps", type=int, help=told)
    parser.add_argument("--seed", type=int, default=20261122, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
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

    unknown = sorted(set(arguments.names) - set(train.NAMES))
    if unknown:
        root.error(f"no recipe for {', '.join(unknown)}; there are {', '.join(train.NAMES)}")
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    names = arguments.names or train.NAMES
    recipes = [
        train.Recipe(steps=arguments.steps or train.STEPS[name], seed=arguments.seed, precision=arguments.precision)
        for name in names
    ]
    shortest = min(recipe.steps for recipe in recipes)
    if beyond := [step for step in arguments.keep if not 0 <= step <= shortest]:
        root.error(f"--keep {beyond[0]}: the run has steps 0 to {shortest}")
    try:
        for name, recipe in zip(names, recipes, strict=True):
            train.refuse_another(arguments.out / name, recipe)
    except ValueError as error:
        root.error(str(error))
    train.main(
        names,
        arguments.out,
        recipes,
        device=device,
        scratch=arguments.scratch,
        compiled=arguments.compile,
        kept_steps=arguments.keep,
    )
