"""Files and folders that people name: errors that name them as they were given, names that can be published."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what keeps a file, or the files of a folder, from being written into an error about `path` as it was given.

    Raises:
        ValueError: it cannot be written: why, and what to do.
    """
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise ValueError(f"{path}: {problem}; give a place that is there and can be written") from None


@contextlib.contextmanager
def atomic(file: Path) -> Iterator[Path]:
    """A temporary path beside `file` that takes its place when the block succeeds, and vanishes when it fails."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def kept_text(folder: Path | None, name: str, digest: str, make: Callable[[], str]) -> str:
    """A text that takes a second to make and never changes: from a cache folder, or made and put there.

    Args:
        folder: the cache; None: there is none.
        name: the file's.
        digest: the text's SHA-256: whatever else lies there is not read. Empty: it is not known, and nothing is kept.
        make: makes the text.
    """
    if folder is None or not digest:
        return make()
    file = folder / name
    with contextlib.suppress(OSError):
        found = file.read_bytes()
        if hashlib.sha256(found).hexdigest() == digest:
            return found.decode()
    text = make()
    if hashlib.sha256(text.encode()).hexdigest() == digest:
        with contextlib.suppress(OSError):  # (a cache that cannot be written is none)
            folder.mkdir(parents=True, exist_ok=True)
            with atomic(file) as temporary:
                temporary.write_bytes(text.encode())
    return text


def published_name(path: Path) -> str:
    """A path as a page may show it that others read: seen from the working directory, else its last part alone.

    What lies above is the business of nobody who reads the page, and a digest stands beside.
    """
    whole, here = path.absolute(), Path.cwd()
    return str(whole.relative_to(here)) if here in whole.parents else whole.name


def published_command(words: Iterable[object]) -> str:
    """A command line as such a page may show it: paths below the working directory are seen from there.

    Others stay as they were typed: without them the command would not do the same again.
    """
    here = re.compile(rf"(?<![^=:]){re.escape(str(Path.cwd()))}(?=/|$)")
    return shlex.join(here.sub(".", str(word)) for word in words)
