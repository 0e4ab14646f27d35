"""Two runs of the same claims held against each other: verdicts, estimates, limits, and stored decisions by the byte.

    python benchmarks/same_decisions.py BEFORE.json AFTER.json [--stores BEFORE/.attnres AFTER/.attnres]

A record holds seven digits of a number. The stores hold all of them: a decision's file is named for the bytes of the
columns it rests on, the noise floor, the gates and alpha, and holds the limits in full. Equal names and contents are
equality to the last bit. For changes to the code that must change no number; records of other versions are read, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CLAIM = (
    "verdict",
    "estimate",
    "interval",
    "threshold",
    "n",
    "p_value",
    "p_holm",
    "p_by",
    "p_max_t",
    "alpha",
    "registration",
)
STATEMENT = ("text", "verdict", "estimate", "low", "high", "threshold", "n", "p_value", "noise_floor", "reason")


def claims_of(file: Path) -> dict[str, Mapping[str, Any]]:
    """A record's claims by node id."""
    return {claim["node_id"]: claim for claim in json.loads(file.read_text(encoding="utf-8"))["claims"]}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What of a claim's decision is not the same, in words."""
    for name in CLAIM:
        if before[name] != after[name]:
            yield f"{name}: {before[name]} -> {after[name]}"
    if len(before["statements"]) != len(after["statements"]):
        yield f"{len(before['statements'])} statements -> {len(after['statements'])}"
    for number, (was, now) in enumerate(zip(before["statements"], after["statements"], strict=False)):
        for name in STATEMENT:
            if was[name] != now[name]:
                yield f"statement {number}, {name}: {was[name]} -> {now[name]}"


def decisions_of(store: Path) -> dict[str, bytes]:
    """A store's decisions: file name -> content."""
    return {file.name: file.read_bytes() for file in (store / "judged").glob("*.json")}


def main() -> int:
    """Compare, print, and return 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs=2, type=Path)
    parser.add_argument("--stores", nargs=2, type=Path)
    arguments = parser.parse_args()
    before, after = map(claims_of, arguments.records)
    found = [f"only before: {name}" for name in before.keys() - after.keys()]
    found += [f"only after: {name}" for name in after.keys() - before.keys()]
    shared = sorted(before.keys() & after.keys())
    found += [f"{name}: {change}" for name in shared for change in differences(before[name], after[name])]
    statements = sum(len(before[name]["statements"]) for name in shared)
    print(f"{len(shared)} claims, {statements} statements compared, {len(found)} differences")
    if arguments.stores:
        was, now = map(decisions_of, arguments.stores)
        other = [name for name in was.keys() & now.keys() if was[name] != now[name]]
        alone = was.keys() ^ now.keys()
        print(f"{len(was)} and {len(now)} stored decisions: {len(alone)} in one alone, {len(other)} unequal")
        found += [f"stored decision {name} is in one store alone" for name in alone]
        found += [f"stored decision {name} differs" for name in other]
    print("\n".join(sorted(found)[:50]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
