"""A store looked after: what it holds, whether it is whole, and what may go."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from attnres_core.amounts import size
from attnres_core.engine.store import ABOUT, Store
from attnres_core.planning.material import NUMERICS_VERSION
from attnres_core.registration.ledger import carry_notes

UNKNOWN = "(written by an older version)"
"""A model of whose units nothing is written down."""


RECENT = 3600.0
"""Seconds: a run's folder touched since may be that of a run under way, which holds no lock while it reports."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The store's content of one model, in one arithmetic."""

    key: str
    about: str
    bytes: int

    @property
    def stale(self) -> bool:
        """Return whether no run of this version can read it: its numbers come from another arithmetic."""
        return not self.about.endswith(f"numerics {NUMERICS_VERSION}")


def holdings(store: Store) -> list[Holding]:
    """Every model in the store, by description."""
    found = []
    for folder in sorted((store.root / "units").iterdir()):
        about = (folder / ABOUT).read_text() if (folder / ABOUT).is_file() else UNKNOWN
        found.append(Holding(folder.name, about, _bytes(folder)))
    return sorted(found, key=lambda holding: holding.about)


def listing(store: Store) -> list[str]:
    """The holdings as lines of a table; damaged files are set aside with a warning on the way."""
    found = holdings(store)
    lines = [f"{store.root}: {len(found)} models, {size(_bytes(store.root))}"]
    for holding in found:
        chunks = [chunk.name for chunk in (store.root / "units" / holding.key).iterdir() if chunk.is_dir()]
        keys = {key for chunk in chunks for key in store.units(holding.key, chunk)}
        counts = f"{len(chunks)} chunks of prompts, {len(keys)} interventions, {size(holding.bytes)}"
        stale = "  (another numerics version: prune)" if holding.stale else ""
        lines.append(f"  {holding.key[:12]}  {holding.about}: {counts}{stale}")
    return lines


def verify(store: Store) -> list[str]:
    """Read every file; those that do not hold what was written are set aside and named."""
    before = set(store.root.rglob("*.damaged"))
    listing(store)  # reads every unit
    for file in (store.root / "judged").glob("*.json"):
        store.judged(file.stem)
    for file in (store.root / "statistics").glob("*.json"):
        store.statistic(file.stem)
    searches = sum(len(store.searches(folder.name)) for folder in (store.root / "searches").iterdir())
    damaged = sorted(set(store.root.rglob("*.damaged")) - before)
    units = len(list((store.root / "units").glob("*/*/*.safetensors")))
    decisions = len(list((store.root / "judged").glob("*.json")))
    whole = f"{units} files of units, {decisions} decisions and {searches} searches"
    return [*(f"damaged, set aside: {file}" for file in damaged), f"{store.root}: {whole} are whole"]


def prune(store: Store, keys: Sequence[str] = (), *, dry_run: bool = False) -> list[str]:
    """Remove what no run can use, and the models asked for; decisions stay, since a second chance is known by them.

    What an earlier run set aside as damaged goes, too; nothing is read, so nothing is set aside here.

    Args:
        store: the store.
        keys: models to remove as well, by the first letters of their keys.
        dry_run: only say what would go.

    Raises:
        ValueError: a run is under way, or a key names no model.
    """
    found = holdings(store)
    for key in keys:
        if not any(holding.key.startswith(key) for holding in found):
            raise ValueError(f"{store.root} holds no model {key!r}; `list` names them")
    busy = [lock for lock in (store.root / "locks").iterdir() if not _free(lock)]
    if busy:
        raise ValueError(f"{store.root}: a run is under way ({busy[0].name} is held); wait for it")
    gone = [h for h in found if h.stale or any(h.key.startswith(key) for key in keys)]
    lines = [f"{h.key[:12]}  {h.about}, {size(h.bytes)}" for h in gone]
    searches = [f for f in (store.root / "searches").iterdir() if not f.name.endswith(f"-{NUMERICS_VERSION}")]
    if searches:
        lines.append(f"searches of another numerics version on {len(searches)} checkpoints")
    statistics = list((store.root / "statistics").glob("*.json")) if gone else []
    if statistics:
        lines.append(f"{len(statistics)} statistics, which are computed again where they are needed")
    runs = list((store.root / "runs").iterdir())
    recent = [run for run in runs if _touched(run) > time.time() - RECENT]
    leftovers = [
        *store.root.rglob("*.damaged"),
        *(() if recent else store.root.rglob(".*.tmp")),
        *(run for run in runs if run not in recent),
        *(() if recent else (store.root / "locks").iterdir()),
    ]
    if leftovers:
        lines.append(f"{len(leftovers)} leftovers of earlier runs")
    if not dry_run:
        for path in (*(store.root / "units" / h.key for h in gone), *searches, *statistics, *leftovers):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    verb = "would go" if dry_run else "removed"
    return [f"{verb}: {line}" for line in lines] or ["nothing to remove"]


def merge(into: Store, others: Sequence[Store]) -> list[str]:
    """Copy what other stores hold and this one lacks; each file is verified as it is read.

    What is damaged is left out, and set aside where it lies if that folder can be written. Units of another numerics
    version are left out, too.

    Args:
        into: where it goes.
        others: stores that no run is writing to.

    Notes of the prompts that a job of an array read go along, until a run decides: it keeps them beside its claims.

    Returns:
        A line for each store: what was copied, what was there already, what was left out.

    Raises:
        StoreError: a store cannot be read, or this one cannot be written.
    """
    return [_merge(into, other) for other in others]


def _merge(into: Store, other: Store) -> str:
    new = known = 0
    stale = [holding.key for holding in holdings(other) if holding.stale]
    for folder in sorted((other.root / "units").glob("*/*/")):
        model, chunk = folder.parent.name, folder.name
        if model in stale:
            continue
        units = other.units(model, chunk)
        here = into.units(model, chunk)
        lacking = {key for key, unit in units.items() if unit.keys() - here.get(key, {}).keys()}
        new, known = new + len(lacking), known + len(units) - len(lacking)
        about = folder.parent / ABOUT
        into.add_units(model, chunk, units, about.read_text(encoding="utf-8") if about.is_file() else "")
        for store in (into, other):  # (one chunk at a time in memory)
            store.forget()
    decisions = _merge_entries(into, other)
    carry_notes(other.root, into.root)
    left = f"; {len(stale)} models of another numerics version left out" if stale else ""
    return f"{other.root}: {new} units copied, {known} were here; {decisions} decisions and searches copied{left}"


def _merge_entries(into: Store, other: Store) -> int:
    """Copy decisions and searches; returns how many."""
    copied = 0
    for file in sorted((other.root / "judged").glob("*.json")):
        if into.judged(file.stem) is None and (entry := other.judged(file.stem)) is not None:
            into.add_judged(file.stem, entry)
            copied += 1
    for folder in sorted((other.root / "searches").iterdir()):
        for file in sorted(folder.glob("*.json")):
            entry = other.search(folder.name, file.stem)
            if entry is not None and into.search(folder.name, file.stem) is None:
                into.add_search(folder.name, file.stem, entry)
                copied += 1
    return copied


def _free(lock: Path) -> bool:
    with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
        return True
    return False


def _touched(folder: Path) -> float:
    """Return when something last appeared in a folder or one of its folders."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()) if path.is_dir())


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
