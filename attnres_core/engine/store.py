"""Measured units on disk: content-addressed, written once under a lock, atomically; never trusted when damaged.

    units/<model key>/about.txt                  which model, in which arithmetic
    units/<model key>/<chunk key>/<sha-256>.safetensors
                                                 arrays of several interventions for one chunk of prompts
    judged/<question key>.json                   a decided statement, with its SHA-256
    statistics/<key>.json                        a statistic that takes long to compute, with its SHA-256
    searches/<subject>/<key>.json                a search for a counterexample, with its SHA-256
    runs/<run id>/                               what the workers of one run tell each other
    locks/                                       file locks

A unit's key holds all that decides its numbers, so units of another checkpoint, prompt set, dtype or version of
the arithmetic are never read by mistake.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import load, save

from attnres_core.files import atomic
from attnres_core.planning.bundles import Bundle
from attnres_core.planning.requests import CONSTANTS, HELD_OUT_LOSS
from attnres_core.shapes import Unit

SUFFIX = ".safetensors"
"""Of files of units: thousands of small arrays are read ten times as fast as from numpy's own archive."""
ABOUT = "about.txt"
"""What a model's folder of units is, in words, for people."""


class DamagedStoreWarning(UserWarning):
    """A stored file did not hold what was written; it was set aside and is made again."""


class StoreError(ValueError):
    """The store cannot be written or read: a full disk, a read-only folder. What it holds stays valid."""


