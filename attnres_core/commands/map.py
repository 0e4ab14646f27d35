"""`map`: every family at every site of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.commands import checkpoint

HELP = "measure every family at every site of a checkpoint"
DESCRIPTION = (
    "Drop every family at every site alone, and write masses and effects to a table. What is measured "
    "is kept in the store: a stopped map goes on, suites reuse its columns, and the report shows it. The default "
    "split is exploration: claims about confirmation columns read here could only be registered post hoc."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, the prompts, how it is measured, and where the table goes."""
    checkpoint.add_arguments(parser)
    parser.add_argument("--prompts", type=Path, help="JSONL file of prompts (default: the shipped docstrings)")
    parser.add_argument("--split", choices=("exploration", "confirmation"), default="exploration")
    parser.add_argument("--n-prompts", type=int, metavar="N", help="at most this many prompts (default: all)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--memory", metavar="SIZE", help="memory to use, such as 8GiB (default: what there is)")
    parser.add_argument("--executor", default="local", help="who measures (default: %(default)s, this machine)")
    parser.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".csv or .parquet (default: map-NAME.csv)")
    parser.add_argument(
        "--screen",
        action="store_true",
        help="add approximate effects (one forward and one backward pass, then one sublayer a cell)",
    )


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Measure, write the table and print its largest effects."""
    try:
        _map(arguments)
    except (ValueError, OSError) as error:
        root.error(str(error))


def _map(arguments: argparse.Namespace) -> None:
    """Do the work of `run`.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    from attnres_core.amounts import bytes_of
    from attnres_core.engine.executors import choose
    from attnres_core.engine.resources import Asked
    from attnres_core.engine.store import Store
    from attnres_core.exploration import pathway_map
    from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
    from attnres_core.prompts import Split, load_prompts
    from attnres_core.registration.ledger import note_read, notes_folder
    from attnres_core.registration.prompt_digests import scored_digests
    from attnres_core.report.numbers import number
    from attnres_core.shipped import reference_prompts, resolved

    out = arguments.out or Path(f"map-{Path(arguments.checkpoint).name}.csv")
    pathway_map.check_name(out)
    given = (arguments.wrap, arguments.num_blocks, arguments.revision, arguments.adapter)
    inspected = inspect_checkpoint(resolved(arguments.checkpoint), *given)
    prompts, split = load_prompts(arguments.prompts or reference_prompts()), Split(arguments.split)
    budget = bytes_of(arguments.memory) if arguments.memory else None
    read = scored_digests(prompts.part(split, arguments.n_prompts), inspected.tokenizer_file)
    note_read(notes_folder(Path.cwd()), split, read, ["a map"])
    resources = choose(arguments.executor, Asked(arguments.device, arguments.dtype, [inspected], budget=budget))
    rows = pathway_map.make_map(
        inspected, prompts, split, resources, Store(arguments.store), arguments.n_prompts, arguments.executor
    )
    if arguments.screen:
        from attnres_core.exploration.screening import screened_map

        here = resources if resources.slots else choose("local", Asked("auto", arguments.dtype, [inspected]))
        found = screened_map(inspected, prompts.part(split, arguments.n_prompts), here)
        rows = [{**row, "screened": value} for row, value in zip(rows, found, strict=True)]
    pathway_map.write_map(rows, out)
    told = [name for name in ("mass", "turn", "screened") if name in rows[0]]
    ranks = ", ".join(f"{name} {pathway_map.agreement(rows, name):.2f}" for name in told)
    print(f"rank agreement (Spearman) with the exact effects: {ranks}")
    top = sorted(rows, key=lambda row: -row["delta_nll"])[:5]
    print(f"{len(rows)} cells over {rows[0]['n']} documents -> {out}; the largest effects, nats per token:")
    for row in top:
        effect = number(row["delta_nll"], signed=True)
        far = "" if row["beyond"] is None else f"   reads beyond clean ones {row['beyond']:.0%}"
        print(f"  {row['family']:<9} at {row['site']:<8} {effect:>9}   mass {row['mass']:.3f}{far}")
