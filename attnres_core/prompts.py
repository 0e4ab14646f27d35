"""Prompt sets: documents with their prompts, split into exploration and confirmation, identified by digest."""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from attnres_core.quantities.vocabulary import choice
from attnres_core.shapes import Column

WINDOW = 64
"""Tokens of a prompt that are read; every next-token prediction among them is scored."""
_TOO_SHORT = "has {} tokens; a next-token loss needs at least 2: lengthen it or leave it out"
SHORT = 8
"""A prompt of fewer tokens is told of: its mean over a few predictions counts as much as one over a full window."""
FIELDS = ("id", "text", "document", "stratum", "split", "answer", "foil", "donor", "placebo", "variant", "sentence")
GOOD, BAD = "good", "bad"
"""What a prompt's field `sentence` may say."""


class IgnoredFieldWarning(UserWarning):
    """A prompt file holds fields that nothing reads."""


class Split(StrEnum):
    """The decisions that a prompt may serve."""

    EXPLORATION = "exploration"
    """For choosing what to claim."""
    CONFIRMATION = "confirmation"
    """For verdicts."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt."""

    id: str
    text: str
    document: str
    """The document that it was taken from: the unit of resampling."""
    stratum: str
    """The collection the document belongs to."""
    split: Split
    answer: str = ""
    """The text that should follow: its first token is the answer. Empty: nothing is asked."""
    foil: str = ""
    """The text that must not follow instead; its first token."""
    donor: str = ""
    """A text of as many tokens that ends in the same one, and whose answer is the foil: what interchanges take from."""
    placebo: str = ""
    """Another such text, whose answer is the prompt's own."""
    variant: str = ""
    """Which variant of its document it is: another wrapping of its lines, another case. Empty: it has none."""
    sentence: str = ""
    """Which sentence of its document's pair it is, GOOD or BAD. Empty: it is of no such pair."""

    def __hash__(self) -> int:
        """By the id alone, which tells prompts apart: chunks of them are looked up a hundred thousand times a run."""
        return hash(self.id)

    @property
    def digest(self) -> str:
        """SHA-256 of every field but the split, which changes no measured number."""
        asked = [self.answer, self.foil] if self.answer else []
        given = [["donor", self.donor], ["placebo", self.placebo]] if self.donor else []
        given += [["variant", self.variant]] if self.variant else []
        given += [["sentence", self.sentence]] if self.sentence else []
        fields = [self.id, self.text, self.document, self.stratum, *asked, *given]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Pairs:
    """The prompts that interchanges take from, for each of some prompts: token ids of equal length."""

    donors: list[list[int]]
    placebos: list[list[int]] | None = None

    def part(self, rows: slice) -> Pairs:
        """Those of some of the prompts."""
        return Pairs(self.donors[rows], self.placebos and self.placebos[rows])


@dataclass(frozen=True, slots=True)
class Sentences:
    """What turns the losses of some prompts into those of pairs of sentences; a pair's two prompts are neighbours."""

    good: NDArray[np.bool_]
    """Whether a prompt is the good one, `[prompt]`."""
    predicted: NDArray[np.int64]
    """How many of its tokens are predicted, `[prompt]`."""

    def head(self, count: int) -> Sentences:
        """Those of the first prompts; `count` is even."""
        return Sentences(self.good[:count], self.predicted[:count])

    def leads(self, losses: Column) -> Column:
        """How much likelier each pair's good sentence is, ln p(good) - ln p(bad), in nats.

        Args:
            losses: of each prompt, nats per token, `[prompt]`.

        Returns:
            `[prompt]`: a pair's lead stands at both of its prompts, so that the mean over prompts is that over pairs.
        """
        signed = np.where(self.good, -losses, losses) * self.predicted
        return np.repeat(signed.reshape(-1, 2).sum(1), 2)


