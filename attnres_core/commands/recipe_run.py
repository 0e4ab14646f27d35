"""`recipe run`: the same claims on every seed or training step, a record each."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from attnres_core.commands.measure import own_store, shard

HELP = "run the claims on every checkpoint, a record each"
DESCRIPTION = (
    "Run the claims on several checkpoints, one after the other, over one store: what they share, such as the wrapped "
    "baseline, is measured once. Each leaves its page and record in --out, named for the seed in its manifest, or for "
    "its folder. Stopped and started again, it measures what the store lacks. With --shard K/N it measures that part "
    "of every checkpoint's plan and decides nothing (see `measure`). Exit status 1 where a run could not decide; a "
    "refuted claim is a result."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoints and claims, and where their records go."""
    told = "folders or hub ids, such as seeds/*/tiny-open-block, or one model's checkpoint-* folders"
    parser.add_argument("--checkpoints", nargs="+", required=True, metavar="PATH", help=told)
    told = "files or folders of claims (default: hypotheses)"
    parser.add_argument("--claims", nargs="+", default=["hypotheses"], metavar="FILE", help=told)
    parser.add_argument("--out", type=Path, default=Path("reports/recipe"), metavar="DIR", help="default: %(default)s")
    told = "the store of all; each of several parts needs one of its own (default: .attnres)"
    parser.add_argument("--store", type=Path, metavar="DIR", help=told)
    parser.add_argument("--adapter", metavar="NAME", help="what reads them (default: the library)")
    told = "who measures: local, this machine's processes; ray, a Ray cluster at RAY_ADDRESS (default: %(default)s)"
    parser.add_argument("--executor", default="local", metavar="NAME", help=told)
    parser.add_argument("--shard", type=shard, metavar="K/N", help="measure the K-th of N parts, and decide nothing")
    told = "an option for pytest, such as --pytest=--attnres-dtype=bfloat16; may be given several times"
    parser.add_argument("--pytest", action="append", default=[], metavar="OPTION", help=told)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Run pytest for each checkpoint in a process of its own, and say what came of it."""
    try:
        named = names_of(arguments.checkpoints)
    except ValueError as error:
        root.error(str(error))
    if arguments.shard:
        own_store(arguments.shard, arguments.store, root)
    failed = 0
    for count, (name, checkpoint) in enumerate(named.items(), 1):
        print(f"{count} of {len(named)}: {name} ({checkpoint})", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *arguments.claims]
        command += [f"--attnres-trained={checkpoint}", f"--attnres-store={arguments.store or '.attnres'}"]
        command += [f"--attnres-adapter={arguments.adapter}"] if arguments.adapter else []
        command += [f"--attnres-executor={arguments.executor}", *arguments.pytest]
        page = arguments.out / f"{name}.html"
        command += [f"--attnres-shard={arguments.shard}"] if arguments.shard else [f"--attnres-report={page}"]
        started = time.time()
        code = subprocess.run(command, check=False).returncode
        could = code == 0 if arguments.shard else code in (0, 1) and _decided(page.with_suffix(".json"), started)
        failed += not could
        what = "its part is measured" if arguments.shard else f"its record is {page.with_suffix('.json')}"
        print(f"{name}: {what if could else f'FAILED, pytest ended with exit status {code}'}", flush=True)
    print(f"{len(named) - failed} of {len(named)} checkpoints done" + (f", {failed} failed" if failed else ""))
    sys.exit(int(failed > 0))


def _decided(record: Path, started: float) -> bool:
    """Return whether a run's record has every claim decided: pytest's status 1 may say that one is refuted.

    A record from before the run started is an earlier run's.
    """
    from attnres_core.records.reading import read_record

    fresh = record.is_file() and record.stat().st_mtime >= started
    return fresh and all(claim["verdict"] != "ERROR" for claim in read_record(record)["claims"])


def names_of(checkpoints: list[str]) -> Mapping[str, str]:
    """The checkpoints by the names of their records: the seed in a manifest, else the folder's own.

    Raises:
        ValueError: two have one name.
    """
    found: dict[str, str] = {}
    for checkpoint in checkpoints:
        name = _name(checkpoint)
        if name in found:
            raise ValueError(
                f"--checkpoints: {found[name]} and {checkpoint} would both be {name}.json; run them into two --out"
            )
        found[name] = checkpoint
    return found


def _name(checkpoint: str) -> str:
    folder = Path(checkpoint)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        seed = None if "step" in manifest else manifest["recipe"]["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        seed = None
    return str(seed) if isinstance(seed, int) else re.sub(r"[^\w.-]", "-", folder.name)
