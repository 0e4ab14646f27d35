"""Pairs of prompts that differ in one token and so in their answer, made from a seed for any tokenizer.

closing      a bracket is open: what closes it
underline    a section's header in NumPy's style: as many dashes as it has letters
induction    a method called on a name, and the name again: the method
assigned     a name that is assigned to: what is returned
described    an argument and its type in Google's style: its name, where it is described
default      an argument with a default value, and another argument: the same value

Each pair is one document of two prompts: either is the other's donor, and its answer the other's foil. A placebo
differs from its prompt in another token and has the same answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from attnres_core.files import writing
from attnres_core.prompts import WINDOW, Split, load_prompts, read_tokenizer
from attnres_core.training.structured import single_tokens

SEED = 20261129
TRIES = 400
"""Drawn for each pair that is wanted, at most: what a tokenizer splits otherwise is drawn anew."""
RETIRED = 128
"""Pairs drawn between those to explore and those to confirm, and left out: some were read while named prompt sets were
built, on 2026-11-29, before any claim about them was registered."""
LEAST = 16
"""Pairs that a model must solve for a task to be of use: as many documents as a verdict takes."""


class Half(NamedTuple):
    """One prompt of a pair."""

    text: str
    answer: str
    placebo: str


Pair = tuple[Half, Half]
Texts = Callable[[str, str], tuple[str, str]]
"""From what tells the halves apart and a word that does not matter to a prompt's text and its answer."""