@dataclass(frozen=True)
class PromptSet:
    """Documents in digest order, each with its prompts together: no file's and no run's order can change a number."""

    name: str
    prompts: tuple[Prompt, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the prompts' digests and splits."""
        return hashlib.sha256("".join(prompt.digest + prompt.split for prompt in self.prompts).encode()).hexdigest()

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.prompts)

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The documents, in order of their first prompts: the units that verdicts count."""
        return tuple(dict.fromkeys(prompt.document for prompt in self.prompts))

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """Each document's stratum."""
        of = {prompt.document: prompt.stratum for prompt in self.prompts}
        return tuple(of[document] for document in self.documents)

    def by_document(self, column: Column, *, worst: bool = False) -> Column:
        """A column `[prompt]` as means `[document]`: prompts of one document are no independent evidence.

        Args:
            column: a number for each prompt.
            worst: take each document's largest number, which a mean would hide.
        """
        if len(self.documents) == len(self.prompts):
            return column
        places = {document: place for place, document in enumerate(self.documents)}
        index = np.array([places[prompt.document] for prompt in self.prompts])
        if worst:
            largest = np.full(len(self.documents), -np.inf)
            np.maximum.at(largest, index, column)
            return largest
        return np.asarray(np.bincount(index, weights=column) / np.bincount(index), dtype=np.float64)

    def of_variant(self, variant: str) -> PromptSet:
        """The prompts of one variant.

        Raises:
            ValueError: a document has none.
        """
        found = PromptSet(self.name, tuple(prompt for prompt in self.prompts if prompt.variant == variant))
        if lacking := [document for document in self.documents if document not in found.documents]:
            raise ValueError(
                f"{self.name}: document {lacking[0]!r} has no prompt of variant {variant!r}; give every document one "
                "(`python -m attnres_core prompts variants` makes them), or leave `variants` out"
            )
        return found

    def head(self, documents: int | None) -> PromptSet:
        """The prompts of the first `documents` documents; None: all."""
        if documents is None or documents >= len(self.documents):
            return self
        later = set(self.documents[documents:])
        return PromptSet(
            self.name, tuple(itertools.takewhile(lambda prompt: prompt.document not in later, self.prompts))
        )

    def part(self, split: Split | str, limit: int | None = None) -> PromptSet:
        """The prompts of one split, at most `limit`: its first documents, whole (of the very first, what fits).

        Args:
            split: `"exploration"`, for looking and choosing, or `"confirmation"`, for verdicts on registered claims.
            limit: how many prompts at most; None: all.

        Raises:
            ValueError: there is no such split.
        """
        split = choice(Split, split, "split")
        whole = PromptSet(f"{self.name}/{split}", tuple(p for p in self.prompts if p.split is split))
        if limit is None or limit >= len(whole):
            return whole
        beyond = whole.prompts[limit].document
        first = next(index for index, prompt in enumerate(whole.prompts) if prompt.document == beyond)
        return PromptSet(whole.name, whole.prompts[: first or limit])

    def token_ids(self, tokenizer_file: Path, window: int = WINDOW) -> list[list[int]]:
        """Each prompt's first `window` token ids.

        Raises:
            ValueError: there is no readable tokenizer, or a prompt has fewer than two tokens.
        """
        encoded = _encoded(tokenizer_file, [prompt.text for prompt in self.prompts])
        for prompt, row in zip(self.prompts, encoded, strict=True):
            if len(row) < 2:
                raise ValueError(f"prompt {prompt.id!r} {_TOO_SHORT.format(len(row))}")
            if prompt.answer and len(row) > window:
                remedy = f"the answer must follow within the {window} that are read: shorten it"
                raise ValueError(f"prompt {prompt.id!r} has {len(row)} tokens; {remedy}")
        return [row[:window] for row in encoded]

    def token_texts(self, tokenizer_file: Path, window: int = WINDOW) -> list[list[str]]:
        """The pieces of each prompt's text that its first `window` tokens stand for.

        Of a character that several tokens share bytes of, the first has it, and the others are empty.
        """
        encoded = _encodings(tokenizer_file, [prompt.text for prompt in self.prompts])
        return [_pieces(prompt.text, row.offsets[:window]) for prompt, row in zip(self.prompts, encoded, strict=True)]

    def answer_ids(self, tokenizer_file: Path) -> list[tuple[int, int | None]] | None:
        """The first token of each prompt's answer and of its foil; None where the set asks nothing.

        Raises:
            ValueError: there is no readable tokenizer, or an answer and its foil begin with the same token.
        """
        if not any(prompt.answer for prompt in self.prompts):
            return None
        answers = _encoded(tokenizer_file, [prompt.answer for prompt in self.prompts])
        foils = _encoded(tokenizer_file, [prompt.foil for prompt in self.prompts])
        found: list[tuple[int, int | None]] = []
        for prompt, answer, foil in zip(self.prompts, answers, foils, strict=True):
            if not answer or answer[:1] == foil[:1]:
                problem = f"answer {prompt.answer!r} and foil {prompt.foil!r} begin with the same token, or with none"
                raise ValueError(f"prompt {prompt.id!r}: {problem}; give others")
            found.append((answer[0], foil[0] if foil else None))
        return found

    def sentences(self, tokenizer_file: Path, window: int = WINDOW) -> Sentences | None:
        """What the pairs of sentences among the prompts are; None where there are none.

        Raises:
            ValueError: there is no readable tokenizer, or two sentences cannot be compared, and why.
        """
        if not any(prompt.sentence for prompt in self.prompts):
            return None
        rows = _encoded(tokenizer_file, [prompt.text for prompt in self.prompts])
        for place in range(0, len(rows), 2):
            names = [repr(prompt.id) for prompt in self.prompts[place : place + 2]]
            if len(names) < 2:
                raise ValueError(f"sentence {names[0]} is read without the other of its pair; read one prompt more")
            if why := incomparable(rows[place], rows[place + 1], window):
                raise ValueError(f"sentences {' and '.join(names)}: {why}")
        good = np.array([prompt.sentence == GOOD for prompt in self.prompts])
        return Sentences(good, np.array([len(row) - 1 for row in rows]))

    def pair_ids(self, tokenizer_file: Path, window: int = WINDOW) -> Pairs | None:
        """Token ids of each prompt's donor and placebo; None where the set has no donors.

        Raises:
            ValueError: a donor cannot stand in for its prompt, and why.
        """
        if not any(prompt.donor for prompt in self.prompts):
            return None
        rows, names = self.token_ids(tokenizer_file, window), [repr(prompt.id) for prompt in self.prompts]
        found = []
        for field in ("donor", "placebo"):
            given = [getattr(prompt, field) for prompt in self.prompts]
            own = _encoded(tokenizer_file, given) if all(given) else None
            if own is not None:
                check_pairs(rows, own, names, field)
            found.append(own)
        donors, placebos = found
        assert donors is not None, "a file gives all of its prompts a donor, or none"
        return Pairs(donors, placebos)


