"""Registered claims: what was claimed, and with which share of alpha, before its confirmation data were read.

    claims.lock     the claims beside their tests: statements, alpha_i, prompts; reviewed and committed
    claims.ledger   every registration ever made, one JSON line each, chained by digest: alpha is never refunded

Both are written by `pytest --attnres-register` alone. Knows no pytest and no model. A registration of format 1, from
before ledgers knew prompts by what is scored of them, is migrated by the same command: every mark and share stays.
"""

from __future__ import annotations

import datetime
import json
import os.path
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnres_core.claims.claim import ALPHA, CLAIM_ALPHA, Claim, claim_key
from attnres_core.files import atomic
from attnres_core.prompts import WINDOW, Split
from attnres_core.registration.ledger import (
    LEDGER,
    LOCK,
    PromptDigests,
    Row,
    explored,
    folders_below,
    ledger_rows,
    read_rows,
    sha256,
    stated,
    subject,
)
from attnres_core.statistics.sequential import EARLY_VERDICTS, FRACTIONS, SPENDING

FORMAT = 2
_PLAN = {"looks": list(FRACTIONS), "spending": list(SPENDING), "early": list(EARLY_VERDICTS)}
"""Of --attnres-sequential, as the lock holds it."""
_OVER = re.compile(r" on [\w-]+ over [^' ]")
"""In a statement's text, a prompt set that it names; variants stand in quotes."""
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
    title: str = ""
    group: str = ""
    cites: str = ""
    under: tuple[str, ...] | None = None
    """The cases that its statements belong to, in their order (see `Claim.under`); None: registered before locks held
    them."""

    def is_of(self, claim: Claim) -> bool:
        """True if the claim is as it was registered: statements, their cases, title, group and citation."""
        same = (self.statements, self.title, self.group, self.cites) == _locked(claim)
        return same and self.under in (None, claim.under)


