"""The checkpoints and prompts that ship, from a clone or from an installed wheel, and checkpoints that were fetched.

A wheel holds what ships (it is 58 MB) and fetches nothing: a first claim then runs offline.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PACKAGED = Path(__file__).parent / "_fixtures"
_CLONE = Path(__file__).parent.parent / "fixtures"
_FOLDERS = ("checkpoints", "larger", "retrofits")
"""Where shipped checkpoints lie; a wheel has the first of them."""
FETCHABLE = ("smollm2",)
"""What `python -m attnres_core fetch` makes."""


def fixtures() -> Path:
    """The folder that holds `checkpoints/` and `prompts/` (and, in a clone, `conformance/`)."""
    return _PACKAGED if _PACKAGED.is_dir() else _CLONE


def cache_folder() -> Path | None:
    """`attnres-core` in $XDG_CACHE_HOME, or in `~/.cache`; None: the user has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnres-core"
    except RuntimeError:
        return None


def fetched(name: str) -> Path | None:
    """Where a fetched checkpoint lies, or would lie: in the user's cache folder; None: there is none."""
    folder = cache_folder()
    return folder / name if folder else None


def _folders() -> dict[str, Path]:
    """Every shipped checkpoint's folder, every fetched one's and, in a clone, those trained there, by name."""
    shipped = (path.parent for folder in _FOLDERS for path in (fixtures() / folder).glob("*/config.json"))
    found = {folder.name: folder for folder in sorted(shipped)}
    for name in FETCHABLE:
        folder = fetched(name)
        with contextlib.suppress(OSError):  # (another user's home)
            if folder and (folder / "config.json").is_file():
                found[name] = folder
    return found


def checkpoints() -> list[str]:
    """The names of the shipped checkpoints, and of the fetched ones."""
    return sorted(_folders())


def reference(name: str) -> Path:
    """The folder of a shipped checkpoint, such as `tiny-open-block`, or of a fetched one.

    Raises:
        ValueError: there is none of that name.
    """
    found = _folders()
    if name not in found:
        told = f"; {name} is fetched by `python -m attnres_core fetch {name}`" if name in FETCHABLE else ""
        raise ValueError(f"no reference checkpoint {name!r}; there are: {', '.join(sorted(found)) or 'none'}{told}")
    return found[name]


def resolved(given: str) -> str:
    """The folder of a shipped or fetched checkpoint for its name; a path or hub id as given.

    Raises:
        ValueError: it looks like a name, and there is none such.
    """
    if "/" in given or Path(given).exists():
        return given
    try:
        return str(reference(given))
    except ValueError as error:
        raise ValueError(f"{error}; or give a folder that exists, or a hub id such as Qwen/Qwen3-0.6B") from None


def reference_prompts(name: str = "docstrings") -> Path:
    """A shipped prompt file: `docstrings`, or one of those with answers (`induction`, `recall`, ...).

    Raises:
        ValueError: there is none of that name.
    """
    file = fixtures() / "prompts" / f"{name}.jsonl"
    if not file.is_file():
        known = sorted(path.stem for path in (fixtures() / "prompts").glob("*.jsonl"))
        raise ValueError(f"no reference prompts {name!r}; there are: {', '.join(known) or 'none'}")
    return file
