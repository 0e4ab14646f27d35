"""Pairs of sentences, one good and one bad, that differ in one point of grammar: made from templates and a seed.

anaphor      a reflexive and its subject agree in number: itself, themselves
quantifiers  what can stand after "there is", and after "no ... takes": more than, at least
determiner   a determiner and its noun agree in number: this file, these files
binding      a reflexive is bound by the subject of its own clause, not by a nearer or a farther noun
islands      out of an adjunct, a coordination or a determiner's phrase no question is formed

The phenomena are those of BLiMP that bear these names; templates and words are our own, in the English of Python's
docstrings. A pair's two sentences begin alike, since nothing predicts a first token. No model is asked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Tokenizer

from attnres_core.files import writing
from attnres_core.prompts import BAD, GOOD, WINDOW, Split, incomparable, load_prompts, read_tokenizer

SEED = 20261130
TRIES = 100
"""Drawn for each pair that is wanted, at most: what was drawn before, or a tokenizer reads otherwise, is drawn anew."""
LEAST = 16
"""Pairs of a split: as many documents as a verdict takes."""

Noun = tuple[str, str]
Verb = tuple[str, str, str]
Pair = tuple[str, str]
"""A good sentence and a bad one."""

AGENTS: tuple[Noun, ...] = tuple(
    (word, f"{word}s")
    for word in (
        *("parser", "function", "method", "module", "handler", "reader", "writer", "worker", "thread", "server"),
        *("client", "model", "layer", "iterator", "decoder", "encoder", "estimator", "optimizer", "test", "script"),
        *("wrapper", "loader", "scheduler", "callback", "converter", "formatter", "compiler", "generator", "manager"),
    )
)
_THINGS = """file table object array list string vector tensor kernel request response buffer stream node tree graph
    edge key queue task frame column row block token value name path field parameter argument attribute option result
    label header message line window sample weight point image package"""
_IRREGULAR = (
    ("class", "classes"),
    ("index", "indices"),
    ("matrix", "matrices"),
    ("axis", "axes"),
    ("entry", "entries"),
)
THINGS: tuple[Noun, ...] = (*((word, f"{word}s") for word in _THINGS.split()), *_IRREGULAR)
VERBS: tuple[Verb, ...] = (
    *(
        (f"{stem}s", stem, f"{stem}ing")
        for stem in ("check", "call", "reset", "load", "sort", "print", "return", "register", "convert", "inspect")
    ),
    *(
        (f"{stem}es", f"{stem}e", f"{stem}ing")
        for stem in ("updat", "clos", "describ", "replac", "remov", "configur", "creat", "pars", "validat", "writ")
    ),
    *(("copies", "copy", "copying"), ("modifies", "modify", "modifying")),
)
TAILS = (
    *("after each step", "at the end", "in the loop", "by default", "when the run starts", "in this case", "in place"),
    *("on exit", "on every access", "at import time", "before the first call", "without a copy", "after an error"),
    *("for each batch", "in a new process", "if possible", "while the lock is held", "in the background"),
)
NUMBERS = ("two", "three", "four", "five", "six", "ten")
OTHERS = ("new", "same", "other", "first", "last", "default", "empty", "local", "valid", "hidden", "sorted", "nested")
REFLEXIVES = ("itself", "themselves")


def _anaphor(rng: random.Random) -> Pair:
    (agent,), verb, many = rng.sample(AGENTS, 1), rng.choice(VERBS), rng.randrange(2)
    start, tail = f"The {agent[many]} {verb[many]}", rng.choice(TAILS)
    good, bad = REFLEXIVES[many], REFLEXIVES[1 - many]
    return f"{start} {good} {tail}.", f"{start} {bad} {tail}."


def _quantifiers(rng: random.Random) -> Pair:
    thing, place = rng.sample(THINGS, 2)
    agent, many = rng.choice(AGENTS), rng.randrange(2)
    if rng.randrange(2):
        good = rng.choice((("a", "no", "one"), ("some", "no", "many", "several"))[many])
        bad = rng.choice((("every", "each"), ("all", "most"))[many])
        start = ("There is", "There are")[many]
        where = f"in the {place[0]} {rng.choice(TAILS)}"
        if good == "a" and thing[0][0] in "aeiou":
            good = "an"
        return f"{start} {good} {thing[many]} {where}.", f"{start} {bad} {thing[many]} {where}."
    start, verb = f"No {agent[0]}", rng.choice(VERBS)[0]
    good, bad = rng.choice((("more than", "at least"), ("fewer than", "at most")))
    rest = f"{rng.choice(NUMBERS)} {thing[1]} {rng.choice(TAILS)}"
    return f"{start} {verb} {good} {rest}.", f"{start} {verb} {bad} {rest}."


def _determiner(rng: random.Random) -> Pair:
    agent, thing, verb, many = rng.choice(AGENTS), rng.choice(THINGS), rng.choice(VERBS), rng.randrange(2)
    determiners = rng.choice((("this", "these"), ("that", "those")))
    between = f"{rng.choice(OTHERS)} " if rng.randrange(2) else ""
    tail = rng.choice(TAILS)

    def sentence(determiner: int, noun: int) -> str:
        return f"The {agent[0]} {verb[0]} {determiners[determiner]} {between}{thing[noun]} {tail}."

    return sentence(many, many), sentence(*rng.choice(((1 - many, many), (many, 1 - many))))


def _binding(rng: random.Random) -> Pair:
    (subject, other), (outer, inner), many = rng.sample(AGENTS, 2), rng.sample(VERBS, 2), rng.randrange(2)
    tail = rng.choice(TAILS)
    if rng.randrange(2):  # the subject's relative clause holds a nearer noun
        start = f"The {subject[many]} that {outer[many]} the {other[1 - many]} {inner[many]}"
    else:  # the subject of the outer clause is farther
        start = f"The {other[1 - many]} {('expect', 'expects')[many]} that the {subject[many]} {inner[many]}"
    return f"{start} {REFLEXIVES[many]} {tail}.", f"{start} {REFLEXIVES[1 - many]} {tail}."


def _islands(rng: random.Random) -> Pair:
    agent, (one, other), (first, second) = rng.choice(AGENTS), rng.sample(THINGS, 2), rng.sample(VERBS, 2)
    does, tail = f"does the {agent[0]}", rng.choice(TAILS)
    kind = rng.randrange(3)
    if kind == 0:
        when, start = rng.choice(("before", "after", "without")), f"Which {one[0]} {does} {first[1]}"
        return f"{start} {when} {second[2]} the {other[0]}?", f"{start} the {other[0]} {when} {second[2]}?"
    if kind == 1:
        good = f"Which {one[0]} and {other[0]} {does} {first[1]} {tail}?"
        return good, f"Which {one[0]} {does} {first[1]} and {other[0]} {tail}?"
    return f"Which {one[1]} {does} {first[1]} {tail}?", f"Which {does} {first[1]} {one[1]} {tail}?"


PHENOMENA: dict[str, tuple[str, Callable[[random.Random], Pair]]] = {
    "anaphor": ("anaphor agreement", _anaphor),
    "quantifiers": ("quantifiers", _quantifiers),
    "determiner": ("determiner-noun agreement", _determiner),
    "binding": ("binding", _binding),
    "islands": ("island effects", _islands),
}
"""Each with the phenomenon of BLiMP that it follows."""


def pairs_of(phenomenon: str, tokenizer: Tokenizer, count: int, seed: int = SEED) -> Iterator[Pair]:
    """`count` pairs, no sentence twice; a shorter list of the same seed is their beginning.

    Raises:
        ValueError: the tokenizer reads nearly every pair in a way that cannot be compared.
    """
    _, draw = PHENOMENA[phenomenon]
    rng, seen = random.Random(f"{seed} {phenomenon}"), set[str]()
    for _ in range(TRIES * count):
        if len(seen) == 2 * count:
            return
        pair = draw(rng)
        good, bad = (tokenizer.encode(text, add_special_tokens=False).ids for text in pair)
        if not seen & set(pair) and not incomparable(good, bad, WINDOW):
            seen.update(pair)
            yield pair
    if len(seen) < 2 * count:
        found = f"of {TRIES * count} pairs drawn, {len(seen) // 2} are new and can be compared"
        raise ValueError(f"{phenomenon}: {found}; {count} are wanted: ask for fewer")


def rows_of(phenomenon: str, index: int, split: Split, pair: Pair) -> list[dict[str, str]]:
    """The two prompts of a pair, as a prompt file has them."""
    document = f"{phenomenon}-{index:03d}"
    told = {"document": document, "stratum": phenomenon, "split": split.value}
    return [
        {"id": f"{document} {which}", **told, "sentence": which, "text": text}
        for which, text in zip((GOOD, BAD), pair, strict=True)
    ]


def main(
    tokenizer_file: Path, out: Path, command: str, exploration: int, confirmation: int, seed: int = SEED
) -> list[str]:
    """Write a file of each phenomenon, and `sentences.json`, their manifest, into `out`.

    Returns:
        A line a file.

    Raises:
        ValueError: there is no readable tokenizer, it fits no pairs, or a file cannot be written.
    """
    tokenizer = read_tokenizer(tokenizer_file)
    splits = [Split.EXPLORATION] * exploration + [Split.CONFIRMATION] * confirmation
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, object] = {"seed": seed, "tokenizer": tokenizer_file.parent.name, "command": command}
    told = []
    for phenomenon, (follows, _) in PHENOMENA.items():
        pairs = list(pairs_of(phenomenon, tokenizer, len(splits), seed))
        rows = [
            row
            for index, (split, pair) in enumerate(zip(splits, pairs, strict=True))
            for row in rows_of(phenomenon, index, split, pair)
        ]
        file = out / f"sentences-{phenomenon}.jsonl"
        with writing(out):
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        counts = {"exploration": exploration, "confirmation": confirmation}
        manifest[phenomenon] = {"follows": f"BLiMP: {follows}", **counts, "digest": load_prompts(file).digest}
        told.append(f"{file}: {exploration} pairs to explore, {confirmation} to confirm ({follows})")
    with writing(out):
        (out / "sentences.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return told