def incomparable(first: Sequence[int], second: Sequence[int], window: int) -> str:
    """Why the log-probabilities of two sentences cannot be compared; empty where they can."""
    if max(len(first), len(second)) > window:
        return f"{max(len(first), len(second))} tokens; sentences are read whole, within {window}: shorten them"
    if list(first) == list(second):
        return "the tokenizer reads both as the same tokens; give sentences that differ"
    if first[:1] != second[:1]:
        return "their first tokens differ, and nothing predicts a first token; begin both with the same word"
    return ""


def check_pairs(
    rows: Sequence[Sequence[int]], donors: Sequence[Sequence[int]], names: Sequence[object], field: str = "donor"
) -> None:
    """Refuse donors that cannot stand in for their prompts, position by position.

    Raises:
        ValueError: which prompt (by its name), and what is wrong with its donor.
    """
    if len(rows) != len(donors):
        raise ValueError(f"there are {len(donors)} {field}s for {len(rows)} prompts; give one for each")
    for name, row, donor in zip(names, rows, donors, strict=True):
        if len(row) != len(donor):
            why = f"has {len(donor)} tokens and the prompt {len(row)}; positions must match: give one of equal length"
        elif row[-1] != donor[-1]:
            why = f"ends in token {donor[-1]} and the prompt in {row[-1]}; the answer must follow the same token"
        elif list(row) == list(donor):
            why = "is the prompt itself; give a text that differs"
        else:
            continue
        raise ValueError(f"the {field} of prompt {name} {why}")


