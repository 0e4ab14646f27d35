"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write_whole(contents: Mapping[Path, str]) -> None:
    """Write texts to files in folders that are there: all are staged beside their places before any takes its own.

    Raises:
        OSError: one cannot be written; then no file is touched, and nothing of the staging stays.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            staged[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            staged[path].write_bytes(content.encode("utf-8", "backslashreplace"))
        for path, temporary in staged.items():
            os.replace(temporary, path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
