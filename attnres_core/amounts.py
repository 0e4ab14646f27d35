"""Amounts of memory: the bytes of a number in each dtype, and bytes in words, read and written."""

from __future__ import annotations

import re

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a weight."""


def bytes_of(text: str) -> int:
    """`8GiB`, `500 MB` or `2000000` in bytes.

    Raises:
        ValueError: it is no amount of memory.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([kmgt]i?)?b?", text.strip().lower())
    if found is None or not float(found[1]):
        raise ValueError("give an amount of memory such as 8GiB")
    power = " kmgt".index((found[2] or " ")[0])
    return int(float(found[1]) * (1024 if (found[2] or "").endswith("i") else 1000) ** power)


def size(count: int) -> str:
    """A number of bytes in words: `35 MiB`, `1.2 GiB`."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