def _pieces(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    pieces, told = [], 0
    for start, end in offsets:
        pieces.append(text[max(start, told) : end])
        told = max(told, end)
    return pieces


def _encoded(tokenizer_file: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, whole and without special tokens; errors as for `read_tokenizer`."""
    tokenizer = read_tokenizer(tokenizer_file)
    return [list(ids) for ids in _ids(tokenizer, tuple(texts))]


@lru_cache(maxsize=64)  # (a run asks for each prompt set's half a dozen times)
def _ids(tokenizer: Tokenizer, texts: tuple[str, ...]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _encodings(tokenizer_file: Path, texts: Sequence[str]) -> list[Encoding]:
    return list(read_tokenizer(tokenizer_file).encode_batch(list(texts), add_special_tokens=False))


def folded(text: str) -> str:
    """A text without what changes how it is written but not what it says: blanks, invisible signs, a final stop."""
    plain = unicodedata.normalize("NFKC", text)
    visible = "".join(c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    words = " ".join(visible.split())
    end = len(words)
    while end and unicodedata.category(words[end - 1])[0] in "PZ":
        end -= 1
    return words[:end] or words


def scored_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Return the token ids `[text][token]` that tell texts apart: those of each one's first WINDOW tokens, folded."""
    whole = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    read = [
        folded(text[: row.offsets[:WINDOW][-1][1]] if row.offsets else text)
        for text, row in zip(texts, whole, strict=True)
    ]
    return [tuple(row.ids) for row in tokenizer.encode_batch(read, add_special_tokens=False)]


def read_tokenizer(tokenizer_file: Path) -> Tokenizer:
    """A checkpoint's tokenizer, which neither pads nor truncates; not to be changed.

    Raises:
        ValueError: there is no readable tokenizer.
    """
    if not tokenizer_file.is_file():
        raise ValueError(f"{tokenizer_file}: no tokenizer beside the weights; add the checkpoint's tokenizer.json")
    return _tokenizer(tokenizer_file, _state(tokenizer_file))


def _state(file: Path) -> tuple[int, int]:
    """When a file was changed last, and its size."""
    told = file.stat()
    return told.st_mtime_ns, told.st_size


@lru_cache(maxsize=8)
def _tokenizer(tokenizer_file: Path, state: tuple[int, int]) -> Tokenizer:
    """The tokenizer of a file in a state."""
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ValueError(f"{tokenizer_file}: unreadable tokenizer ({error}); copy it again") from error
    tokenizer.no_padding()  # a tokenizer file may ask for either; both would change the ids
    tokenizer.no_truncation()
    return tokenizer


def token_rows(
    given: Sequence[Sequence[int]],
    argument: str,
    names: Sequence[object],
    limits: tuple[int, int],
    remedy: str = "those",
) -> list[list[int]]:
    """Prompts given as token ids, as lists that a model of these `limits` (vocabulary, context) can read.

    Raises:
        ValueError: `argument` is none, is empty, or holds a prompt that cannot be read.
    """
    try:
        rows = [[operator.index(token) for token in row] for row in given]
    except TypeError:
        raise ValueError(f"`{argument}` is no list of lists of token ids; give {remedy}") from None
    if not rows:
        raise ValueError(f"`{argument}` is empty; give at least one prompt")
    check_tokens(rows, names, *limits)
    return rows


def check_tokens(rows: Sequence[Sequence[int]], names: Sequence[object], vocabulary: int, context: int) -> None:
    """Refuse token ids that a model cannot read.

    Raises:
        ValueError: which prompt (by its name), what is wrong with it, the remedy.
    """
    for name, row in zip(names, rows, strict=True):
        if len(row) < 2:
            raise ValueError(f"prompt {name} {_TOO_SHORT.format(len(row))}")
        if len(row) > context:
            raise ValueError(f"prompt {name} has {len(row)} tokens; the context is {context}: cut it")
        if outside := [token for token in row if not 0 <= token < vocabulary]:
            remedy = f"ids run from 0 to {vocabulary - 1}: tokenise with this model's tokenizer"
            raise ValueError(f"prompt {name} holds token id {outside[0]}; {remedy}")


def load_prompts(path: str | Path) -> PromptSet:
    """Read a JSONL file of prompts: `id`, `text`, and where known the other `FIELDS`.

    A missing document is the prompt's own id, a missing stratum the file's name, a missing split comes from a hash of
    the document. Other fields are ignored, with a warning that names them.

    Raises:
        ValueError: what is wrong, with file, line and remedy.
    """
    if not isinstance(path, (str, Path)):
        raise ValueError(f"a prompt file is {path!r}; give its path")
    path = Path(path)
    if path.is_dir():
        candidates = sorted(path.glob("*.jsonl"))
        if len(candidates) != 1:
            raise ValueError(f"{path}: holds {len(candidates)} .jsonl files; name the one to read")
        path = candidates[0]
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such prompt file; give a JSONL file with `id` and `text`") from None
    except OSError as error:
        raise ValueError(f"{path}: unreadable ({error}); give a JSONL file that may be read") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    rows = [(number, _row(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    prompts = [_prompt(path, number, row) for number, row in rows]
    if unread := sorted({field for _, row in rows for field in row} - set(FIELDS)):
        told = f"{path}: nothing reads {', '.join(unread)}; a prompt's fields are {', '.join(FIELDS)}"
        warnings.warn(told, IgnoredFieldWarning, stacklevel=2)
    if not prompts:
        raise ValueError(f"{path}: no prompts; write one JSON object a line with `id` and `text`")
    ids = Counter(prompt.id for prompt in prompts)
    if twice := sorted(name for name, count in ids.items() if count > 1):
        raise ValueError(f"{path}: id {twice[0]!r} stands on several lines; give each its own")
    for field in ("answer", "foil", "donor", "placebo", "sentence"):
        if len({bool(getattr(prompt, field)) for prompt in prompts}) > 1:
            raise ValueError(f"{path}: some prompts have `{field}` and some have none; give it to all, or to none")
    for field in ("stratum", "split"):
        values: dict[str, str] = {}
        for prompt in prompts:
            mine = getattr(prompt, field)
            if values.setdefault(prompt.document, mine) != mine:
                found = f"document {prompt.document!r} has prompts of several {field}s"
                raise ValueError(f"{path}: {found}; a document belongs to one")
    if prompts[0].sentence:
        _check_sentences(path, prompts)
    prompts.sort(key=lambda prompt: prompt.digest)
    counts = Counter(prompt.document for prompt in prompts)

    def place(prompt: Prompt) -> str:
        """A document's place in the order: a hash that knows nothing of how many prompts it has."""
        alone = counts[prompt.document] == 1
        return prompt.digest if alone else hashlib.sha256(prompt.document.encode()).hexdigest()

    return PromptSet(path.stem, tuple(sorted(prompts, key=lambda prompt: (place(prompt), prompt.digest))))


def _check_sentences(path: Path, prompts: Sequence[Prompt]) -> None:
    """Refuse documents that are no pair of sentences.

    Raises:
        ValueError: which document, and what is wrong with it.
    """
    texts: dict[str, dict[str, list[str]]] = {}
    for prompt in prompts:
        texts.setdefault(prompt.document, {GOOD: [], BAD: []})[prompt.sentence].append(prompt.text)
    for document, found in texts.items():
        good, bad = found[GOOD], found[BAD]
        if (len(good), len(bad)) != (1, 1):
            told = f"document {document!r} has {len(good)} good and {len(bad)} bad sentences"
            raise ValueError(f"{path}: {told}; a pair is one of each")
        if good == bad:
            raise ValueError(f"{path}: the good and the bad sentence of document {document!r} are one text; change one")


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: malformed JSON ({error}); write one JSON object a line") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a {type(row).__name__}, not an object; write {{'id': ..., 'text': ...}}")
    return row


def _prompt(path: Path, number: int, row: dict[str, Any]) -> Prompt:
    where = f"{path}, line {number}"
    row = {field: row[field] for field in FIELDS if field in row}
    for field in row:
        if not isinstance(row[field], str) or not row[field]:
            raise ValueError(f"{where}: `{field}` is {row[field]!r}; give a non-empty string")
        if any("\ud800" <= character <= "\udfff" for character in row[field]):
            raise ValueError(f"{where}: `{field}` holds half a surrogate pair, which is no text; write it as UTF-8")
    if missing := [field for field in ("id", "text") if field not in row]:
        raise ValueError(f"{where}: no `{missing[0]}`; every prompt needs `id` and `text`")
    row = {"document": row["id"], "stratum": path.stem} | row
    split = row.get("split") or split_of(row["document"])
    if split not in tuple(Split):
        raise ValueError(f"{where}: `split` is {split!r}; allowed: {', '.join(Split)}")
    if "foil" in row and "answer" not in row:
        raise ValueError(f"{where}: a `foil` without an `answer`; give both")
    if "donor" in row and "foil" not in row:
        raise ValueError(f"{where}: a `donor` without a `foil`; give the donor's answer as `foil`")
    if "placebo" in row and "donor" not in row:
        raise ValueError(f"{where}: a `placebo` without a `donor`; give both")
    if row.get("sentence", GOOD) not in (GOOD, BAD):
        raise ValueError(f"{where}: `sentence` is {row['sentence']!r}; allowed: {GOOD}, {BAD}")
    if "sentence" in row and (beside := [field for field in ("answer", "variant") if field in row]):
        raise ValueError(f"{where}: a `sentence` beside `{beside[0]}`; a sentence is compared whole: leave one out")
    asked = (row.get(field, "") for field in ("answer", "foil", "donor", "placebo", "variant", "sentence"))
    return Prompt(row["id"], row["text"], row["document"], row["stratum"], Split(split), *asked)


def split_of(document: str) -> Split:
    """The split of a document that names none: a fair coin from its hash."""
    odd = hashlib.sha256(document.encode()).digest()[0] % 2
    return Split.CONFIRMATION if odd else Split.EXPLORATION


@cache
def chunk_digest(prompts: tuple[Prompt, ...], tokenizer_digest: str, window: int = WINDOW) -> str:
    """Return what identifies a chunk of tokenised prompts."""
    parts = [*(prompt.digest for prompt in prompts), tokenizer_digest, str(window)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