class Store:
    """A folder of measured units, decided statements and searches.

    Args:
        root: the folder; made where there is none.
        shared: whether other processes may write to it now. A store of one process needs no file locks, which
            some network file systems do not have.
    """

    def __init__(self, root: Path, *, shared: bool = True) -> None:
        self.root, self.shared = root, shared
        self._folders: dict[tuple[str, str], Path] = {}
        self._seen: dict[Path, dict[str, Unit]] = {}
        self._merged: dict[Path, tuple[frozenset[str], dict[str, Unit]]] = {}
        self._together: dict[tuple[tuple[str, ...], str], dict[str, Unit]] = {}
        self._settled = False
        with self.writing():
            for name in ("units", "judged", "searches", "runs", "locks"):
                (root / name).mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what fails inside into the store's failure, with the remedy.

        Raises:
            StoreError: instead of an OSError.
        """
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreError:
        remedy = "free some space, or give another with --attnres-store"
        return StoreError(f"the store {self.root} cannot be written ({error}); {remedy}")

    def units(self, model: str, chunk: str) -> dict[str, Unit]:
        """Every unit measured for this model and chunk, by intervention key; not to be changed."""
        folder = self._folder(model, chunk)
        if self._settled and folder in self._merged:
            return self._merged[folder][1]
        try:
            names = frozenset(name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != ".")
        except FileNotFoundError:
            names = frozenset()
        known, found = self._merged.get(folder, (None, {}))
        if names != known:
            read = {name: self._units_of(folder / name) for name in sorted(names)}
            found = {}
            for units in read.values():  # a unit's fields may lie in several files: the first that has one counts
                for key, unit in (units or {}).items():
                    found[key] = unit | found[key] if key in found else unit
            # A damaged file is not remembered: the same measurement will bear the same name.
            self._merged[folder] = frozenset(name for name, units in read.items() if units is not None), found
        return found

    def units_of(self, models: Sequence[str], chunk: str) -> dict[str, Unit]:
        """The same of several models together."""
        key = (tuple(models), chunk)
        if key not in self._together or not self._settled:
            self._together[key] = reduce(or_, (self.units(model, chunk) for model in models))
        return self._together[key]

    @property
    def settled(self) -> bool:
        """Whether folders that were read once are taken as they were found; else each is listed every time."""
        return self._settled

    @settled.setter
    def settled(self, settled: bool) -> None:
        self._settled = settled
        self._together.clear()

    def forget(self) -> None:
        """Drop what was read from memory."""
        self._seen.clear()
        self._merged.clear()
        self._together.clear()

    def holds(self, model: str) -> bool:
        """Whether anything was measured of a model in one arithmetic."""
        return self._folder(model, "").is_dir()

    def models_about(self, text: str) -> dict[str, str]:
        """The models whose description holds `text`, with it: in other arithmetic, of other versions, too."""
        files = sorted((self.root / "units").glob(f"*/{ABOUT}"))
        told = {file.parent.name: file.read_text(encoding="utf-8") for file in files}
        return {model: about for model, about in told.items() if text in about}

    def _units_of(self, file: Path) -> dict[str, Unit] | None:
        if file not in self._seen:
            units = self._read(file)
            if units is None:
                return None
            self._seen[file] = units
        return self._seen[file]

    def missing(self, bundle: Bundle) -> dict[str, frozenset[str]]:
        """The units that a bundle needs and that are not here, or not whole, by key: the fields to be measured."""
        here = self.units(bundle.model, bundle.chunk)
        lacking = {key: fields - here.get(key, {}).keys() for key, fields in bundle.needs.items()}
        return {key: fields for key, fields in lacking.items() if fields}

    def fits_missing(self, bundle: Bundle) -> bool:
        """Whether a bundle waits for constants that are not fitted yet."""
        return any(self.missing(fit) for fit in bundle.fits)

    def constants(self, bundle: Bundle) -> dict[str, NDArray[np.float64]]:
        """The constants that a bundle's interventions put in place, by their keys: from the better of their starts."""
        best: dict[str, Unit] = {}
        for fit in bundle.fits:
            (intervention,) = fit.interventions
            unit = self.units(fit.model, fit.chunk)[intervention.key]
            known = best.get(intervention.key)
            if known is None or unit[HELD_OUT_LOSS] < known[HELD_OUT_LOSS]:
                best[intervention.key] = unit
        return {key: unit[CONSTANTS] for key, unit in best.items()}

    def add_units(self, model: str, chunk: str, units: Mapping[str, Unit], about: str = "") -> None:
        """Write the fields of units that are not here yet; they appear all at once or not at all.

        Args:
            model: the key of the model and its arithmetic.
            chunk: the key of the prompts.
            units: what was measured, by key.
            about: what the model is, in words.

        Raises:
            StoreError: they cannot be written.
        """
        here = self.units(model, chunk)
        fields = {
            f"{key}|{name}": array
            for key, unit in units.items()
            for name, array in unit.items()
            if name not in here.get(key, {})
        }
        if not fields:
            return
        data = save({name: np.ascontiguousarray(array) for name, array in fields.items()})  # (it writes strides wrong)
        folder = self._folder(model, chunk)
        with self.writing():
            folder.mkdir(parents=True, exist_ok=True)
            if about and not (folder.parent / ABOUT).exists():
                with atomic(folder.parent / ABOUT) as temporary:
                    temporary.write_text(about, encoding="utf-8")
            with atomic(folder / f"{_sha256(data)}{SUFFIX}") as temporary, temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())

    def _folder(self, model: str, chunk: str) -> Path:
        if (model, chunk) not in self._folders:  # (asked for a thousand times; making a path is slow)
            self._folders[model, chunk] = self.root / "units" / model[:32] / chunk[:32]
        return self._folders[model, chunk]

    def _read(self, file: Path) -> dict[str, Unit] | None:
        data = self._bytes(file)
        if data is None:  # another worker has just set it aside
            return None
        if _sha256(data) != file.stem:
            _set_aside(file, "its bytes do not have the SHA-256 it is named for")
            return None
        units: dict[str, Unit] = {}
        for name, array in load(data).items():
            key, field = name.rsplit("|", 1)
            units.setdefault(key, {})[field] = array
        return units

    def _bytes(self, file: Path) -> bytes | None:
        """A file's content, None where there is none; what cannot be read now may be whole, so it stays."""
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(
                f"{file} cannot be read ({error}); it is left as it is: mend that, and run again"
            ) from error

    def judged(self, key: str) -> dict[str, Any] | None:
        """A decided statement, or None."""
        return self._entry(self.root / "judged" / f"{key}.json")

    def add_judged(self, key: str, entry: Mapping[str, Any]) -> None:
        """Write a decided statement.

        Raises:
            StoreError: it cannot be written.
        """
        self._add_entry(self.root / "judged" / f"{key}.json", entry)

    def statistic(self, key: str) -> dict[str, Any] | None:
        """A statistic that was computed before, or None."""
        return self._entry(self.root / "statistics" / f"{key}.json")

    def add_statistic(self, key: str, entry: Mapping[str, Any]) -> None:
        """Write a statistic.

        Raises:
            StoreError: it cannot be written.
        """
        file = self.root / "statistics" / f"{key}.json"
        with self.writing():
            file.parent.mkdir(exist_ok=True)  # (stores of older versions lack it, and may be read-only)
        self._add_entry(file, entry)

    def searches(self, subject: str) -> list[dict[str, Any]]:
        """Every search for a counterexample on one checkpoint in one arithmetic."""
        names = sorted(file.stem for file in (self.root / "searches" / subject).glob("*.json"))
        return [entry for name in names if (entry := self.search(subject, name)) is not None]

    def search(self, subject: str, key: str) -> dict[str, Any] | None:
        """One search for a counterexample, or None."""
        return self._entry(self.root / "searches" / subject / f"{key}.json")

    def add_search(self, subject: str, key: str, entry: Mapping[str, Any]) -> None:
        """Write a search for a counterexample.

        Raises:
            StoreError: it cannot be written.
        """
        file = self.root / "searches" / subject / f"{key}.json"
        with self.writing():
            file.parent.mkdir(exist_ok=True)
        self._add_entry(file, entry)

    def _entry(self, file: Path) -> dict[str, Any] | None:
        data = self._bytes(file)
        if data is None:
            return None
        try:
            loaded = json.loads(data)
            entry = loaded["entry"]
            if loaded["sha256"] == _sha256(json.dumps(entry).encode()):
                return dict(entry)
            why = "its content does not have its SHA-256"
        except (ValueError, TypeError, KeyError) as error:
            why = repr(error)
        _set_aside(file, why)
        return None

    def _add_entry(self, file: Path, entry: Mapping[str, Any]) -> None:
        text = json.dumps(dict(entry))
        with self.writing(), atomic(file) as temporary:
            temporary.write_text(f'{{"sha256": "{_sha256(text.encode())}", "entry": {text}}}')

    @contextlib.contextmanager
    def held(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold the lock `name`; yields whether it was got. The system frees a killed holder's locks."""
        if not self.shared:
            yield True
            return
        lock = FileLock(self.root / "locks" / f"{name}.lock", timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout:  # (an OSError, too)
            yield False
            return
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield True
        finally:
            lock.release()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _set_aside(file: Path, why: str) -> None:
    aside = file.with_suffix(".damaged")
    with contextlib.suppress(OSError):
        file.rename(aside)
    message = f"{file} is damaged ({why}); set aside as {aside.name}, made again"
    warnings.warn(message, DamagedStoreWarning, stacklevel=4)
