"""`python -m attnres_core`: what is done outside pytest."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import warnings
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
        help="make the shipped prompt sets",
        description="docstrings: 512 prompts, one from each of 512 held-out documents, half for exploration. "
        "structured: induction, recall, closing and headers, 256 prompts each with answers and foils, half so.",
    )
    prompts.add_argument("which", nargs="?", choices=("docstrings", "structured"), default="docstrings")
    prompts.add_argument("--checkpoint", help="whose tokenizer structured prompts are for (default: tiny-open-block)")
    prompts.add_argument("--out", type=Path, default=Path("fixtures/prompts"), help="default: %(default)s")
    plan = commands.add_parser(
        "plan",
        help="print the prompts that each claim needs",
        description="Measure the claims on the exploration split and print how many prompts would decide each with "
        "80 %% power at its share of alpha. The confirmation split is not read.",
    )
    plan.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="as for pytest (default: hypotheses/, where there is such a folder)",
    )
    new = commands.add_parser(
        "new",
        help="write a first file of claims, with comments",
        description="Write a file of claims that runs as it stands, and whose comments say what to change. "
        "It needs no clone: `pytest FILE` decides it wherever this package is installed.",
    )
    new.add_argument("file", type=Path, metavar="FILE", help="such as test_my_claim.py; never overwritten")
    whole = commands.add_parser(
        "map",
        help="measure every family at every site of a checkpoint",
        description="Drop every family at every site alone, and write masses and effects to a table. What is measured "
        "is kept in the store: a stopped map goes on, suites reuse its columns, and the report shows it. The default "
        "split is exploration: claims about confirmation columns read here could only be registered post hoc.",
    )
    whole.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or shipped name")
    whole.add_argument("--revision", help="branch, tag or commit of a hub id (default: its main branch)")
    whole.add_argument("--wrap", type=float, metavar="BIAS", help="read a vanilla Qwen3 with this recency bias")
    whole.add_argument("--num-blocks", type=int, metavar="N", help="with --wrap: the number of blocks")
    whole.add_argument("--prompts", type=Path, help="JSONL file of prompts (default: the shipped docstrings)")
    whole.add_argument("--split", choices=("exploration", "confirmation"), default="exploration")
    whole.add_argument("--n-prompts", type=int, metavar="N", help="at most this many prompts (default: all)")
    whole.add_argument("--device", default="auto", help="auto (CUDA when it is there), cpu or cuda")
    whole.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    whole.add_argument("--memory", metavar="SIZE", help="memory to use, such as 8GiB (default: what there is)")
    whole.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    whole.add_argument("--out", type=Path, metavar="FILE", help=".csv or .parquet (default: map-NAME.csv)")
    whole.add_argument(
        "--screen",
        action="store_true",
        help="add first-order effects (an approximation: two passes for all sites) and their rank agreement",
    )

    store = commands.add_parser(
        "store",
        help="list, verify or prune a store of measured columns",
        description="list: what it holds. verify: read every file, set damaged ones aside (exit status 1). prune: "
        "remove what no run can use (units of another numerics version, leftovers) and the models named by KEY.",
    )
    store.add_argument("action", choices=("list", "verify", "prune"))
    store.add_argument("keys", nargs="*", metavar="KEY", help="with prune: models to remove, as `list` names them")
    store.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    store.add_argument("--dry-run", action="store_true", help="with prune: only say what would go")

    compare = commands.add_parser(
        "compare",
        help="two runs side by side, the verdicts that changed first",
        description="Compare the JSON records of two runs: two checkpoints, or two steps of one training run.",
    )
    for name in ("first", "second"):
        compare.add_argument(name, type=Path, metavar=f"{name.upper()}.json", help="such as reports/latest.json")
    compare.add_argument("--out", type=Path, metavar="PAGE.html", help="also as a page; default: the terminal alone")

    card = commands.add_parser(
        "card",
        help="a run's replication card, in Markdown",
        description="Write the claims, verdicts, effects, intervals, method, digests, command and citation of a run as "
        "a short Markdown page, for a paper's appendix or a model card.",
    )
    card.add_argument("record", type=Path, metavar="REPORT.json", help="a run's record, such as reports/latest.json")
    card.add_argument("-o", "--out", type=Path, metavar="FILE", help="where it goes (default: printed)")
    counter = commands.add_parser(
        "counterexample",
        help="search the smallest prompt on which a claim does not hold",
        description="Generate prompts, measure the claim's statements on each alone, and shrink one that violates "
        "them. Exploratory: a claim is about a mean, which one prompt does not refute. Prompts are excerpts of "
        "exploration prompts; --tokens or --matching takes others.",
    )
    counter.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or shipped name")
    counter.add_argument("claim", metavar="FILE.py::TEST", help="a test made by @claim; the file is run")
    counter.add_argument("--threshold", type=float, metavar="X", help="in place of the claim's own; 0: the wrong sign")
    kind = counter.add_mutually_exclusive_group()
    kind.add_argument("--tokens", action="store_true", help="any sequences of token ids")
    kind.add_argument("--matching", metavar="REGEX", help="texts that match a regular expression as a whole")
    counter.add_argument("--prompts", type=Path, help="JSONL file of prompts (default: the shipped docstrings)")
    counter.add_argument("--min-tokens", type=int, default=2, metavar="N", help="default: %(default)s")
    counter.add_argument("--max-tokens", type=int, default=16, metavar="N", help="default: %(default)s")
    counter.add_argument("--candidates", type=int, default=1000, metavar="N", help="default: %(default)s")
    counter.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    counter.add_argument("--json", type=Path, metavar="FILE", help="also write what was found as JSON")
    return root


def _counterexample(arguments: argparse.Namespace) -> None:
    """The counterexample command.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    from hypothesis import strategies

    import attnres_core as ac
    from attnres_core.prompts import Split
    from attnres_core.references import resolved
    from attnres_core.violations import read_claim

    claim = read_claim(arguments.claim)
    model = ac.load_model(resolved(arguments.checkpoint))
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
        claim,
        prompts,
        threshold=arguments.threshold,
        candidates=arguments.candidates,
        seed=arguments.seed,
        reference=exploration,
    )
    print(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")


def _map(arguments: argparse.Namespace) -> None:
    """The map command.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    from attnres_core import mapping
    from attnres_core.models.checkpoint import inspect_checkpoint
    from attnres_core.place import bytes_of, choose_place
    from attnres_core.prompts import Split, load_prompts
    from attnres_core.references import reference_prompts, resolved
    from attnres_core.store import Store

    out = arguments.out or Path(f"map-{Path(arguments.checkpoint).name}.csv")
    mapping.check_name(out)
    given = (arguments.wrap, arguments.num_blocks, arguments.revision)
    checkpoint = inspect_checkpoint(resolved(arguments.checkpoint), *given)
    prompts, split = load_prompts(arguments.prompts or reference_prompts()), Split(arguments.split)
    budget = bytes_of(arguments.memory) if arguments.memory else None
    place = choose_place(arguments.device, arguments.dtype, 1, [checkpoint], budget)
    rows = mapping.make_map(checkpoint, prompts, split, place, Store(arguments.store), arguments.n_prompts)
    if arguments.screen:
        from attnres_core.screening import screened_map

        found = screened_map(checkpoint, prompts.part(split, arguments.n_prompts), place)
        rows = [{**row, "screened": value} for row, value in zip(rows, found, strict=True)]
        print(f"first-order screening: rank agreement (Spearman) with the exact effects {mapping.agreement(rows):.3f}")
    mapping.write_map(rows, out)
    top = sorted(rows, key=lambda row: -row["delta_nll"])[:5]
    print(f"{len(rows)} cells over {rows[0]['n']} documents -> {out}; the largest effects, nats per token:")
    for row in top:
        print(f"  {row['family']:<9} at {row['site']:<8} {row['delta_nll']:+.4f}   mass {row['mass']:.3f}")


def _store(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> int:
    """The store command; returns the exit status."""
    from attnres_core import housekeeping
    from attnres_core.store import DamagedStoreWarning, Store

    if not arguments.store.is_dir():
        root.error(f"{arguments.store}: there is no such store; give its folder with --store")
    if arguments.keys and arguments.action != "prune":
        root.error(f"KEY is for prune, not for {arguments.action}")
    held = Store(arguments.store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedStoreWarning)  # verify names them itself
        try:
            lines = {
                "list": lambda: housekeeping.listing(held),
                "verify": lambda: housekeeping.verify(held),
                "prune": lambda: housekeeping.prune(held, arguments.keys, dry_run=arguments.dry_run),
            }[arguments.action]()
        except ValueError as error:
            root.error(str(error))
    print("\n".join(lines))
    return int(arguments.action == "verify" and len(lines) > 1)


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
        given = arguments.arguments or (["hypotheses/"] if Path("hypotheses").is_dir() else [])
        command = [sys.executable, "-m", "pytest", "--attnres-plan", "-q", *given]
        sys.exit(subprocess.run(command, check=False).returncode)
    elif arguments.command == "new":
        from attnres_core import starting

        try:
            starting.write_first_claims(arguments.file)
        except ValueError as error:
            root.error(str(error))
        print(f"{arguments.file} written; now: pytest {arguments.file}")
    elif arguments.command == "map":
        try:
            _map(arguments)
        except (ValueError, OSError) as error:
            root.error(str(error))
    elif arguments.command == "compare":
        from attnres_core import comparing

        try:
            print(comparing.compare(arguments.first, arguments.second, arguments.out))
            if arguments.out is not None:
                print(f"\npage: {arguments.out}")
        except (ValueError, OSError) as error:
            root.error(str(error))
    elif arguments.command == "counterexample":
        from attnres_core.estimates import ClaimError
        from attnres_core.intervention import NotApplicable

        try:
            _counterexample(arguments)
        except (ValueError, OSError, ClaimError, NotApplicable) as error:
            root.error(str(error))
    elif arguments.command == "card":
        from attnres_core import card

        try:
            page = card.write_card(arguments.record)
            if arguments.out is None:
                sys.stdout.write(page)
            else:
                arguments.out.write_text(page, encoding="utf-8")
        except (ValueError, OSError) as error:
            root.error(str(error))
    elif arguments.command == "store":
        sys.exit(_store(arguments, root))
    elif arguments.command == "prompts":
        from attnres_core.references import reference
        from attnres_core.training import prompts, structured

        folder = Path(arguments.checkpoint) if arguments.checkpoint else reference("tiny-open-block")
        make = structured.main if arguments.which == "structured" else prompts.main
        try:
            make(folder / "tokenizer.json", arguments.out, f"python -m attnres_core prompts {arguments.which}")
        except ValueError as error:
            root.error(str(error))


if __name__ == "__main__":
    main()
