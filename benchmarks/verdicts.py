"""The reference checkpoints' verdicts side by side, as docs/verdicts.md: from the record of a run on each.

make verify && cp reports/latest.json open.json
make verify ARGS="--attnres-trained tiny-kimi-block" && cp reports/latest.json kimi.json
make verify ARGS="--attnres-trained small-open-block --attnres-vanilla small-vanilla"
cp reports/latest.json small.json
python benchmarks/verdicts.py open.json kimi.json small.json > docs/verdicts.md

Of some files alone, as one table (docs/sizes.md):

python benchmarks/verdicts.py open.json small.json --of embedding_feeds_early_mlp older_feeds_late_attention
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from attnres_core.claims.claim import claim_key
from attnres_core.records.contradictions import Contradiction, contradictions
from attnres_core.records.reading import escaped, read_record
from attnres_core.records.schema import ClaimEntry, Record
from attnres_core.report.card import titled
from attnres_core.report.numbers import interval, number
from attnres_core.report.wording import deciding, why_open

HEAD = """# What the claims come out as

Each registered claim on the two reference checkpoints, and on one of twice their depth, with the estimate and the
limits of the statement that its verdict hangs on: of a supported claim the tightest, nearest to failing in its own
standard errors; of a refuted one that which refutes by most; of an inconclusive one the first that is open (under
`drop`, where it is decided under several kinds of ablation and `drop` gives that verdict). *Post hoc* claims were
registered after some of their data were measured, or restated on the same prompts. Why a claim is not supported
stands in the checkpoints' `expected_verdicts.json` and in the report. `sizes.md` tells what differs
on 24 layers. Written by `python benchmarks/verdicts.py` from runs of `make verify`, alone and with

    ARGS="--attnres-trained tiny-kimi-block"
    ARGS="--attnres-trained small-open-block --attnres-vanilla small-vanilla"
"""
WORDS = {"SUPPORTED": "supported", "REFUTED": "**refuted**", "INCONCLUSIVE": "*inconclusive*", "ERROR": "ERROR"}


def name(record: Record) -> str:
    """The trained checkpoint's."""
    return escaped(record["models"]["trained"]["name"])


def cell(claim: ClaimEntry | None) -> str:
    """`supported +0.561 [+0.509, +0.619]`; `-` where the claim is not in the record or not applicable."""
    told = "-" if claim is None else WORDS.get(claim["verdict"], "-")
    if claim is None or told == "-" or (numbers := deciding(claim)) is None or numbers["estimate"] is None:
        return told
    unit = numbers["unit"]
    if numbers["low"] is None and numbers["high"] is None:
        return f"{told} {number(numbers['estimate'], unit, signed=True)} ({escaped(why_open(claim))})"
    return f"{told} {number(numbers['estimate'], unit)} {interval((numbers['low'], numbers['high']), unit)}"


def table(records: Sequence[Record], *, control: bool, files: Sequence[str] = ()) -> list[str]:
    """One row a claim of any record, in the order of their files; of `files` alone, where some are given."""
    lines = [f"| claim | {' | '.join(map(name, records))} |", "|---" * (1 + len(records)) + "|"]
    found = [{claim_key(c["node_id"]): c for c in record["claims"]} for record in records]
    for key in dict.fromkeys(key for own in found for key in own):
        every = [own.get(key) for own in found]
        cells = list(map(cell, every))
        first = next(claim for claim in every if claim is not None)
        asked = not files or key.partition("::")[0] in files
        if asked and first["control"] is control and set(cells) != {"-"}:
            lines.append(f"| {titled(first)} | {' | '.join(cells)} |")
    return lines


def decided(records: Iterable[Record]) -> list[str]:
    """The claims that contradict each other, pair by pair, and what each record decides."""
    found: dict[tuple[str, str], list[tuple[Record, Contradiction]]] = {}
    for record in records:
        for pair in contradictions(record["claims"]):
            keys = (claim_key(pair.first["node_id"]), claim_key(pair.second["node_id"]))
            found.setdefault(keys, []).append((record, pair))
    lines = []
    for every in found.values():
        pair = every[0][1]
        sources = [
            f"“{titled(claim)}” ({escaped(claim['cites'] or 'source not given')})"
            for claim in (pair.first, pair.second)
        ]
        lines.append(f"- {' against '.join(sources)}:")
        for record, own in every:
            lines.append(f"    - {name(record)}: {escaped(own.sentence)} {cell(own.first)} against {cell(own.second)}")
    return lines


def page(records: Sequence[Record]) -> str:
    """The whole of it, as Markdown."""
    lines = [HEAD]
    for record in records:
        counts = [f"{size} {verdict}" for verdict, size in record["counts"].items() if size]
        late = sum(claim["registration"] == "post hoc" for claim in record["claims"])
        lines.append(f"- {name(record)}: {', '.join(counts)} of {len(record['claims'])}, {late} of them post hoc")
    if told := decided(records):
        lines += ["\n## Contradictions\n", *told]
    for heading, control in (("Claims", False), ("Controls", True)):
        lines += [f"\n## {heading}\n", *table(records, control=control)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="a run's JSON record for each checkpoint")
    parser.add_argument("--of", nargs="+", default=[], metavar="NAME", help="print claims of test_NAME.py alone")
    arguments = parser.parse_args()
    records = [read_record(file) for file in arguments.records]
    files = [f"test_{name}.py" for name in arguments.of]
    if unknown := set(files) - {claim_key(c["node_id"]).partition("::")[0] for r in records for c in r["claims"]}:
        parser.error(f"no record has claims of {', '.join(sorted(unknown))}")
    print("\n".join(table(records, control=False, files=files)) + "\n" if files else page(records), end="")


if __name__ == "__main__":
    main()