def _closing(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    closes = {"(": ")", "[": "]", "{": "}"}
    a, b, c = rng.sample(words, 3)
    one, other = rng.sample(list(closes), 2)
    return lambda bracket, idle: (f"{a} {idle} = {bracket}{b}, {c}", closes[bracket]), one, other


def _underline(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    a, b = rng.sample(words, 2)
    headers = ("Parameters", "Returns", "Raises", "Notes", "Examples", "Attributes", "Yields", "Warnings")
    one, other = rng.sample(headers, 2)
    return lambda name, idle: (f"{a.capitalize()} the {idle} {b}.\n\n{name}\n", "-" * len(name)), one, other


def _induction(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    name, one, other = rng.sample(words, 3)
    return lambda method, idle: (f">>> {name}.{method}({idle})\n>>> {name}.", method), one, other


def _assigned(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    a, b, one, other = rng.sample(words, 4)
    return lambda name, idle: (f"def {a}({idle}):\n    {name} = {b}({idle})\n    return", f" {name}"), one, other


def _described(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    a, b, one, other = rng.sample(words, 4)
    return (
        lambda name, idle: (f"{a.capitalize()} the {idle} {b}.\n\nArgs:\n    {name} (int): The", f" {name}"),
        one,
        other,
    )


def _default(rng: random.Random, words: Sequence[str]) -> tuple[Texts, str, str]:
    a, b = rng.sample(words, 2)
    one, other = rng.sample(("True", "False", "None", "0", "1", "2", "10", "100"), 2)
    return lambda value, idle: (f"{a}({idle}={value}, {b}=", value), one, other


TASKS: dict[str, Callable[[random.Random, Sequence[str]], tuple[Texts, str, str]]] = {
    "closing": _closing,
    "underline": _underline,
    "induction": _induction,
    "assigned": _assigned,
    "described": _described,
    "default": _default,
}


def pairs_of(task: str, tokenizer: Tokenizer, count: int, seed: int = SEED) -> Iterator[Pair]:
    """`count` different pairs whose halves differ in one token; a shorter list of the same seed is their beginning.

    Raises:
        ValueError: the tokenizer has too few words of one token, or splits nearly every pair otherwise.
    """
    words = single_tokens(tokenizer)
    if len(words) < 50:
        raise ValueError(f"the tokenizer has {len(words)} lower-case words of one token; pairs take 50")
    rng, seen = random.Random(f"{seed} {task}"), set[str]()
    for _ in range(TRIES * count):
        if len(seen) == count:
            return
        texts, one, other = TASKS[task](rng, words)
        idle, changed = rng.sample(words, 2)
        first, second = (Half(*texts(kept, idle), placebo=texts(kept, changed)[0]) for kept in (one, other))
        if first.text not in seen and _one_apart(tokenizer, first, second):
            seen.add(first.text)
            yield first, second
    if len(seen) < count:
        raise ValueError(f"{task}: of {TRIES * count} pairs drawn, the tokenizer keeps {len(seen)} one token apart")


def _one_apart(tokenizer: Tokenizer, first: Half, second: Half) -> bool:
    """Return whether two prompts differ in one token before the last, their answers in the first, and placebos fit."""

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    one, other = ids(first.text), ids(second.text)
    if not 2 <= len(one) <= WINDOW or ids(first.answer)[:1] == ids(second.answer)[:1]:
        return False
    placebos = ((one, ids(first.placebo)), (other, ids(second.placebo)))
    return _differ(one, other) == 1 and all(_differ(*each) > 0 for each in placebos)


def _differ(one: Sequence[int], other: Sequence[int]) -> int:
    """In how many tokens two prompts differ; -1 where one cannot stand in for the other."""
    if len(one) != len(other) or one[-1] != other[-1]:
        return -1
    return sum(a != b for a, b in zip(one, other, strict=True))


def solved(model_leads: Mapping[str, float], document: str) -> bool:
    """Return whether the clean model prefers the answer in both halves of a pair."""
    return all(model_leads[f"{document}{half}"] > 0 for half in "ab")


def rows_of(task: str, index: int, split: Split, pair: Pair) -> list[dict[str, str]]:
    """The two prompts of a pair, as a prompt file has them."""
    document = f"{task}-{index:03d}"
    found = []
    for half, (own, other) in zip("ab", (pair, pair[::-1]), strict=True):
        found.append(
            {
                **{"id": f"{document}{half}", "document": document, "stratum": task, "split": split.value},
                **{"text": own.text, "answer": own.answer, "foil": other.answer},
                **{"donor": other.text, "placebo": own.placebo},
            }
        )
    return found


def main(
    checkpoints: Sequence[Path], out: Path, command: str, exploration: int, confirmation: int, seed: int = SEED
) -> list[str]:
    """Write a file of each task that every model solves, and `pairs.json`, their manifest, into `out`.

    Of exploration, pairs stay that every clean model solves in both orders. Confirmation pairs are read by no model, so
    none is left out for what a model does.

    Returns:
        A line a task: how many pairs stayed, or why it was left out.

    Raises:
        ValueError: checkpoints with different tokenizers, or none of the tasks is solved.
    """
    files = [checkpoint / "tokenizer.json" for checkpoint in checkpoints]
    tokenizer = read_tokenizer(files[0])
    if len({file.read_bytes() for file in files}) > 1:
        raise ValueError(f"{', '.join(map(str, checkpoints))} have different tokenizers; make pairs for each")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, object] = {"seed": seed, "tokenizer": checkpoints[0].name, "command": command}
    told = []
    for task in TASKS:
        try:
            pairs = list(pairs_of(task, tokenizer, exploration + RETIRED + confirmation, seed))
            del pairs[exploration : exploration + RETIRED]
        except ValueError as error:
            told.append(f"{error}: left out")
            continue
        splits = [Split.EXPLORATION] * exploration + [Split.CONFIRMATION] * confirmation
        rows = [
            rows_of(task, index, split, pair) for index, (split, pair) in enumerate(zip(splits, pairs, strict=True))
        ]
        file = out / f"pairs-{task}.jsonl"
        kept = rows[:exploration]
        for checkpoint in checkpoints:
            leads = _leads(checkpoint, [row for pair in kept for row in pair])
            kept = [pair for pair in kept if solved(leads, pair[0]["document"])]
            if len(kept) < LEAST:
                break
        if len(kept) < LEAST:
            told.append(
                f"{task}: {checkpoint.name} solves {len(kept)} of {exploration} pairs, of {LEAST} at least: left out"
            )
            continue
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for pair in [*kept, *rows[exploration:]] for row in pair]
        with writing(out):
            file.write_text("".join(lines), encoding="utf-8")
        digest = load_prompts(file).digest
        manifest[task] = {"solved": len(kept), "of": exploration, "confirmation": confirmation, "digest": digest}
        told.append(f"{task}: {len(kept)} of {exploration} exploration pairs solved, {confirmation} for confirmation")
    if len(manifest) == 3:
        raise ValueError("no task is solved: " + "; ".join(told))
    with writing(out):
        (out / "pairs.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return told


def _leads(checkpoint: Path, rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The answer's logit less the foil's on the clean run of each prompt, by id."""
    import torch

    from attnres_core.models.loading import load_model

    model = load_model(checkpoint)
    tokenizer = read_tokenizer(checkpoint / "tokenizer.json")

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    found = {}
    for row in rows:
        logits = model.logits(torch.tensor([ids(row["text"])]))[0, -1]
        found[row["id"]] = float(logits[ids(row["answer"])[0]] - logits[ids(row["foil"])[0]])
    return found
