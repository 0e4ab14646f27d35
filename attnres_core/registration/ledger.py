"""The ledger: every registration ever made; and the notes of prompts that were read without one.

    claims.ledger   one JSON line for each registration, chained by digest: alpha is never refunded
    claims.reads    one JSON line for each set of prompts that was read before, or without, a registration

The ledgers of one project are pooled: the same prompts have one error budget, whichever folder spends it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import SoftFileLock, Timeout

from attnres_core.claims.claim import Claim
from attnres_core.files import writing
from attnres_core.prompts import Split
from attnres_core.quantities.ablations import REMOVALS

LOCK, LEDGER, READS = "claims.lock", "claims.ledger", "claims.reads"
Row = dict[str, Any]
_SKIPPED = {"node_modules", "site-packages", "__pycache__", ".git", ".venv"}
"""Folders that hold other people's projects."""
_NOTE = {"read", "split", "quantities", "lock", "digests"}
"""What each line of notes holds."""
NOTES_LOCK = f".{READS}.lock"
"""Beside the notes, while one process adds to them."""
NOTES_SECONDS = 60.0
"""Another process holds that lock for milliseconds: one that is there for so long was left by a process that died."""
NOTES_STALE = 3600.0
"""So old, it goes: in a clone, a lock that somebody committed is as old as the clone."""
_REMOVED = re.compile(rf"^({'|'.join(REMOVALS)})\(")
_HOW = re.compile(r", (?:recomputed|\d+ draws?)(?=[,)])")
"""What says how it is taken away, not what."""


@dataclass(frozen=True, slots=True)
class PromptDigests:
    """The digests that identify the prompts of a run, each by what is scored of it."""

    confirmation: tuple[str, ...] = ()
    exploration: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()
    """The confirmation prompts as ledgers of format 1 name them."""


def sha256(text: str) -> str:
    """SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def ledger_rows(folder: Path) -> list[Row]:
    """The registrations of a folder, oldest first; none where there is no ledger.

    Raises:
        ValueError: the ledger is malformed, or a line does not follow the line before it.
    """
    file = folder / LEDGER
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    previous, rows = "", []
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        if row["previous"] != previous:
            raise ValueError(f"line {number} of {LEDGER} does not follow the line before it")
        previous = sha256(line)
        rows.append(row)
    return rows


def read_rows(folder: Path) -> list[Row]:
    """The notes of prompts that were read, oldest first.

    Raises:
        ValueError: the file is malformed.
    """
    file = folder / READS
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(row, dict) and row.keys() >= _NOTE for row in rows):
            raise ValueError(f"a line lacks one of {', '.join(sorted(_NOTE))}")
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{file}: unreadable ({error}); restore it from git") from None
    return rows


def folders_below(roots: Iterable[Path]) -> list[Path]:
    """The folders below these, themselves included, that hold a ledger or notes of what was read."""
    found = set[Path]()
    for root in roots:
        for folder, inner, files in os.walk(root):
            inner[:] = [name for name in inner if name not in _SKIPPED]
            if LEDGER in files or READS in files:
                found.add(Path(folder).resolve())
    return sorted(found)


def project_of(folder: Path) -> Path:
    """The top of the git repository that holds a folder; the folder itself where none does."""
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)


def notes_folder(here: Path) -> Path:
    """Return where notes of reads in a folder belong: beside the nearest lock upward, else in the folder itself."""
    upward = (here, *here.parents)
    return next((f for f in upward if any((f / name).exists() for name in (LOCK, LEDGER, READS))), here)


def note_read(
    folder: Path, split: Split, digests: Sequence[str], quantities: Iterable[str] = (), *, lock: str = ""
) -> None:
    """Write down that prompts were read, unless that is written down already.

    Args:
        folder: where the notes are.
        split: what the prompts were read as.
        digests: the prompts, by what is scored of them.
        quantities: what was measured on them.
        lock: digest of a lock that was not committed when its confirmation prompts were read.

    Raises:
        ValueError: the file is malformed or cannot be written.
    """
    told = {"split": str(split), "quantities": sorted(set(quantities)), "lock": lock}
    add_note(folder, {"read": datetime.date.today().isoformat(), **told, "digests": sorted(set(digests))})


def add_note(folder: Path, note: Row) -> None:
    """Add a note of what was read, unless others say as much; processes of several machines may do so at once.

    Raises:
        ValueError: the file is malformed or cannot be written.
    """
    if _told(folder, note):  # (a folder that cannot be written may hold all that there is to say)
        return
    with _adding(folder):
        if not _told(folder, note):
            with (folder / READS).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(note) + "\n")


def _told(folder: Path, note: Row) -> bool:
    """Whether a folder's notes say as much as another."""
    known = set[str]()
    for row in read_rows(folder):
        same = row["split"] == note["split"] and row["lock"] == note["lock"]
        known |= set(row["digests"]) if same and set(note["quantities"]) <= set(row["quantities"]) else set()
    return set(note["digests"]) <= known


@contextlib.contextmanager
def _adding(folder: Path) -> Iterator[None]:
    """Let no other process add to a folder's notes, on this machine or another that shares the folder.

    The lock is a file that must not be there before: network file systems have that, too, and appending to a file from
    two machines at once would lose a line.

    Raises:
        ValueError: the folder cannot be written, or the lock stays.
    """
    lock = folder / NOTES_LOCK
    with writing(folder / READS):
        with contextlib.suppress(OSError):
            if time.time() - lock.stat().st_mtime > NOTES_STALE:
                lock.unlink()
        try:
            with SoftFileLock(lock, timeout=NOTES_SECONDS):
                yield
        except Timeout:
            raise ValueError(
                f"{folder / READS} cannot be written: another process has held {lock} for {NOTES_SECONDS:.0f} s; if "
                "none runs, it died: remove that file"
            ) from None


def move_notes(source: Path, target: Path) -> None:
    """Move the notes of one folder to another; of several processes that do so at once, one does it.

    Raises:
        ValueError: a file is malformed or cannot be written.
    """
    if (source / READS).is_file() and source.resolve() != target.resolve():
        with _adding(source):
            carry_notes(source, target)
            (source / READS).unlink(missing_ok=True)


def carry_notes(source: Path, target: Path) -> None:
    """Add the notes of one folder to those of another.

    Raises:
        ValueError: a file is malformed or cannot be written.
    """
    for row in read_rows(source):
        add_note(target, row)


def explored(rows: Iterable[Row]) -> dict[str, str]:
    """The date on which each prompt was first read as exploration, by its digest."""
    dates: dict[str, str] = {}
    for row in rows:
        read = row["digests"] if row.get("split") == Split.EXPLORATION else row.get("explored", ())
        for digest in read:
            dates.setdefault(digest, row.get("read") or row["registered"])
    return dates


def stated(claim: Claim) -> list[list[Any]]:
    """A claim's statements as a ledger holds them: the text, and the quantities that it is about."""
    return [
        [str(statement), sorted({str(quantity) for quantity, _ in statement.form.terms})]
        for statement in claim.statements
    ]


def subject(quantity: str) -> str:
    """Return a quantity's subject, however the family is taken away: `without(embedding, mlp, early) on trained`."""
    return _HOW.sub("", _REMOVED.sub("without(", quantity))
