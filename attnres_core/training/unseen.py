"""Make the prompt sets `unseen` and `variants`: docstrings of packages that no reference checkpoint was trained on.

For claims that came after the verdicts on `docstrings`: no verdict rests on these documents. A docstring that shares
more than a quarter of its runs of eight words with any text of the corpus, or with another one here, is left out.
`variants` holds other documents than `unseen`, each in four variants.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tqdm import tqdm

from attnres_core.prompt_making import make_variants
from attnres_core.prompts import Prompt, PromptSet, Split
from attnres_core.training.corpus import MAX_OVERLAP, PACKAGES, docstrings, shingles, sources
from attnres_core.training.prompts import MIN_TOKENS, row_of, write_set

UNSEEN = ("_pytest", "altair", "fsspec", "huggingface_hub", "mpmath", "narwhals", "networkx", "sympy")
"""Packages outside the corpus that an installation with the extra `test` has."""
PER_PACKAGE = 32
"""Prompts of each package in each split of `unseen`."""
VARIED = 16
"""Documents of each package in each split of `variants`."""


def main(tokenizer_file: Path, out: Path, command: str) -> None:
    """Write `unseen.jsonl`, `variants.jsonl` and their manifests into `out`.

    Raises:
        ValueError: a package has too few docstrings that are long enough and like no other.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    seen = set[int]()
    for package in tqdm(PACKAGES, desc="reading the corpus", unit=" packages", disable=None):
        seen |= {mark for document in docstrings(package) for mark in shingles(document.text)}
    rows, varied = list[dict[str, str]](), list[dict[str, str]]()
    for package in tqdm(UNSEEN, desc="drawing", unit=" packages", disable=None):
        own = _drawn(package, tokenizer, seen)
        if len(own) < 2 * (PER_PACKAGE + VARIED):
            raise ValueError(f"{package}: {len(own)} docstrings will do; {2 * (PER_PACKAGE + VARIED)} are needed")
        rows += own[: 2 * PER_PACKAGE]
        varied += own[2 * PER_PACKAGE :]
    about = {"sources": sources(name.removeprefix("_") for name in UNSEEN), "command": command}
    write_set(rows, out / "unseen.jsonl", out / "unseen.json", about)
    plain = (Prompt(r["id"], r["text"], r["document"], r["stratum"], Split(r["split"])) for r in varied)
    made = make_variants(PromptSet("variants", tuple(plain)), tokenizer_file)
    write_set(made.rows, out / "variants.jsonl", out / "variants.json", about | {"left_out": dict(made.left_out)})


def _drawn(package: str, tokenizer: Tokenizer, seen: set[int]) -> list[dict[str, str]]:
    """Prompts of a package in digest order, for exploration and confirmation in turns; adds their runs to `seen`."""
    own = list[dict[str, str]]()
    for document in sorted(docstrings(package), key=lambda document: document.digest):
        ends, marks = tokenizer.encode(document.text).offsets, shingles(document.text)
        if len(ends) < MIN_TOKENS or len(marks & seen) > MAX_OVERLAP * len(marks):
            continue
        seen |= marks
        own.append(row_of(document, ends, (Split.EXPLORATION, Split.CONFIRMATION)[len(own) % 2]))
        if len(own) == 2 * (PER_PACKAGE + VARIED):
            break
    return own
