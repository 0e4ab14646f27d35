"""Registered claims: what was claimed, and with which share of alpha, before its confirmation data were read.

    claims.lock     the claims beside their tests: statements, alpha_i, prompts; reviewed and committed
    claims.ledger   every registration ever made, one JSON line each, chained by digest: alpha is never refunded

Both are written by `pytest --attnres-register` alone. Knows no pytest and no model.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os.path
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnres_core.claims.claim import ALPHA, CLAIM_ALPHA, Claim, claim_key
from attnres_core.files import atomic
from attnres_core.prompts import WINDOW, Split
from attnres_core.statistics.sequential import FRACTIONS, SPENDING

LOCK, LEDGER = "claims.lock", "claims.ledger"
FORMAT = 1
_HEAD = """\
# Registered claims, with the share of alpha that each owns. Written by `pytest --attnres-register`;
# commit it, review its diffs, do not edit it: claims.ledger holds its digest.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered claim."""

    statements: tuple[str, ...]
    alpha: float
    """Its one-sided share of the error budget."""
    prompts: str
    """Digest of the prompt set it is to be confirmed on."""
    registered: str
    """The date."""
    post_hoc: str = ""
    """Why the registration came after the data, or after another statement; empty when it came before both."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a claim's verdict may rest on in this run."""

    split: Split
    alpha: float
    status: str
    """`registered`, `post hoc`, `other prompts`, `quick`, `fewer prompts` or `exploratory`."""
    note: str = ""
    error: str = ""
    """Why it cannot be decided: its statements are not those registered."""


def lock_folder(files: Iterable[Path], top: Path) -> Path:
    """The folder whose lock speaks of the claims in these files.

    The nearest one with a lock, from the folder that holds all of them up to `top`: a part of the registered claims
    finds the lock of the whole. Where there is none, the folder that holds all of them.

    Raises:
        ValueError: two files have one name; the lock knows claims by file and test name alone.
    """
    named: dict[str, Path] = {}
    for file in sorted(files):
        if (other := named.setdefault(file.name, file)) != file:
            raise ValueError(
                f"two files of claims are named {file.name}: {other} and {file}; a lock knows a claim by the names of "
                "its file and its test, so rename one of them"
            )
    common = Path(os.path.commonpath([file.parent for file in named.values()]))
    upward = [folder for folder in (common, *common.parents) if folder.is_relative_to(top)]
    return next((folder for folder in upward if (folder / LOCK).exists() or (folder / LEDGER).exists()), common)


