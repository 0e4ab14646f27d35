"""Runs' JSON records, read back; what stands in one may come from anybody, and is made harmless where it is shown."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import cast

from attnres_core.records.schema import VERSION, Record
from attnres_core.records.validation import Mismatch, check

_ACTIVE = re.compile(r"([\\`*_{}\[\]|~$#@]|:(?=[/\w+-]*[:/]))")
"""Characters that Markdown may read as markup; a colon only in what could be an address or an emoji."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def read_record(path: Path) -> Record:
    """A run's JSON record.

    Raises:
        ValueError: it is none, another version's or not as it was written, with the remedy.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; give a run's record, such as reports/latest.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: unreadable ({error}); give a run's record, such as reports/latest.json") from None
    version = record.get("schema") if isinstance(record, dict) else None
    if type(version) is not int or "claims" not in record:
        raise ValueError(f"{path}: no record of a run (`schema` and `claims`); give one such as reports/latest.json")
    if version != VERSION:
        raise ValueError(
            f"{path}: a record of version {version}, and this attnres-core reads version {VERSION}; make the run again "
            "with this one (what was measured is still in the store), or read the record with the one that wrote it"
        )
    try:
        return checked(record)
    except Mismatch as problem:
        remedy = "give one that this version wrote, as it was written"
        raise ValueError(f"{path}: a malformed record ({one_line(problem)}); {remedy}") from None


def checked(value: object) -> Record:
    """The value, which is a record of this version.

    Raises:
        Mismatch: it is not, or it speaks of what it does not hold; the message names the place.
    """
    check(value, Record)
    record = cast(Record, value)
    if "trained" not in record["models"]:
        raise Mismatch("models: lacks `trained`")
    for place, claim in enumerate(record["claims"]):
        shown, stated = claim["deciding"], len(claim["statements"])
        if shown is not None and not 0 <= shown < stated:
            raise Mismatch(f"claims[{place}].deciding: {shown} is none of its {stated} statements")
    return record


def one_line(text: object) -> str:
    """Without control, formatting and line-breaking characters: what a terminal obeys, or what turns text around."""
    seen = (" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in str(text))
    return " ".join("".join(seen).split())


def escaped(text: object) -> str:
    """One line of text that neither Markdown nor HTML reads as anything else."""
    inert = "".join(_ENTITIES.get(character, character) for character in one_line(text))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", _ACTIVE.sub(r"\\\1", inert))
