"""Prompts whose right continuation is known: each with an answer and a foil, made from a seed.

induction   a random sequence of words, its beginning again: the word that followed before, not another of them
recall      keys with values, then one of the keys: its value, not another key's
closing     brackets and quotes opened in text: what closes the innermost, not what would close another
headers     docstrings up to where a section header must come: that header, not another
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from attnres_core.files import writing
from attnres_core.prompts import WINDOW, Split, load_prompts, read_tokenizer

SEED = 20261123
PER_SPLIT = 128
"""Prompts of each kind in each split."""


class Asked(NamedTuple):
    """A prompt's text with its answer and foil."""

    text: str
    answer: str
    foil: str


def single_tokens(tokenizer: Tokenizer) -> list[str]:
    """Lower-case words that are one token after a space, in order of their ids."""
    found = []
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
        word = token.removeprefix("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")  # how byte-level tokens write a space
        word = word.removeprefix("\N{LOWER ONE EIGHTH BLOCK}")  # how SentencePiece does
        if word != token and len(word) > 2 and word.isascii() and word.isalpha() and word.islower():
            if len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1:
                found.append(word)
    return found


def induction(rng: random.Random, words: Sequence[str]) -> Asked:
    """Twelve random words, and the beginning of them again."""
    chosen = rng.sample(words, 12)
    stop = rng.randrange(3, 10)
    foil = rng.choice([word for word in chosen if word not in (chosen[stop], chosen[stop - 1])])
    return Asked(" ".join([*chosen, *chosen[:stop]]), f" {chosen[stop]}", f" {foil}")


def recall(rng: random.Random, words: Sequence[str]) -> Asked:
    """Six pairs of a key and a value as assignments, and one of the keys."""
    chosen = rng.sample(words, 12)
    pairs = list(zip(chosen[::2], chosen[1::2], strict=True))
    (key, value), (_, other) = rng.sample(pairs[:-1], 2)
    lines = [f"{k}: {v}" for k, v in pairs]
    return Asked("\n".join([*lines, f"{key}:"]), f" {value}", f" {other}")


def closing(rng: random.Random, words: Sequence[str]) -> Asked:
    """Two things opened, one in the other; the inner one is to be closed."""
    pairs = [("(", ")"), ("[", "]"), ("{", "}"), ("`", "`"), ('"', '"')]
    (outer, after), (inner, answer) = rng.sample(pairs, 2)
    a, b, c, d = rng.sample(words, 4)
    return Asked(f"{a} {b} = {outer}{c}, {inner}{d}", answer, after)


def headers(rng: random.Random, words: Sequence[str]) -> Asked:
    """A docstring in Google's or NumPy's style after one or two of its sections: the next header, not one that was."""
    a, b, c, d = rng.sample(words, 4)
    google = rng.random() < 0.5
    bodies = {"Args" if google else "Parameters": f"{b} (int): The {b}." if google else f"{b} : int\n    The {b}."}
    bodies |= {"Returns": f"The {d}.", "Raises": f"ValueError: The {b} is {c}."}
    done, asked = list(bodies), rng.randint(1, 2)
    text = f"{a}({b})\n\n{a.capitalize()} the {d}.\n\n"
    for name in done[:asked]:
        text += f"{name}:\n    {bodies[name]}\n\n" if google else f"{name}\n{'-' * len(name)}\n{bodies[name]}\n\n"
    return Asked(text, done[asked], rng.choice(done[:asked]))


KINDS: dict[str, Callable[[random.Random, Sequence[str]], Asked]] = {
    "induction": induction,
    "recall": recall,
    "closing": closing,
    "headers": headers,
}


def prompts_of(kind: str, tokenizer: Tokenizer, count: int, seed: int = SEED) -> Iterator[Asked]:
    """`count` different prompts that fit the window and whose answer and foil begin with different tokens."""
    words = single_tokens(tokenizer)
    if len(words) < 50:
        raise ValueError(f"the tokenizer has {len(words)} lower-case words of one token; these prompts take 50")
    rng, seen = random.Random(f"{seed} {kind}"), set[str]()
    while len(seen) < count:
        asked = KINDS[kind](rng, words)
        ids, answer, foil = (tokenizer.encode(part, add_special_tokens=False).ids for part in asked)
        if asked.text not in seen and len(ids) <= WINDOW and answer[0] != foil[0]:
            seen.add(asked.text)
            yield asked


def main(tokenizer_file: Path, out: Path, command: str) -> None:
    """Write a file of each kind and `structured.json`, their manifest, into `out`."""
    if not tokenizer_file.is_file():
        raise ValueError(f"{tokenizer_file}: there is no tokenizer; give a checkpoint's folder")
    tokenizer = read_tokenizer(tokenizer_file)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, object] = {"seed": SEED, "tokenizer": tokenizer_file.parent.name, "command": command}
    for kind in KINDS:
        rows = []
        for index, asked in enumerate(prompts_of(kind, tokenizer, 2 * PER_SPLIT)):
            split = (Split.EXPLORATION, Split.CONFIRMATION)[index % 2]
            rows.append({"id": f"{kind}-{index:03d}", "split": split.value, **asked._asdict()})
        file = out / f"{kind}.jsonl"
        with writing(out):
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        found = load_prompts(file)
        sizes = {split.value: len(found.part(split)) for split in Split}
        manifest[kind] = {"prompts": len(found), **sizes, "digest": found.digest}
    with writing(out):
        (out / "structured.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
