"""`python -m attnres_core`: what is done outside pytest."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m attnres_core", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train the reference checkpoints from scratch (about 20 minutes each on 2 free cores)",
        description="Train tiny-open-block, tiny-vanilla and tiny-kimi-block on the docstrings of the installed "
        "packages: same tokens, same order, same seed. Stopped runs resume from --scratch.",
    )
    names = ("tiny-open-block", "tiny-vanilla", "tiny-kimi-block")
    train.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all of {', '.join(names)})")
    train.add_argument("--out", type=Path, default=Path("fixtures/checkpoints"), help="default: %(default)s")
    train.add_argument("--scratch", type=Path, default=Path("training-runs"), help="default: %(default)s")
    train.add_argument("--steps", type=int, default=4000, help="default: %(default)s (8.2 M tokens)")
    train.add_argument("--seed", type=int, default=20261122, help="default: %(default)s")
    train.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    train.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    train.add_argument(
        "--keep",
        type=int,
        nargs="*",
        default=[],
        metavar="STEP",
        help="also keep these steps, as OUT/NAME/checkpoint-STEP",
    )
    train.add_argument("--compile", action="store_true", help="torch.compile: a minute or two first, then faster")

    prompts = commands.add_parser(
        "prompts",
        help="make the shipped prompt set from held-out documents",
        description="Write 512 prompts, one from each of 512 held-out documents, half for exploration.",
    )
    prompts.add_argument("--out", type=Path, default=Path("fixtures/prompts"), help="default: %(default)s")
    plan = commands.add_parser(
        "plan",
        help="print the prompts that each claim needs",
        description="Measure the claims on the exploration split and print how many prompts would decide each with "
        "80 %% power at its share of alpha. The confirmation split is not read.",
    )
    plan.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="as for pytest (default: hypotheses/)")
    return root


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    root = parser()
    arguments = root.parse_args(argv)
    if arguments.command == "train":
        import torch

        from attnres_core.training import train

        unknown = sorted(set(arguments.names) - set(train.NAMES))
        if unknown:
            root.error(f"no recipe for {', '.join(unknown)}; there are {', '.join(train.NAMES)}")
        device = arguments.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        recipe = train.Recipe(steps=arguments.steps, seed=arguments.seed, precision=arguments.precision)
        names = arguments.names or train.NAMES
        if beyond := [step for step in arguments.keep if not 0 <= step <= recipe.steps]:
            root.error(f"--keep {beyond[0]}: the run has steps 0 to {recipe.steps}")
        train.main(
            names,
            arguments.out,
            recipe,
            device=device,
            scratch=arguments.scratch,
            compiled=arguments.compile,
            kept_steps=arguments.keep,
        )
    elif arguments.command == "plan":
        # A process of its own: pytest must see this package before anything imports it.
        command = [sys.executable, "-m", "pytest", "--attnres-plan", "-q", *(arguments.arguments or ["hypotheses/"])]
        sys.exit(subprocess.run(command, check=False).returncode)
    elif arguments.command == "prompts":
        from attnres_core.references import reference
        from attnres_core.training import prompts

        tokenizer = reference("tiny-open-block") / "tokenizer.json"
        prompts.main(tokenizer, arguments.out, "python -m attnres_core prompts")


if __name__ == "__main__":
    main()