class Registry:
    """The registered claims of one folder of tests.

    Raises:
        ValueError: the lock or the ledger is malformed, or the lock is not the one that was registered last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.ledger: list[dict[str, Any]] = []
        self.has_looks = False
        """Whether the lock holds the plan of looks that deciding early follows."""
        lock, ledger = folder / LOCK, folder / LEDGER
        if not lock.exists() and not ledger.exists():
            return
        try:
            text = lock.read_text(encoding="utf-8") if lock.exists() else ""
            lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
            self.ledger = [json.loads(line) for line in lines]
            previous = ""
            for number, (line, row) in enumerate(zip(lines, self.ledger, strict=True), 1):
                if row["previous"] != previous:
                    raise ValueError(f"line {number} of {LEDGER} does not follow the line before it")
                previous = _sha256(line)
            content = tomllib.loads(text)
            self.has_looks = (content.get("looks"), content.get("spending")) == (list(FRACTIONS), list(SPENDING))
            for key, fields in content.items():
                if isinstance(fields, dict):
                    self.entries[key] = Entry(**{**fields, "statements": tuple(fields["statements"])})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{lock}: unreadable registration ({error}); restore both files from git") from None
        if not self.ledger or self.ledger[-1]["lock"] != _sha256(text):
            remedy = f"restore it and {LEDGER} from git, or register what you mean with --attnres-register"
            raise ValueError(f"{lock} is not what was registered last; {remedy}")

    @property
    def digest(self) -> str:
        """SHA-256 of the lock; empty where nothing is registered."""
        return str(self.ledger[-1]["lock"]) if self.ledger else ""

    def standing(self, claim: Claim, prompts: str, *, quick: bool = False, part: str = "") -> Standing:
        """What this claim's verdict may rest on, given the run's prompt set and how much of it is read.

        Args:
            claim: the claim.
            prompts: digest of the whole prompt set.
            quick: whether this is a quick run.
            part: how many of how many confirmation prompts are read; empty: all.
        """
        entry = self.entries.get(claim_key(claim.node_id))
        if entry is None:
            note = "not registered: decided on the exploration split; --attnres-register registers it"
            return Standing(Split.EXPLORATION, CLAIM_ALPHA, "exploratory", note)
        if entry.statements != claim.texts:
            return Standing(Split.CONFIRMATION, entry.alpha, "registered", error=_side_by_side(entry, claim))
        if quick:
            return Standing(Split.CONFIRMATION, entry.alpha, "quick", "64 prompts: never confirmatory")
        if entry.prompts != prompts:
            note = f"registered for the prompt set {entry.prompts[:12]}, and this is {prompts[:12]}"
            return Standing(Split.CONFIRMATION, entry.alpha, "other prompts", note)
        if part:
            note = f"{part}: never confirmatory, or one could try every number until one will do"
            return Standing(Split.CONFIRMATION, entry.alpha, "fewer prompts", note)
        status = "post hoc" if entry.post_hoc else "registered"
        return Standing(Split.CONFIRMATION, entry.alpha, status, self._told(claim_key(claim.node_id), entry))

    def _told(self, key: str, entry: Entry) -> str:
        """Why a claim is post hoc, and since when these prompts have had another registration of it."""
        rows = [row["registered"] for row in self.ledger if row["prompts"] == entry.prompts and key in row["spent"]]
        known = not rows[:-1] or "restated" in entry.post_hoc
        again = "" if known else f"registered on these prompts before, on {', '.join(dict.fromkeys(rows[:-1]))}"
        return "; ".join(filter(None, [entry.post_hoc, again]))

    def spent(self, prompts: str, documents: Sequence[str] = ()) -> float:
        """The alpha that registrations ever took on this prompt set, or on one that shares a confirmation prompt.

        Dropped claims keep their share.
        """
        return sum(sum(row["spent"].values()) for row in self._rows_on(prompts, documents))

    def _rows_on(self, prompts: str, documents: Sequence[str]) -> list[dict[str, Any]]:
        own = set(documents)
        sets = {prompts} | {row["prompts"] for row in self.ledger if own & set(row.get("documents", ()))}
        return [row for row in self.ledger if row["prompts"] in sets]

    def register(
        self,
        claims: Iterable[Claim],
        prompts: str,
        *,
        seen: Mapping[str, str],
        documents: Sequence[str] = (),
        budget: int | None = None,
        whole_files: bool = False,
        today: str | None = None,
    ) -> list[str]:
        """Write the lock and a line of the ledger; returns what changed, in words.

        Args:
            claims: the collected claims.
            prompts: digest of the prompt set.
            seen: for node ids whose confirmation columns were measured already, why that is known.
            documents: what identifies the confirmation prompts, one by one.
            budget: share alpha among so many claims; default: those registered now.
            whole_files: whether every claim of the collected files is here, so that missing ones are withdrawn.
            today: the date, for tests.

        Raises:
            ValueError: the error budget of these prompts is spent.
        """
        date = today or datetime.date.today().isoformat()
        by_key = {claim_key(claim.node_id): claim for claim in claims}
        files = {key.split("::")[0] for key in by_key}
        entries, changes = dict(self.entries), list[str]()
        for key in sorted(self.entries):
            if whole_files and key.split("::")[0] in files and key not in by_key:
                changes.append(f"withdrawn: {key} (its alpha stays spent)")
                del entries[key]
        fresh = []
        for key, claim in sorted(by_key.items()):
            old = self.entries.get(key)
            if old is not None and old.statements == claim.texts and old.prompts == prompts:
                continue
            fresh.append(key)
            changed = old is not None and old.statements != claim.texts
            changes.append(_side_by_side(self.entries[key], claim) if changed else f"registered: {key}")
        if fresh:
            left = ALPHA - self.spent(prompts, documents)
            share = ALPHA / max(budget or 0, len(fresh)) if left == ALPHA else left / len(fresh)
            rows = self._rows_on(prompts, documents)
            taken = [alpha for row in rows for alpha in row["spent"].values()]
            same = {row["prompts"] for row in rows}
            others = {key: row["registered"] for row in rows if row["prompts"] != prompts for key in row["spent"]}
            share = min([share, *taken])
            if share <= 1e-9:
                raise ValueError(
                    f"the error budget of this prompt set is spent ({ALPHA - left:.4g} of {ALPHA}) and {len(fresh)} "
                    "claims are new or changed; register them on a fresh prompt set (--attnres-prompts)"
                )
            for key in fresh:
                why = seen.get(by_key[key].node_id, "")
                if key in others:
                    why = why or f"registered on {others[key]} for a prompt set that shares confirmation prompts"
                earlier = self.entries.get(key)
                if earlier and earlier.statements != by_key[key].texts and earlier.prompts in same:
                    restated = f"restated; an earlier statement was registered {earlier.registered}"
                    why = "; ".join(filter(None, [why, restated]))
                entries[key] = Entry(by_key[key].texts, share, prompts, date, why)
        if self.ledger and documents and not any("documents" in row for row in self._rows_on(prompts, ())):
            changes.append("the confirmation prompts are in the ledger, one by one")
        if self.ledger and not self.has_looks:
            changes.append("the looks of --attnres-sequential are in the lock")
        if changes:
            self._write(entries, {key: entries[key].alpha for key in fresh}, prompts, documents, date)
        return changes

    def _write(
        self, entries: dict[str, Entry], spent: dict[str, float], prompts: str, documents: Sequence[str], date: str
    ) -> None:
        text = _lock_text(entries)
        last = self.folder / LEDGER
        lines = last.read_text(encoding="utf-8").splitlines() if last.exists() else []
        row = {"registered": date, "prompts": prompts, "lock": _sha256(text), "spent": spent}
        row["documents"] = sorted(documents)
        row["previous"] = _sha256(lines[-1]) if lines else ""
        for name, content in ((LOCK, text), (LEDGER, "\n".join([*lines, json.dumps(row)]) + "\n")):
            with atomic(self.folder / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
        self.entries, self.ledger, self.has_looks = entries, [*self.ledger, row], True


def _lock_text(entries: Mapping[str, Entry]) -> str:
    """The lock as TOML, claims in order of their ids, one statement a line."""
    total = sum(entry.alpha for entry in entries.values())
    lines = [_HEAD, f"format = {FORMAT}", f"alpha = {ALPHA}  # of which these claims own {total:.6g}"]
    lines += [f"window = {WINDOW}  # tokens of a prompt that are read", 'order = "sha-256 of the prompts"']
    lines.append(f"looks = {list(FRACTIONS)}  # --attnres-sequential: shares of the documents, in that order ...")
    lines.append(f"spending = {list(SPENDING)}  # ... and the share of a claim's alpha that each may spend on `>`")
    for key, entry in sorted(entries.items()):
        lines += ["", f"[{json.dumps(key)}]", "statements = ["]
        lines += [f"    {json.dumps(statement)}," for statement in entry.statements]
        lines += ["]", f"alpha = {entry.alpha!r}", f'prompts = "{entry.prompts}"', f'registered = "{entry.registered}"']
        if entry.post_hoc:
            lines.append(f"post_hoc = {json.dumps(entry.post_hoc)}")
    return "\n".join(lines) + "\n"


def _side_by_side(entry: Entry, claim: Claim) -> str:
    """A changed claim, old and new."""
    old, new = _numbered("registered", entry.statements), _numbered("now", claim.texts)
    return "\n".join(
        [
            f"the statements of {claim_key(claim.node_id)} are not those registered on {entry.registered}",
            *old,
            *new,
            "restore them, or register the new ones with --attnres-register (they take a share of alpha of their own)",
        ]
    )


def _numbered(label: str, statements: Sequence[str]) -> list[str]:
    return [f"  {label:<11} {statement}" for statement in statements]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
