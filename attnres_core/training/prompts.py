"""Make the shipped prompt set: one prompt from each of 512 held-out documents.

A confirmation document that a verdict has rested on is retired when claims are changed or added: the first 256 were
read before claims could be registered, the next before claims were decided under several kinds of ablation. The split
is made of the ones after them, which no verdict had rested on when its claims were registered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from attnres_core.files import writing
from attnres_core.prompts import Split, load_prompts
from attnres_core.training.corpus import Document, build, sources

MIN_TOKENS = 80
"""In the reference tokenizer; leaves 64 or more in tokenizers with longer tokens."""
MAX_TOKENS = 128
PER_SPLIT = 256
RETIRED = 2
"""Confirmation splits that have been read."""


def main(tokenizer_file: Path, out: Path, command: str) -> None:
    """Write `docstrings.jsonl` and its manifest into `out`."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    corpus = build()
    rows, eligible = list[dict[str, str]](), 0
    for document in corpus.held_out:  # in digest order, which no choice of ours can steer
        ends = tokenizer.encode(document.text).offsets
        if len(ends) < MIN_TOKENS or len(rows) == 2 * PER_SPLIT:
            continue
        place, eligible = eligible, eligible + 1
        if (place < 2 * PER_SPLIT and place % 2) or 2 * PER_SPLIT <= place < (1 + RETIRED) * PER_SPLIT:
            continue  # retired
        split = Split.EXPLORATION if place < 2 * PER_SPLIT else Split.CONFIRMATION
        rows.append(row_of(document, ends, split))
    if len(rows) < 2 * PER_SPLIT:
        found = f"only {eligible} held-out documents have {MIN_TOKENS} tokens"
        needed = (2 + RETIRED) * PER_SPLIT
        raise ValueError(f"{found}; {needed} are needed, {RETIRED * PER_SPLIT} of them retired")
    about = {"corpus_digest": corpus.digest, "sources": sources(), "command": command}
    write_set(rows, out / "docstrings.jsonl", out / "manifest.json", about)


def row_of(document: Document, ends: Sequence[tuple[int, int]], split: Split) -> dict[str, str]:
    """A document's first `MAX_TOKENS` as a prompt; `ends`: where each token begins and ends in its text."""
    text = document.text[: ends[min(len(ends), MAX_TOKENS) - 1][1]]
    row = {"id": document.digest[:16], "text": text, "document": document.name}
    return {**row, "stratum": document.package, "split": split.value}


def write_set(rows: Sequence[Mapping[str, str]], file: Path, manifest_file: Path, about: Mapping[str, object]) -> None:
    """Write a prompt file and its manifest."""
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    prompts = load_prompts(file)
    manifest = {
        "digest": prompts.digest,
        "prompts": len(rows),
        "splits": {split.value: len(prompts.part(split)) for split in Split},
        "strata": {name: sum(row["stratum"] == name for row in rows) for name in sorted({r["stratum"] for r in rows})},
        "tokens": {"at_least": MIN_TOKENS, "at_most": MAX_TOKENS, "tokenizer": "tiny-open-block"},
        **about,
    }
    with writing(file.parent):
        manifest_file.write_text(json.dumps(manifest, indent=1) + "\n")
