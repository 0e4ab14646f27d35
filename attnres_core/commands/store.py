"""`store`: a store of measured columns, looked after."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

HELP = "list, verify, prune or merge stores of measured columns"
DESCRIPTION = (
    "list: what it holds. verify: read every file, set damaged ones aside (exit status 1). prune: "
    "remove what no run can use (units and searches of another numerics version, what was set aside, leftovers of runs "
    "that ended an hour ago or more) and the models named by KEY. merge: copy what the stores A B ... hold into the "
    "store of --store, each file verified; what is damaged is left out and named (exit status 1)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action and the store."""
    parser.add_argument("action", choices=("list", "verify", "prune", "merge"))
    told = "with prune: models to remove, as `list` names them; with merge: the folders of the stores to copy from"
    parser.add_argument("keys", nargs="*", metavar="KEY", help=told)
    parser.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="with prune: only say what would go")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Do it and say what was found; exit status 1 where verify or merge finds something damaged."""
    from attnres_core.engine import store_maintenance
    from attnres_core.engine.store import DamagedStoreWarning, Store

    merging = arguments.action == "merge"
    if merging and not arguments.keys:
        root.error("merge needs the folders of the stores to copy from, such as: store merge stores/* --store .attnres")
    others = [Path(key) for key in arguments.keys] if merging else []
    for folder in others if merging else [arguments.store]:
        if not (folder / "units").is_dir():
            root.error(f"{folder}: there is no such store; give its folder{'' if merging else ' with --store'}")
    if any(folder.resolve() == arguments.store.resolve() for folder in others):
        root.error(f"{arguments.store} cannot be merged into itself; name another with --store")
    if arguments.keys and arguments.action not in ("prune", "merge"):
        root.error(f"KEY is for prune and merge, not for {arguments.action}")
    held = Store(arguments.store)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", DamagedStoreWarning)
        try:
            lines = {
                "list": lambda: store_maintenance.listing(held),
                "verify": lambda: store_maintenance.verify(held),
                "prune": lambda: store_maintenance.prune(held, arguments.keys, dry_run=arguments.dry_run),
                "merge": lambda: store_maintenance.merge(held, [Store(other, shared=False) for other in others]),
            }[arguments.action]()
        except ValueError as error:
            root.error(str(error))
    if arguments.action != "verify":  # (which names them itself)
        lines = [*(str(notice.message) for notice in notices), *lines]
    print("\n".join(lines))
    sys.exit(int(len(lines) > 1 if arguments.action == "verify" else merging and bool(notices)))
