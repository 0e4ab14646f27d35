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
    """Attained / nominal of so many cases (see `told`)."""
    rate = count / total
    return told(rate, math.sqrt(max(rate, 1 / total) * (1 - rate) / total), alpha)


def told(rate: float, error: float, alpha: float) -> str:
    """Attained / nominal with its Monte-Carlo standard error; bold where it exceeds 1 by three of them."""
    text = f"{rate / alpha:.2f} ±{error / alpha:.2f}"
    return f"**{text}**" if rate > alpha + 3 * error else text


def scaled(suspects: int, wrong: Sequence[bool], total: int) -> tuple[float, float]:
    """A rate and its standard error, where some of the suspects among `total` data sets were judged.

    Args:
        suspects: how many there are; no other data set can be wrong.
        wrong: of each that was judged, whether it is.
        total: all data sets.
    """
    share, kept = suspects / total, sum(wrong) / max(1, len(wrong))
    variance = kept**2 * share * (1 - share) / total
    if len(wrong) < suspects:
        variance += share**2 * kept * (1 - kept) / len(wrong)
    return share * kept, math.sqrt(max(variance, 1 / total**2))


def header(names: Sequence[str]) -> None:
    """The head of a markdown table."""
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def line(*texts: str) -> None:
    """A row of it, as it comes."""
    print("| " + " | ".join(texts) + " |", flush=True)