def _locked(claim: Claim) -> tuple[tuple[str, ...], str, str, str]:
    """The entry of a claim in a lock."""
    return claim.texts, claim.title, claim.group, claim.cites or ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of a claim in this run: what its verdict may rest on."""

    split: Split
    alpha: float
    status: str
    """`registered`, `post hoc`, `other prompts`, `quick`, `fewer prompts` or `exploratory`."""
    note: str = ""
    error: str = ""
    """The reason why it cannot be decided: its statements are not those registered."""


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

    Args:
        folder: holds the lock and the ledger.
        roots: the ledgers below these folders are pooled with it.

    Raises:
        ValueError: the lock or the ledger is malformed, or the lock is not the one that was registered last.
    """

    def __init__(self, folder: Path, roots: Iterable[Path] = ()) -> None:
        self.folder, self.roots = folder, tuple(roots)
        self.entries: dict[str, Entry] = {}
        self.ledger: list[Row] = []
        self.format = FORMAT
        self.has_looks = False
        """True if the lock holds the plan that deciding early follows: looks, spending, which verdicts may fall."""
        lock, ledger = folder / LOCK, folder / LEDGER
        if not lock.exists() and not ledger.exists():
            return
        try:
            text = lock.read_text(encoding="utf-8") if lock.exists() else ""
            self.ledger = ledger_rows(folder)
            content = tomllib.loads(text)
            self.has_looks = all(content.get(name) == value for name, value in _PLAN.items())
            self.format = content.get("format", 1)
            for key, fields in content.items():
                if isinstance(fields, dict):
                    lists = {name: tuple(fields[name]) for name in ("statements", "under") if name in fields}
                    self.entries[key] = Entry(**{**fields, **lists})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{lock}: unreadable registration ({error}); restore both files from git") from None
        if not self.ledger or self.ledger[-1]["lock"] != sha256(text):
            remedy = f"restore it and {LEDGER} from git, or register what you mean with --attnres-register"
            raise ValueError(f"{lock} is not what was registered last; {remedy}")

    @property
    def digest(self) -> str:
        """SHA-256 of the lock; empty where nothing is registered."""
        return str(self.ledger[-1]["lock"]) if self.ledger else ""

    @property
    def outdated(self) -> str:
        """Return why nothing can be decided by this lock, and which command to type; empty: it can."""
        if self.format == FORMAT:
            return ""
        return (
            f"{self.folder / LOCK} has format {self.format}, and this version reads {FORMAT}: type "
            f"`pytest {self.folder} -n 0 --attnres-register` once, with the options of your runs. Every mark and "
            "every share of alpha stays"
        )

    def standing(self, claim: Claim, prompts: str, *, quick: bool = False, part: str = "") -> Standing:
        """Return a claim's standing, given the run's prompt set and how much of it is read.

        Args:
            claim: the claim.
            prompts: digest of the whole prompt set.
            quick: whether this is a quick run.
            part: how many of how many confirmation prompts are read; empty: all.
        """
        entry = self.entries.get(claim_key(claim.node_id))
        if entry is None:
            note = "not registered: decided on the exploration split; --attnres-register registers claims"
            return Standing(Split.EXPLORATION, CLAIM_ALPHA, "exploratory", note)
        if self.outdated:
            return Standing(Split.CONFIRMATION, entry.alpha, "registered", error=self.outdated)
        if not entry.is_of(claim):
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
        """Return why a claim is post hoc, and since when these prompts have had another registration of it.

        A withdrawn claim of the same statements is the same claim under another name.
        """
        earlier = list[str]()
        for row in (row for row in self.ledger if row["prompts"] == entry.prompts):
            said = {name: tuple(text for text, _ in texts) for name, texts in row.get("statements", {}).items()}
            same = [name for name in row["spent"] if name not in self.entries and said.get(name) == entry.statements]
            if key in row["spent"] or same:
                earlier.append(row["registered"])
        known = not earlier[:-1] or "restated" in entry.post_hoc
        again = "" if known else f"registered on these prompts before, on {', '.join(dict.fromkeys(earlier[:-1]))}"
        return "; ".join(filter(None, [entry.post_hoc, again]))

    def spent(self, *sets: tuple[str, Sequence[str]]) -> float:
        """The alpha that registrations ever took on these prompt sets, or on one that shares a confirmation prompt.

        Dropped claims keep their share; so do those of the other folders whose ledgers are pooled.

        Args:
            sets: each set's digest, and the digests of its confirmation prompts.
        """
        return sum(sum(row["spent"].values()) for row in _on_any(self._pooled(), sets))

    def _pooled(self) -> list[Row]:
        """The rows of every ledger below the roots: this folder's, then the others', whose claims bear their folder.

        Raises:
            ValueError: another folder's ledger is malformed.
        """
        rows = list(self.ledger)
        for folder in folders_below(self.roots):
            if folder != self.folder.resolve():
                try:
                    found = ledger_rows(folder)
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{folder / LEDGER}: unreadable ({error}); restore it from git") from None
                rows += [_elsewhere(row, folder) for row in found]
        return rows

    def _reads(self) -> list[Row]:
        """The notes of every folder below the roots, and of this one."""
        folders = dict.fromkeys([self.folder.resolve(), *folders_below(self.roots)])
        return [row for folder in folders for row in read_rows(folder)]

    def register(
        self,
        claims: Iterable[Claim],
        prompts: str,
        *,
        seen: Mapping[str, str],
        digests: PromptDigests | None = None,
        named: Mapping[str, tuple[str, PromptDigests]] | None = None,
        budget: int | None = None,
        whole_files: bool = False,
        whole_folder: bool = False,
        today: str | None = None,
    ) -> list[str]:
        """Write the lock and a line of the ledger; returns what changed, in words.

        Args:
            claims: the collected claims.
            prompts: digest of the prompt set.
            seen: for node ids whose confirmation columns were measured already, why that is known.
            digests: what identifies the prompts, one by one.
            named: the same of every prompt set that a claim names: its digest, and its prompts. One budget serves all
                sets of a run.
            budget: give each claim alpha divided by this; default: half of what is left, among those registered now. No
                share is larger than the smallest before it.
            whole_files: whether every claim of the collected files is here, so that missing ones are withdrawn.
            whole_folder: whether all files of the folder were collected, so that claims whose file is gone are
                withdrawn.
            today: the date, for tests.

        Raises:
            ValueError: the error budget of these prompts is spent, or a lock of format 1 holds claims that are not
                here.
        """
        date, digests = today or datetime.date.today().isoformat(), digests or PromptDigests()
        sets = {"": (prompts, digests), **(named or {})}
        by_key = {claim_key(claim.node_id): claim for claim in claims}
        changes, known = self._migrated(by_key, digests), dict(self.entries)
        entries = dict(known)
        collected = {key.split("::")[0] for key in by_key}
        there = {path.name for path in self.folder.rglob("*.py")} if whole_folder else set()
        for key in sorted(known):
            file = key.split("::")[0]
            gone = whole_folder and file not in there
            if key not in by_key and (gone or (whole_files and file in collected)):
                changes.append(f"withdrawn: {key} (its alpha stays spent)")
                del entries[key]
        fresh = []
        for key, claim in sorted(by_key.items()):
            old = known.get(key)
            if old is not None and old.is_of(claim) and old.prompts == sets[claim.prompts][0]:
                continue
            fresh.append(key)
            changes.append(_side_by_side(old, claim) if old and not old.is_of(claim) else f"registered: {key}")
        if fresh:
            pooled = self._pooled()
            every = [(digest, (*own.confirmation, *own.formerly)) for digest, own in sets.values()]
            beside = {e.prompts for key, e in entries.items() if key not in fresh and _names_prompts(e.statements)}
            counted = [*every, *((digest, ()) for digest in sorted(beside))]
            shares = _shares({key: by_key[key] for key in fresh}, _on_any(pooled, counted), budget)
            for (name, (digest, own)), one in zip(sets.items(), every, strict=True):
                rows = _on(pooled, *one)
                before = self._before(rows, digest, own)
                for key in fresh:
                    claim, old = by_key[key], known.get(key)
                    if claim.prompts != name:
                        continue
                    why = [seen.get(claim.node_id, ""), *before(claim)]
                    same = {row["prompts"] for row in rows}
                    if old is not None and not old.is_of(claim) and old.prompts in same:
                        why = [reason for reason in why if not reason.startswith("restated")]
                        why.append(f"restated; an earlier statement was registered {old.registered}")
                    told = "; ".join(dict.fromkeys(filter(None, why)))
                    texts, title, group, cites = _locked(claim)
                    facts = (digest, date, told, title, group, cites, claim.under)
                    entries[key] = Entry(texts, shares[key], *facts)
        listed = [
            name
            for name, (digest, own) in sets.items()
            if self.ledger and not {*own.confirmation, *own.exploration} <= _named(_on(self.ledger, digest, ()))
        ]
        if listed:
            changes.append("the prompts are in the ledger, one by one")
        if self.ledger and not self.has_looks:
            changes.append("the looks of --attnres-sequential are in the lock")
        about = by_key if self.format != FORMAT else {key: by_key[key] for key in fresh}
        rows = [
            {
                "registered": date,
                "prompts": digest,
                "spent": {key: entries[key].alpha for key in fresh if by_key[key].prompts == name},
                "statements": {key: stated(claim) for key, claim in sorted(about.items()) if claim.prompts == name},
                "documents": sorted(own.confirmation),
                "explored": sorted(own.exploration),
                "post_hoc": {
                    key: e.post_hoc for key, e in sorted(entries.items()) if e.post_hoc and e.prompts == digest
                },
            }
            for name, (digest, own) in sets.items()
            if not name or name in listed or any(by_key[key].prompts == name for key in fresh)
        ]
        if changes:
            for key in by_key.keys() & entries.keys():
                entries[key] = replace(entries[key], under=by_key[key].under)
            self._write(entries, rows)
        return changes

    def _migrated(self, by_key: Mapping[str, Claim], digests: PromptDigests) -> list[str]:
        """Give entries of format 1 what format 2 locks: title, group and citation, as they are now.

        Raises:
            ValueError: claims of the lock were not collected, or the prompts are not given one by one.
        """
        if self.format == FORMAT:
            return []
        if missing := sorted(self.entries.keys() - by_key.keys()):
            raise ValueError(
                f"{self.folder / LOCK} has format {self.format}; to migrate it, collect all of its claims: "
                f"{missing[0]} is not here (give the whole folder, without -k)"
            )
        if not digests.confirmation:
            raise ValueError(f"{self.folder / LOCK} has format {self.format}; to migrate it, its prompts are needed")
        for key, entry in self.entries.items():
            _, title, group, cites = _locked(by_key[key])
            self.entries[key] = replace(entry, title=title, group=group, cites=cites)
        return [f"migrated from format {self.format} to {FORMAT}; every mark and every share of alpha stays"]

    def _before(self, rows: Sequence[Row], prompts: str, digests: PromptDigests) -> _Before:
        """Return what is known to come before a registration on these prompts.

        Args:
            rows: the registrations on them, of every pooled ledger.
            prompts: digest of the prompt set.
            digests: the prompts one by one.
        """
        reads, pooled = self._reads(), self._pooled()
        own = set(digests.confirmation)
        looked = {digest: date for digest, date in explored([*pooled, *reads]).items() if digest in own}
        locks = {row["lock"] for row in pooled}  # (what was read under a lock of theirs was registered)
        read = [row for row in reads if row["split"] == Split.CONFIRMATION and row["lock"] not in locks]
        measured = [row["read"] for row in read if own & set(row["digests"])]
        others = [row for row in rows if row["prompts"] != prompts and not _same(row, digests)]
        return _Before(rows, others, looked, len(own), measured)

    @property
    def withdrawn(self) -> int:
        """Claims that were registered once and are in the lock no more."""
        return len({key for row in self.ledger for key in row["spent"]} - self.entries.keys())

    def _write(self, entries: dict[str, Entry], rows: Sequence[Row]) -> None:
        text = _lock_text(entries)
        last = self.folder / LEDGER
        lines = last.read_text(encoding="utf-8").splitlines() if last.exists() else []
        for row in rows:
            row |= {"lock": sha256(text), "previous": sha256(lines[-1]) if lines else ""}
            lines.append(json.dumps(row))
        for name, content in ((LOCK, text), (LEDGER, "\n".join(lines) + "\n")):
            with atomic(self.folder / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
        self.entries, self.ledger, self.has_looks, self.format = entries, [*self.ledger, *rows], True, FORMAT


@dataclass(frozen=True, slots=True)
class _Before:
    """The past of a registration; called with a claim, it says why that makes the claim post hoc."""

    rows: Sequence[Row]
    """The registrations on these prompts, or on some of them."""
    others: Sequence[Row]
    """Those of them that were for other sets of prompts."""
    looked: Mapping[str, str]
    """The confirmation prompts that were explored, and when."""
    count: int
    """The number of confirmation prompts."""
    measured: Sequence[str]
    """The time when confirmation prompts were measured without a registration."""

    def __call__(self, claim: Claim) -> list[str]:
        told = []
        if self.looked:
            first = min(self.looked.values())
            told.append(f"{len(self.looked)} of {self.count} confirmation prompts were explored, the first on {first}")
        if self.measured:
            told.append(f"confirmation prompts were measured on {min(self.measured)} without a registration")
        if self.others:
            first = min(row["registered"] for row in self.others)
            told.append(f"some of these confirmation prompts were registered on {first}, in another set of prompts")
        return told + self._asked(stated(claim))

    def _asked(self, mine: Sequence[Sequence[Any]]) -> list[str]:
        """Return what was asked before about the quantities of one of these statements, where it was not the same.

        The same statement under another name brings the mark of the earlier one along.
        """
        told = list[str]()
        for text, quantities in mine:
            own = set(map(subject, quantities))
            earlier = dict[str, tuple[str, list[str]]]()  # what each claim said at first, and when
            for row in self.rows:
                for key, statements in row.get("statements", {}).items():
                    if texts := [each for each, about in statements if set(map(subject, about)) == own]:
                        earlier.setdefault(key, (row["registered"], texts))
            marks = {
                key: row["post_hoc"][key] for row in self.rows for key in earlier if key in row.get("post_hoc", {})
            }
            if earlier and not any(text in texts for _, texts in earlier.values()):
                key, (date, texts) = min(earlier.items(), key=lambda item: item[1][0])
                told.append(f"restated; `{texts[0]}` of {key} was registered {date}")
            told += [f"as {key} was: {mark}" for key, mark in sorted(marks.items())]
        return told[:1]


def _names_prompts(statements: Iterable[str]) -> bool:
    """Return whether a claim names its prompts, so that every run decides it, whatever prompts the run is given."""
    return any(_OVER.search(text) for text in statements)


def _named(rows: Iterable[Row]) -> set[str]:
    """The prompts that these registrations name one by one."""
    return {digest for row in rows for field in ("documents", "explored") for digest in row.get(field, ())}


def _same(row: Row, digests: PromptDigests) -> bool:
    """Return whether a registration was for the same confirmation prompts, under whatever names."""
    return set(row.get("documents", ())) in (set(digests.confirmation), set(digests.formerly))


def _on(rows: Sequence[Row], prompts: str, documents: Sequence[str]) -> list[Row]:
    """The rows of registrations on a prompt set, or on one that shares a confirmation prompt with it."""
    own = set(documents)
    sets = {prompts} | {row["prompts"] for row in rows if own & set(row.get("documents", ()))}
    return [row for row in rows if row["prompts"] in sets]


def _on_any(rows: Sequence[Row], sets: Iterable[tuple[str, Sequence[str]]]) -> list[Row]:
    """The rows of registrations on any of these prompt sets, each once: their budget is one."""
    found = {id(row) for prompts, documents in sets for row in _on(rows, prompts, documents)}
    return [row for row in rows if id(row) in found]


def _elsewhere(row: Row, folder: Path) -> Row:
    """Another folder's row, each claim named with its folder."""
    named = {
        field: {f"{folder.name}/{key}": value for key, value in row.get(field, {}).items()}
        for field in ("spent", "statements", "post_hoc")
    }
    return row | named


def _shares(fresh: Mapping[str, Claim], rows: Sequence[Row], budget: int | None) -> dict[str, float]:
    """The share of alpha of each claim that is registered now; what is exact takes none.

    Raises:
        ValueError: the error budget is spent.
    """
    paying = [key for key, claim in fresh.items() if not claim.is_exact]
    taken = [alpha for row in rows for alpha in row["spent"].values() if alpha]
    spent = sum(taken)
    whole = (ALPHA - spent) / max(1, len(paying))
    share = min([ALPHA / budget if budget else whole / 2, whole, *taken])
    if paying and share <= 1e-9:
        raise ValueError(
            f"the error budget of this prompt set is spent ({spent:.4g} of {ALPHA}) and {len(paying)} "
            "claims are new or changed; register them on a fresh prompt set (--attnres-prompts)"
        )
    return {key: share if key in paying else 0.0 for key in fresh}


def _lock_text(entries: Mapping[str, Entry]) -> str:
    """The lock as TOML, claims in order of their ids, one statement a line."""
    total = sum(entry.alpha for entry in entries.values())
    lines = [_HEAD, f"format = {FORMAT}", f"alpha = {ALPHA}  # of which these claims own {total:.6g}"]
    lines += [f"window = {WINDOW}  # tokens of a prompt that are read", 'order = "sha-256 of the prompts"']
    told = (
        "--attnres-sequential: shares of the documents, in that order ...",
        "... the share of a claim's alpha that each may spend, on any verdict ...",
        "... and what may fall before the last, of any sampled statement",
    )
    lines += [f"{name} = {json.dumps(value)}  # {why}" for (name, value), why in zip(_PLAN.items(), told, strict=True)]
    for key, entry in sorted(entries.items()):
        lines += ["", f"[{json.dumps(key)}]", "statements = ["]
        lines += [f"    {json.dumps(statement)}," for statement in entry.statements]
        lines += ["]", f"alpha = {entry.alpha!r}", f'prompts = "{entry.prompts}"', f'registered = "{entry.registered}"']
        for name in ("title", "group", "cites"):
            if text := getattr(entry, name):
                lines.append(f"{name} = {json.dumps(text)}")
        if entry.under is not None:
            lines.append(f"under = {json.dumps(list(entry.under))}")
        if entry.post_hoc:
            lines.append(f"post_hoc = {json.dumps(entry.post_hoc)}")
    return "\n".join(lines) + "\n"


def _side_by_side(entry: Entry, claim: Claim) -> str:
    """A changed claim, old and new: its statements, and where they differ its title, group and citation."""
    old, new = _numbered("registered", entry.statements), _numbered("now", claim.texts)
    under = claim.under if entry.under is None else entry.under
    before = (entry.title, entry.group, entry.cites, ", ".join(under))
    now = (*_locked(claim)[1:], ", ".join(claim.under))
    locked = zip(("title", "group", "cites", "under"), before, now, strict=True)
    differing = [(name, before, now) for name, before, now in locked if before != now]
    old += [f"  registered  {name}: {before or 'none'}" for name, before, _ in differing]
    new += [f"  now         {name}: {now or 'none'}" for name, _, now in differing]
    what = "statements" if entry.statements != claim.texts else " and ".join(name for name, _, _ in differing)
    verb = "are" if what == "statements" or len(differing) > 1 else "is"
    return "\n".join(
        [
            f"the {what} of {claim_key(claim.node_id)} {verb} not {'those' if verb == 'are' else 'what was'} "
            f"registered on {entry.registered}",
            *old,
            *new,
            "restore them, or register the new ones with --attnres-register (they take a share of alpha of their own)",
        ]
    )


def _numbered(label: str, statements: Sequence[str]) -> list[str]:
    return [f"  {label:<11} {statement}" for statement in statements]
