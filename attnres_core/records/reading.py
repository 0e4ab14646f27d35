"""Runs' JSON records, read back; what stands in one may come from anybody, and is made harmless where it is shown."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
_ACTIVE = re.compile(r"([\\`*_{}\[\]|~$#@]|:(?=[/\w+-]*[:/]))")
"""What Markdown may read as markup; a colon only in what could be an address or an emoji."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def read_record(path: Path) -> dict[str, Any]:
    """A run's JSON record.

    Raises:
        ValueError: it is none that this version wrote, with the remedy.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; give a run's record, such as reports/latest.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: unreadable ({error}); give a run's record, such as reports/latest.json") from None
    if not isinstance(record, dict) or record.get("schema") != 1 or "claims" not in record:
        raise ValueError(f"{path}: no record of a run (schema 1 with `claims`); give one such as reports/latest.json")
    return record


def one_line(text: object) -> str:
    """Without control, formatting and line-breaking characters: what a terminal obeys, or what turns text around."""
    seen = (" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in str(text))
    return " ".join("".join(seen).split())


def escaped(text: object) -> str:
    """One line of text that neither Markdown nor HTML reads as anything else."""
    inert = "".join(_ENTITIES.get(character, character) for character in one_line(text))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", _ACTIVE.sub(r"\\\1", inert))
