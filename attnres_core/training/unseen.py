"""Make the prompt set `unseen`: docstrings of packages that no reference checkpoint was trained on.

For claims that came after the verdicts on `docstrings`: no verdict rests on these documents. A docstring that shares
more than a quarter of its runs of eight words with any text of the corpus, or with another one here, is left out.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tqdm import tqdm

from attnres_core.prompts import Split
from attnres_core.training.corpus import MAX_OVERLAP, PACKAGES, docstrings, shingles, sources
from attnres_core.training.prompts import MIN_TOKENS, row_of, write_set

UNSEEN = ("_pytest", "altair", "fsspec", "huggingface_hub", "mpmath", "narwhals", "networkx", "sympy")
"""Packages outside the corpus that an installation with the extra `test` has."""
PER_PACKAGE = 32
"""Prompts of each package in each split."""


def main(tokenizer_file: Path, out: Path, command: str) -> None:
    """Write `unseen.jsonl` and `unseen.json`, its manifest, into `out`.

    Raises:
        ValueError: a package has too few docstrings that are long enough and like no other.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    seen = set[int]()
    for package in tqdm(PACKAGES, desc="reading the corpus", unit=" packages", disable=None):
        seen |= {mark for document in docstrings(package) for mark in shingles(document.text)}
    rows = list[dict[str, str]]()
    for package in tqdm(UNSEEN, desc="drawing", unit=" packages", disable=None):
        own = list[dict[str, str]]()
        for document in sorted(docstrings(package), key=lambda document: document.digest):
            ends, marks = tokenizer.encode(document.text).offsets, shingles(document.text)
            if len(ends) < MIN_TOKENS or len(marks & seen) > MAX_OVERLAP * len(marks):
                continue
            seen |= marks
            own.append(row_of(document, ends, (Split.EXPLORATION, Split.CONFIRMATION)[len(own) % 2]))
            if len(own) == 2 * PER_PACKAGE:
                break
        if len(own) < 2 * PER_PACKAGE:
            raise ValueError(f"{package}: {len(own)} docstrings will do; {2 * PER_PACKAGE} are needed")
        rows += own
    about = {"sources": sources(name.removeprefix("_") for name in UNSEEN), "command": command}
    write_set(rows, out / "unseen.jsonl", out / "unseen.json", about)
