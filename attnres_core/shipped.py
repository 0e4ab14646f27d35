"""The checkpoints and prompts that ship with the project, from a clone or from an installed wheel.

A wheel holds them (it is 58 MB) and fetches nothing: a first claim then runs offline.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_fixtures"
_CLONE = Path(__file__).parent.parent / "fixtures"


def fixtures() -> Path:
    """The folder that holds `checkpoints/` and `prompts/` (and, in a clone, `conformance/`)."""
    return _PACKAGED if _PACKAGED.is_dir() else _CLONE


def checkpoints() -> list[str]:
    """The names of the shipped checkpoints."""
    return sorted(path.parent.name for path in (fixtures() / "checkpoints").glob("*/config.json"))


def reference(name: str) -> Path:
    """A shipped checkpoint's folder, such as `tiny-open-block`.

    Raises:
        ValueError: there is none of that name.
    """
    folder = fixtures() / "checkpoints" / name
    if not (folder / "config.json").is_file():
        raise ValueError(f"no reference checkpoint {name!r}; there are: {', '.join(checkpoints()) or 'none'}")
    return folder


def resolved(given: str) -> str:
    """A shipped checkpoint's folder for its name; a path or hub id as given.

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
