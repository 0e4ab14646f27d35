"""The record of the claims that ship, on the first reference checkpoint: what a whole page is laid out from.

It is a real run's, with three digits a number and without its example prompts, distributions, code and weights' sketch,
which the page shows where a claim is opened. After a change of the schema or of the claims, keep a new one:

    make verify && PYTHONPATH=tests .venv/bin/python -m support.shipped_record reports/latest.json
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from attnres_core.records.reading import checked, read_record
from attnres_core.records.schema import Record

KEPT = Path(__file__).parent / "shipped_record.json.gz"
_FOLDED: dict[str, Any] = {"examples": [], "by_stratum": [], "by_layer": [], "counterexamples": [], "source": ""}
"""What a claim shows only when it is opened, left out."""


def shipped_record() -> Record:
    """The kept record.

    Raises:
        ValueError: it is of another version of the schema.
    """
    return checked(json.loads(gzip.decompress(KEPT.read_bytes())))


def keep(record: Record) -> None:
    """Write the record as it is kept."""
    for model in record["models"].values():
        model.pop("sketch", None)
    claims = [claim | _FOLDED for claim in record["claims"]]
    small = record | {"claims": claims, "examples": {}, "estimands": {}}
    text = json.dumps(_short(small), separators=(",", ":"))
    KEPT.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _short(value: Any) -> Any:
    """The value with three digits a number: as many as the page shows."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    keep(read_record(Path(sys.argv[1])))
