"""`recipe decide`: claims about a training recipe, checkpoints as units."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "decide claims from the records of five or more seeds"
DESCRIPTION = (
    "Decide registered claims about a training recipe from the records of the same claims run on checkpoints of five "
    "or more seeds (not steps of one run, not copies): Student's t over the checkpoints, with the error of the "
    "documents that they share, each claim at its registered share of alpha. Claims about models that no seed "
    "changes are left out. Records of related weights or of nearly the same effects are refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which runs, which claims, and where it goes."""
    told = "the record of the run on each seed, such as reports/seed-1.json"
    parser.add_argument("records", type=Path, nargs="+", metavar="REPORT.json", help=told)
    told = "show claims with this in their key or title alone; it changes no verdict (default: all)"
    parser.add_argument("-k", "--only", default="", metavar="TEXT", help=told)
    told = "a folder with recipes.lock: decide what it registers; records are named SEED.json"
    parser.add_argument("--registered", type=Path, metavar="FOLDER", help=told)
    told = "with --registered: the manifest of each training, NAME/SEED.json; NAME is the recipe"
    parser.add_argument("--manifests", type=Path, metavar="NAME", help=told)
    told = "where it goes, as JSON if it ends in .json, otherwise as Markdown (default: printed)"
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=told)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the table, or all of it as JSON."""
    from attnres_core.files import writing
    from attnres_core.records.reading import one_line
    from attnres_core.report import across_seeds

    try:
        _check_options(arguments)
        if arguments.registered is not None:
            sys.stdout.write(_registered(arguments))
            return
        found = across_seeds.decide_recipe(arguments.records, arguments.only)
        if arguments.out is None:
            sys.stdout.write(across_seeds.as_markdown(found))
        else:
            as_json = arguments.out.suffix == ".json"
            page = (
                json.dumps(across_seeds.as_json(found), indent=1) + "\n" if as_json else across_seeds.as_markdown(found)
            )
            with writing(arguments.out):
                arguments.out.write_text(page, encoding="utf-8")
    except ValueError as error:
        root.error(one_line(error))


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that would be ignored."""
    if arguments.registered is None and arguments.manifests is not None:
        raise ValueError("--manifests goes with --registered FOLDER, the folder of recipes.lock; give both or neither")
    if arguments.registered is None:
        return
    if arguments.manifests is None:
        raise ValueError("--registered needs --manifests: the folder of the trainings' manifests, NAME/SEED.json")
    if arguments.only:
        raise ValueError("--registered shows every registered claim; leave out -k")
    if arguments.out is not None:
        raise ValueError("--registered prints its table; leave out -o, and redirect the output into a file")


def _registered(arguments: argparse.Namespace) -> str:
    """The registered claims about one recipe as Markdown, or which seeds are still missing."""
    from attnres_core.judging.recipe_registration import LOCK, attestation, read
    from attnres_core.records.reading import read_record
    from attnres_core.report.recipe_verdicts import as_markdown, by_seed, decide_registered, waiting

    lock = read(arguments.registered)
    records = by_seed(lock, arguments.records)
    manifests = {seed: arguments.manifests / f"{seed}.json" for seed in records}
    began = [read_record(file)["run"]["started"] for file in arguments.records]
    stands = attestation(arguments.registered, lock, began)
    if left := waiting(lock, records):
        return f"{left}\n{LOCK}: {stands}\n"
    return as_markdown(lock, decide_registered(lock, arguments.manifests.name, records, manifests), stands)
