"""Verdicts in bfloat16 and float16 against float32, claim by claim, on the reference checkpoints.

python benchmarks/precision.py    # every claim of hypotheses/, several minutes a dtype on 2 cores
python benchmarks/precision.py -k embedding --attnres-quick    # arguments after the dtypes' go to pytest
python benchmarks/precision.py --dtypes bfloat16 --attnres-device cuda
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def record_of(dtype: str, folder: Path, given: list[str]) -> dict[str, Any]:
    """The record of a run of the claims in a dtype, with a store of its own."""
    page = folder / f"{dtype}.html"
    command = [sys.executable, "-m", "pytest", "hypotheses/", "-q", f"--attnres-dtype={dtype}"]
    command += [f"--attnres-report={page}", f"--attnres-store={folder / 'store'}", *given]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    record = page.with_suffix(".json")
    if not record.exists():
        raise SystemExit(f"{dtype}: no record\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")
    return dict(json.loads(record.read_text()))


def main() -> None:
    """Run the claims in each dtype and print what changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16"], choices=["bfloat16", "float16"])
    arguments, given = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        records = {dtype: record_of(dtype, Path(name), given) for dtype in ("float32", *arguments.dtypes)}
    claims = {dtype: {c["node_id"]: c["verdict"] for c in record["claims"]} for dtype, record in records.items()}
    base = claims["float32"]
    print(f"float32: {dict(Counter(base.values()))}")
    for dtype in arguments.dtypes:
        pairs = [(node, verdict, claims[dtype].get(node, "missing")) for node, verdict in base.items()]
        changed = [pair for pair in pairs if pair[1] != pair[2]]
        opposite = [pair for pair in changed if {pair[1], pair[2]} == {"SUPPORTED", "REFUTED"}]
        print(
            f"{dtype}: {len(pairs) - len(changed)} of {len(pairs)} verdicts the same, {len(changed)} changed, "
            f"{len(opposite)} of them from one side to the other"
        )
        for node, before, after in changed:
            print(f"  {before} -> {after}  {node}")


if __name__ == "__main__":
    main()
