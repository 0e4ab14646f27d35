"""Rates and tables as markdown, and progress."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence


def note(text: str) -> None:
    """Progress, where it stands in no table."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def ratio(count: float, total: int, alpha: float) -> str:
    """Attained / nominal with its Monte-Carlo standard error; bold where it exceeds 1 by three of them."""
    rate = count / total
    error = math.sqrt(max(rate, 1 / total) * (1 - rate) / total) / alpha
    text = f"{rate / alpha:.2f} ±{error:.2f}"
    return f"**{text}**" if rate / alpha > 1 + 3 * error else text


def header(names: Sequence[str]) -> None:
    """The head of a markdown table."""
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def line(*texts: str) -> None:
    """A row of it, as it comes."""
    print("| " + " | ".join(texts) + " |", flush=True)
