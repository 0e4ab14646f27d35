"""The lock of claims about training recipes: which claims, recipes and seeds, before any of those seeds is measured.

Input: the lock of claims about one checkpoint. Output: `recipes.lock` beside it, and a line of `recipes.ledger` that
holds its digest. Both are written once. Each recipe has the whole error budget, since it is reported by itself.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnres_core.claims.claim import ALPHA
from attnres_core.files import atomic
from attnres_core.registration.attestation import Attestation, attested
from attnres_core.registration.registry import Registry
from attnres_core.statistics.recipe_rule import agreeing_seeds

LOCK, LEDGER = "recipes.lock", "recipes.ledger"
_HEAD = """\
# Claims about training recipes. Written by `python -m attnres_core recipe register`; commit it before a seed is
# measured, do not edit it: recipes.ledger holds its digest. A claim says: more than half of the recipe's seeds have it.
"""


@dataclass(frozen=True, slots=True)
class RecipeLock:
    """The registrations about recipes."""

    alpha: float
    """Probability of a wrong verdict about one claim of one recipe."""
    agreeing: int
    """The number of seeds that must have the same verdict."""
    recipes: tuple[str, ...]
    """Names of the recipes, as in the manifests of their trainings."""
    seeds: tuple[int, ...]
    """The seeds to be trained, of every recipe."""
    claims: dict[str, tuple[str, ...]]
    """The statements of each claim, by its key."""
    digest: str
    """SHA-256 of the file."""


def register(folder: Path, wanted: Sequence[str], recipes: Sequence[str], seeds: Sequence[int]) -> RecipeLock:
    """Write the lock, with statements copied from the folder's claims.lock.

    Args:
        folder: holds claims.lock.
        wanted: each picks the claims with it in their keys.
        recipes: names of the recipes.
        seeds: the seeds that will be trained, none of which has been measured.

    Raises:
        ValueError: there is a lock already, no claim matches, or no rule on so few seeds attains the level.
    """
    if (folder / LOCK).exists() or (folder / LEDGER).exists():
        raise ValueError(f"{folder / LOCK} exists; what was registered about recipes is not registered again")
    entries = Registry(folder).entries
    keys = [key for key in sorted(entries) if any(text in key for text in wanted)]
    missing = [text for text in wanted if not any(text in key for key in entries)]
    if missing or not keys:
        raise ValueError(f"no claim registered in {folder} has {', '.join(missing) or 'such a key'}")
    if len(set(seeds)) < len(seeds) or len(set(recipes)) < len(recipes):
        raise ValueError("a seed or a recipe is named twice; name each once")
    alpha = ALPHA / len(keys)
    agreeing = agreeing_seeds(len(seeds), alpha, max(entries[key].alpha for key in keys))
    lines = [_HEAD, "format = 1", f"registered = {json.dumps(datetime.date.today().isoformat())}"]
    lines.append(f"alpha = {alpha!r}  # each claim's, for each recipe")
    lines.append(f"agreeing = {agreeing}  # of {len(seeds)} seeds must have the same verdict")
    lines += [f"recipes = {json.dumps(list(recipes))}", f"seeds = {list(seeds)}"]
    for key in keys:
        lines += ["", f"[claims.{json.dumps(key)}]", "statements = ["]
        lines += [*(f"    {json.dumps(statement)}," for statement in entries[key].statements), "]"]
    text = "\n".join(lines) + "\n"
    row = json.dumps({"registered": datetime.date.today().isoformat(), "lock": _sha256(text), "previous": ""})
    for name, content in ((LOCK, text), (LEDGER, row + "\n")):
        with atomic(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return read(folder)


def read(folder: Path) -> RecipeLock:
    """Return what is registered in a folder.

    Raises:
        ValueError: there is no lock, or it is not what the ledger holds the digest of.
    """
    lock = folder / LOCK
    try:
        text = lock.read_text(encoding="utf-8")
        (line,) = (folder / LEDGER).read_text(encoding="utf-8").splitlines()
        digest = _sha256(text)
        if json.loads(line)["lock"] != digest:
            raise ValueError("it is not what was registered")
        found = tomllib.loads(text)
        claims = {key: tuple(own["statements"]) for key, own in found["claims"].items()}
        recipes, seeds = tuple(found["recipes"]), tuple(found["seeds"])
        return RecipeLock(found["alpha"], found["agreeing"], recipes, seeds, claims, digest)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{lock}: unreadable registration ({error}); restore it and {LEDGER} from git") from None


def attestation(folder: Path, lock: RecipeLock, measured: Iterable[str]) -> Attestation:
    """Return what stands behind the date of a lock.

    Args:
        folder: holds it.
        lock: what it holds.
        measured: when runs on seeds began, ISO 8601, as their records say.
    """
    found = attested(folder, lock.digest, [], LOCK)
    early = [began for began in map(datetime.datetime.fromisoformat, measured) if _before(began, found.date)]
    if not early:
        return found
    told = f"a seed was measured on {min(early).date()}, before it was committed"
    return dataclasses.replace(found, label="self-attested", note=told)


def _before(began: datetime.datetime, date: str) -> bool:
    return bool(date) and began.astimezone() < datetime.datetime.fromisoformat(date)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
