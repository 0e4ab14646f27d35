"""`train`: the reference checkpoints, from scratch; or routing after the fact, on a pretrained model."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HELP = "train the reference checkpoints (about 20 minutes each on 2 free cores), or routing on a pretrained model"
DESCRIPTION = (
    "Train tiny-open-block, tiny-vanilla and tiny-kimi-block on the docstrings of the installed "
    "packages: same tokens, same order, same seed. tiny-nanogpt (the published BabyLM models' shape, in small) and "
    "tiny-hyper-connections (parallel streams) read the first of these tokens. small-open-block, small-vanilla and "
    "small-kimi-block have 24 layers in 8 blocks and read a longer text. --retrofit BASE freezes a pretrained vanilla "
    "model and trains routing alone, from the wrapped state, into OUT/BASE-routing-SEED (150 kB, which name the base); "
    "with --control gains, the gains of its norms alone. Stopped runs resume from --scratch."
)
_CHECKPOINTS, _LARGER, _RETROFITS = (Path("fixtures", name) for name in ("checkpoints", "larger", "retrofits"))
_OF_RETROFITS = ("control", "num_blocks", "recency_bias")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoints, their recipe and the device."""
    names = ("tiny-open-block", "tiny-vanilla", "tiny-kimi-block")
    others = ("tiny-nanogpt", "tiny-hyper-connections", "small-open-block", "small-vanilla", "small-kimi-block")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which (default: {', '.join(names)}; also {', '.join(others)})"
    )
    told = "train routing after the fact on this vanilla model: folder, hub id, or shipped or fetched name (smollm2)"
    parser.add_argument("--retrofit", metavar="BASE", help=told)
    told = "with --retrofit: train the norms' gains in routing's place, on the same text in the same order"
    parser.add_argument("--control", choices=("gains",), help=told)
    parser.add_argument(
        "--num-blocks", type=int, metavar="N", help="with --retrofit: the number of blocks (default: 8)"
    )
    told = "with --retrofit: the recency bias of the wrapped state that training starts from (default: 5)"
    parser.add_argument("--recency-bias", type=float, metavar="BIAS", help=told)
    told = "default: fixtures/checkpoints; fixtures/larger for the small ones, fixtures/retrofits with --retrofit"
    parser.add_argument("--out", type=Path, metavar="DIR", help=told)
    parser.add_argument("--scratch", type=Path, default=Path("training-runs"), help="default: %(default)s")
    told = "default: 4000 (8.2 M tokens); for the others 1000, 1500 and 7400; 586 with --retrofit"
    parser.add_argument("--steps", type=int, help=told)
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
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: two to six minutes first, then about twice as fast"
    )


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Train them one after the other."""
    import torch

    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        train = (_from_scratch if arguments.retrofit is None else _after_the_fact)(arguments)
    except ValueError as error:
        root.error(str(error))
    from attnres_core.training.train import PassedStep

    try:
        train()
    except PassedStep as error:
        root.error(str(error))


def _given(arguments: argparse.Namespace, *fields: str) -> dict[str, Any]:
    """The fields of a recipe that the command line gives."""
    return {field: getattr(arguments, field) for field in fields if getattr(arguments, field) is not None}


def _from_scratch(arguments: argparse.Namespace) -> Callable[[], None]:
    """What trains the checkpoints that are named; a ValueError where that cannot be."""
    from attnres_core.training import train

    known = (*train.NAMES, *train.RECIPES)
    if unknown := sorted(set(arguments.names) - set(known)):
        raise ValueError(f"no recipe for {', '.join(unknown)}; there are {', '.join(known)}")
    if beside := [f"--{field.replace('_', '-')}" for field in _given(arguments, *_OF_RETROFITS)]:
        raise ValueError(f"{', '.join(beside)}: for --retrofit BASE; leave it out")
    given = _given(arguments, "steps", "seed", "precision")
    names = arguments.names or train.NAMES
    recipes = {name: dataclasses.replace(train.RECIPES.get(name, train.Recipe()), **given) for name in names}
    larger = {name: recipe for name, recipe in recipes.items() if name in train.LARGER}
    others = {name: recipe for name, recipe in recipes.items() if name not in larger}
    runs = [(others, arguments.out or _CHECKPOINTS), (larger, arguments.out or _LARGER)]
    for each, out in runs:
        for name, recipe in each.items():
            _check_kept(arguments.keep, recipe.steps)
            train.refuse_another(out / name, recipe)

    def run() -> None:
        for each, out in runs:
            if each:
                train.main(each, out, **_how(arguments))

    return run


def _after_the_fact(arguments: argparse.Namespace) -> Callable[[], None]:
    """What trains a part of a base; a ValueError where that cannot be."""
    from attnres_core.models.checkpoints.retrofit import Part
    from attnres_core.training import retrofit

    if arguments.names:
        raise ValueError(f"--retrofit {arguments.retrofit}, and {', '.join(arguments.names)}; give one of them")
    given = _given(arguments, "steps", "seed", "precision", "num_blocks", "recency_bias")
    recipe = retrofit.RetrofitRecipe(**given, part=arguments.control or "routing")
    _check_kept(arguments.keep, recipe.steps)
    run = retrofit.prepared(arguments.retrofit, recipe, arguments.out or _RETROFITS)

    def train() -> None:
        retrofit.main(run, **_how(arguments))
        routing, gains = (run.folder.with_name(f"{run.base.name}-{part}-{recipe.seed}") for part in Part)
        if missing := [folder for folder in (routing, gains) if not (folder / "config.json").is_file()]:
            how = "without" if missing[0] == routing else "with"
            print(f"now, for {missing[0]}: the same command {how} --control gains")
        beside = f"--attnres-vanilla {gains} --attnres-recency-bias {recipe.recency_bias:g}"
        when = "then" if missing else "now"
        print(f"{when}: pytest hypotheses/test_retrofitted_routing.py --attnres-trained {routing} {beside}")

    return train


def _check_kept(steps: Sequence[int], last: int) -> None:
    if beyond := [step for step in steps if not 0 <= step <= last]:
        raise ValueError(f"--keep {beyond[0]}: the run has steps 0 to {last}")


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where and how it is trained: what changes no recipe."""
    how = {"device": arguments.device, "scratch": arguments.scratch, "compiled": arguments.compile}
    return {**how, "kept_steps": arguments.keep}
