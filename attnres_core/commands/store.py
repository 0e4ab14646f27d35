"""`store`: a store of measured columns, looked after."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

HELP = "list, verify or prune a store of measured columns"
DESCRIPTION = (
    "list: what it holds. verify: read every file, set damaged ones aside (exit status 1). prune: "
    "remove what no run can use (units and searches of another numerics version, what was set aside, leftovers of runs "
    "that ended an hour ago or more) and the models named by KEY."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which store."""
    parser.add_argument("action", choices=("list", "verify", "prune"))
    parser.add_argument("keys", nargs="*", metavar="KEY", help="with prune: models to remove, as `list` names them")
    parser.add_argument("--store", type=Path, default=Path(".attnres"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="with prune: only say what would go")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Do it and say what was found; exit status 1 where something is damaged."""
    from attnres_core.engine import store_maintenance
    from attnres_core.engine.store import DamagedStoreWarning, Store

    if not arguments.store.is_dir():
        root.error(f"{arguments.store}: there is no such store; give its folder with --store")
    if arguments.keys and arguments.action != "prune":
        root.error(f"KEY is for prune, not for {arguments.action}")
    held = Store(arguments.store)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", DamagedStoreWarning)
        try:
            lines = {
                "list": lambda: store_maintenance.listing(held),
                "verify": lambda: store_maintenance.verify(held),
                "prune": lambda: store_maintenance.prune(held, arguments.keys, dry_run=arguments.dry_run),
            }[arguments.action]()
        except ValueError as error:
            root.error(str(error))
    if arguments.action != "verify":  # (which names them itself)
        lines = [*(str(notice.message) for notice in notices), *lines]
    print("\n".join(lines))
    sys.exit(int(arguments.action == "verify" and len(lines) > 1))
