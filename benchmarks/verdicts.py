"""The reference checkpoints' verdicts side by side, as docs/verdicts.md: from the record of a run on each.

make verify && cp reports/latest.json open.json
make verify ARGS="--attnres-trained fixtures/checkpoints/tiny-kimi-block" && cp reports/latest.json kimi.json
python benchmarks/verdicts.py open.json kimi.json > docs/verdicts.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnres_core.claims import claim_key
from attnres_core.records import Record, read_record
from attnres_core.report.text import deciding, interval, number

HEAD = """# What the claims come out as

Each registered claim on the two reference checkpoints, with the estimate and the limits of the statement that decided
it (under `drop`, where it is decided under several kinds of ablation). Written by
`python benchmarks/verdicts.py` from runs
of `make verify` and `make verify ARGS="--attnres-trained fixtures/checkpoints/tiny-kimi-block"`. Why a claim is not
supported stands in the checkpoints' `expected_verdicts.json` and in the report.
"""


def cell(claim: Mapping[str, Any]) -> str:
    """`supported +0.561 [+0.509, +0.619]`."""
    verdict = {"SUPPORTED": "supported", "REFUTED": "**refuted**", "INCONCLUSIVE": "*inconclusive*", "ERROR": "ERROR"}
    told, numbers = verdict.get(claim["verdict"], "-"), deciding(dict(claim))
    if told == "-" or numbers is None or numbers["estimate"] is None:
        return told
    unit = numbers["unit"]
    if numbers["low"] is None and numbers["high"] is None:
        return f"{told} {number(numbers['estimate'], unit, signed=True)} ({numbers['reason'].split(':')[0]})"
    return f"{told} {number(numbers['estimate'], unit)} {interval((numbers['low'], numbers['high']), unit)}"


def table(records: list[Record], *, control: bool) -> list[str]:
    """One row a claim, in the order of their files."""
    names = " | ".join(f"`{record['models']['trained']['name']}`" for record in records)
    lines = [f"| claim | {names} |", "|---" * (1 + len(records)) + "|"]
    found = [{claim_key(c["node_id"]): c for c in record["claims"]} for record in records]
    for key, claim in found[0].items():
        cells = [cell(own[key]) for own in found]
        if claim["control"] is control and set(cells) != {"-"}:
            lines.append(f"| {claim['title']} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="a run's JSON record for each checkpoint")
    records: list[Record] = [read_record(file) for file in parser.parse_args().records]
    print(HEAD)
    for record in records:
        counts = [f"{size} {verdict}" for verdict, size in record["counts"].items() if size]
        print(f"- `{record['models']['trained']['name']}`: {', '.join(counts)} of {len(record['claims'])}")
    for heading, control in (("Claims", False), ("Controls", True)):
        print(f"\n## {heading}\n", *table(records, control=control), sep="\n")


if __name__ == "__main__":
    main()
