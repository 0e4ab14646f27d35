"""Proof that a lock came before its data: its author's word alone, the git history, or a proof of its time."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attnres_core.registration.ledger import LOCK, READS, Row

Label = Literal["none", "self-attested", "committed", "anchored"]
PROOFS = (".ots", ".tsr")
"""Endings of a timestamp proof beside the lock: OpenTimestamps, RFC 3161."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """The witness of a lock's date."""

    label: Label
    """`none`: there is no lock. `self-attested`: its author says so. `committed`: it was committed to git before its
    confirmation prompts were read. `anchored`: a signed tag, or a timestamp proof, is about it."""
    commit: str = ""
    """The commit that last changed the lock; empty: it is not committed as it stands."""
    date: str = ""
    """The date of that commit, ISO 8601. Git takes it from its author's clock."""
    note: str = ""
    """The proof that makes it anchored, and whether that was checked; or why it is only self-attested."""

    def __str__(self) -> str:
        """`committed 0123456789ab on 2026-11-29`."""
        commit = f" {self.commit[:12]} on {self.date[:10]}" if self.commit else ""
        return f"{self.label}{commit}{f' ({self.note})' if self.note else ''}"


def attested(folder: Path, lock: str, reads: list[Row], name: str = LOCK) -> Attestation:
    """Return what stands behind a lock.

    Args:
        folder: holds the lock.
        lock: its digest; empty: there is none.
        reads: the folder's notes of what was read.
        name: the lock's file.
    """
    if not lock:
        return Attestation("none")
    commit, _, date = _git(folder, "log", "-1", "--format=%H %cI", "--", name).partition(" ")
    committed = bool(commit) and _as_committed(folder, name)
    early = [row["read"] for row in reads if row["lock"]]
    if early:
        note = f"its confirmation prompts were read on {early[0]}, before it was committed"
        return Attestation("self-attested", *((commit, date) if committed else ("", "")), note)
    ledger = Path(name).with_suffix(".ledger").name
    for file, lost in ((ledger, "registrations may have been taken back"), (READS, "reads may have been forgotten")):
        if removed := _removed(folder, file):
            note = f"git removed lines of {file} in {removed}: {lost}"
            return Attestation("self-attested", *((commit, date) if committed else ("", "")), note)
    if committed and not _as_committed(folder, ledger):
        return Attestation("self-attested", note=f"{ledger} is not committed as it stands; commit it with {name}")
    if proof := _proof(folder / name):
        return Attestation("anchored", *((commit, date) if committed else ("", "")), proof)
    if not committed:
        return Attestation("self-attested", note="not committed to git")
    for tag in _git(folder, "tag", "--contains", commit).split()[:20]:
        if _verified(folder, tag) and _git(folder, "show", f"{tag}:./{name}", strip=False) == _text(folder / name):
            return Attestation("anchored", commit, date, f"signed tag {tag}, verified by git")
    return Attestation("committed", commit, date)


def _removed(folder: Path, ledger: str) -> str:
    """The last commit that took lines out of a ledger, to which lines are only ever added; empty: none did."""
    commit = ""
    for line in _git(folder, "log", "--format=%h", "--numstat", "--", ledger).splitlines():
        added, _, rest = line.partition("\t")
        if not rest:
            commit = added or commit
        elif rest.partition("\t")[0] != "0":  # ("-": declared binary, so that git counts nothing)
            return commit
    return ""


def _as_committed(folder: Path, name: str) -> bool:
    """Return whether a file is what git holds of it."""
    file = folder / name
    return file.is_file() and _git(folder, "show", f"HEAD:./{name}", strip=False) == _text(file)


def _proof(lock: Path) -> str:
    """The timestamp proof beside a lock that names the lock's digest; empty: none does."""
    digest = hashlib.sha256(lock.read_bytes()).digest()
    for ending in PROOFS:
        file = lock.with_name(lock.name + ending)
        if file.is_file() and digest in file.read_bytes():
            return f"{file.name} names this lock's digest; its time was not checked here"
    return ""


def _verified(folder: Path, tag: str) -> bool:
    """Return whether a tag is signed, by a key that git trusts here."""
    return _call(folder, "verify-tag", tag) is not None


def _git(folder: Path, *arguments: str, strip: bool = True) -> str:
    """Return what git says; empty where it fails or is not installed."""
    said = _call(folder, *arguments) or ""
    return said.strip() if strip else said


def _call(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "replace")
