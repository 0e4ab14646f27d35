"""Digests of the tokens that are scored: they tell which prompts are the same, whatever they are called.

The digest of a prompt covers the text of its scored window and nothing else. Its id, its document, its stratum and
its place in the file have no part in it, nor have blanks, invisible characters and a full stop at the end, nor anything
that follows the window.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from functools import cache
from pathlib import Path

from attnres_core.prompts import WINDOW, Prompt, PromptSet, read_tokenizer, scored_tokens

SHINGLE = 8
"""Tokens of a run that near-duplicates share."""
NEAR = 0.5
"""Share of a prompt's runs that another prompt must hold to be nearly the same."""


@cache
def _scored(prompts: PromptSet, tokenizer_file: Path) -> tuple[tuple[int, ...], ...]:
    """The token ids `[prompt][token]` of each prompt's scored window."""
    texts = [prompt.text for prompt in prompts.prompts]
    return tuple(scored_tokens(texts, read_tokenizer(tokenizer_file)))


def scored_digests(prompts: PromptSet, tokenizer_file: Path) -> tuple[str, ...]:
    """The digest of each prompt, 16 hexadecimal digits, in the order of the set.

    Raises:
        ValueError: there is no readable tokenizer.
    """
    rows = _scored(prompts, tokenizer_file)
    return tuple(hashlib.sha256(json.dumps(list(row)).encode()).hexdigest()[:16] for row in rows)


def check_distinct(prompts: PromptSet, tokenizer_file: Path) -> None:
    """Refuse a set in which two prompts are the same: they would count as independent evidence.

    Variants of one document may be: they are one document.

    Raises:
        ValueError: which two prompts; or there is no readable tokenizer.
    """
    first: dict[str, Prompt] = {}
    for prompt, digest in zip(prompts.prompts, scored_digests(prompts, tokenizer_file), strict=True):
        other = first.setdefault(digest, prompt)
        varied = other.document == prompt.document and other.variant != prompt.variant  # (which folding undoes)
        if other != prompt and not varied:
            raise ValueError(
                f"prompts {other.id!r} and {prompt.id!r} are the same in the {WINDOW} tokens that are scored; "
                "blanks and a final stop make no difference: leave one out"
            )


def near_duplicates(prompts: PromptSet, tokenizer_file: Path) -> list[tuple[str, str]]:
    """Pairs of ids, of different documents: the first prompt holds at least half of the second's runs of eight tokens.

    Raises:
        ValueError: there is no readable tokenizer.
    """
    runs = [
        {row[start : start + SHINGLE] for start in range(max(1, len(row) - SHINGLE + 1))}
        for row in _scored(prompts, tokenizer_file)
    ]
    holding = defaultdict[tuple[int, ...], list[int]](list)
    for place, own in enumerate(runs):
        for run in own:
            holding[run].append(place)
    pairs = []
    for place, own in enumerate(runs):
        shared = defaultdict[int, int](int)
        for run in own:
            for other in holding[run]:
                shared[other] += other < place
        each = prompts.prompts
        pairs += [
            (each[other].id, each[place].id)
            for other, n in shared.items()
            if n >= NEAR * len(own) and each[other].document != each[place].document
        ]
    return pairs
