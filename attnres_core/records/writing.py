"""A run's record as the JSON that `reading.read_record` reads."""

from __future__ import annotations

import json

from attnres_core.records.schema import Record


def record_text(record: Record) -> str:
    """The record as JSON, one value a line.

    Raises:
        ValueError: it holds a NaN or an infinite number (write a missing limit as None).
    """
    return json.dumps(record, allow_nan=False, indent=1) + "\n"
