"""Texts from anywhere become a prompt file: plain text files, and data sets read by the library `datasets`.

Everything that is read may come from someone else. A text is only ever text: no code of a data set is run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnres_core.files import atomic, writing
from attnres_core.prompts import WINDOW, PromptSet, Split, load_prompts, read_tokenizer, scored_tokens, split_of

BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
"""Files that are data sets, and what reads them; every other file is plain text."""
EACH = {"file": None, "paragraph": "\n\n", "line": "\n"}
"""What may become a prompt of a text file, and what stands between two of them."""
_SAVED = ("dataset_info.json", "dataset_dict.json")
"""One of these stands in a folder that `save_to_disk` made."""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of texts, and which part of it is read."""

    name: str
    """A text file, a folder of `.txt` files, a data file, a folder of a data set, or a data set's hub id."""
    each: str = "file"
    """What becomes a prompt of a text file: one of EACH."""
    independent: bool = False
    """Whether the paragraphs or lines of a text file have nothing to do with each other: then each is a document."""
    columns: tuple[tuple[str, str], ...] = (("text", "text"),)
    """A prompt's fields with the columns of a data set that they are read from."""
    config: str | None = None
    split: str = "train"
    revision: str | None = None


@dataclass(slots=True)
class Made:
    """The outcome of the texts that were read."""

    rows: list[dict[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many were left out, by the reason."""
    cut: int = 0


def texts(source: Source, limit: int | None = None) -> Iterator[dict[str, str]]:
    """Read a source's texts, each with the fields of a prompt that are known of it.

    Args:
        source: what is read.
        limit: how many prompts are wanted; None: all. With one, a data set of the hub is streamed.

    Raises:
        ValueError: it cannot be read, with the remedy.
    """
    path = Path(source.name)
    if path.is_file() and path.suffix.lower() not in BUILDERS:
        yield from _of_file(path, source, path.stem)
    elif path.is_dir() and (files := sorted(path.rglob("*.txt"))):
        for file in files:
            yield from _of_file(file, source, path.name, file.relative_to(path).as_posix())
    elif path.is_dir() and not any(BUILDERS.keys() & set(file.suffixes) for file in path.rglob("*")):
        there = ", ".join(sorted({f"*{file.suffix}" for file in path.rglob("*") if file.is_file()})[:5]) or "nothing"
        remedy = f"name the files, such as {path}/*.md (any file is read as text), or give a folder of .txt files"
        raise ValueError(f"{path}: it holds {there}, no .txt file and no data file; {remedy}")
    else:
        yield from _of_data_set(source, limit)


def _of_file(file: Path, source: Source, stratum: str, name: str = "") -> Iterator[dict[str, str]]:
    try:
        whole = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: unreadable ({error}); give a text file in UTF-8") from None
    between = EACH[source.each]
    for part in [whole] if between is None else whole.split(between):
        row = {"text": part.strip("\n"), "stratum": stratum}
        yield row if source.independent else {**row, "document": name or file.name}


def _of_data_set(source: Source, limit: int | None) -> Iterator[dict[str, str]]:
    stratum = Path(source.name).stem if Path(source.name).exists() else source.name
    try:
        for row in _rows(source, limit):
            if absent := [column for _, column in source.columns if column not in row]:
                raise ValueError(f"it has no column {absent[0]!r}, and has {', '.join(map(repr, row))}")
            found = {name: row[column] for name, column in source.columns}
            if not isinstance(found["text"], str | None):
                raise ValueError(f"its texts are no text but {type(found['text']).__name__}; choose another --text")
            yield {"stratum": stratum} | {name: "" if value is None else str(value) for name, value in found.items()}
    except ValueError as error:
        raise ValueError(f"{source.name}: {' '.join(str(error).split())}") from None
    except Exception as error:  # (the library raises whatever its readers raise)
        problem = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"
        remedy = "give a text file, a folder of .txt files, a data file, a folder of a data set, or a hub id"
        raise ValueError(f"{source.name}: {problem}; {remedy}") from None


def _rows(source: Source, limit: int | None) -> Iterable[dict[str, Any]]:
    """The rows of a data set."""
    try:
        import datasets
    except ImportError:
        raise ValueError("reading a data set needs `datasets`: pip install datasets") from None
    path = Path(source.name)
    if any((path / name).is_file() for name in _SAVED):
        saved = datasets.load_from_disk(str(path))
        if not isinstance(saved, datasets.DatasetDict):
            return saved
        if source.split not in saved:
            raise ValueError(f"it has no split {source.split!r}, and has {', '.join(map(repr, saved))}")
        return saved[source.split]
    given: dict[str, Any] = {"split": source.split, "streaming": limit is not None or path.exists()}
    if path.is_file():
        given |= {"data_files": str(path)} | ({"delimiter": "\t"} if path.suffix.lower() == ".tsv" else {})
        return datasets.load_dataset(BUILDERS[path.suffix.lower()], **given)
    revision = {} if path.exists() else {"revision": source.revision}
    return datasets.load_dataset(source.name, source.config, **revision, **given)


def make_rows(
    found: Iterable[dict[str, str]],
    tokenizer_file: Path,
    least: int,
    most: int,
    limit: int | None = None,
    per_document: int | None = None,
) -> Made:
    """Texts become rows of a prompt file; what cannot serve as a prompt is left out, and counted.

    Longer texts are cut, as nothing behind the first tokens is read; a prompt with an answer is left out instead,
    since the answer must follow its end. Of texts that are the same in the tokens that are scored, the first stays:
    no run reads a file that holds both.

    Args:
        found: texts with what is known of them.
        tokenizer_file: whose tokens are counted.
        least: tokens that a prompt has at least.
        most: tokens that are kept at most.
        limit: how many prompts are made at most; None: of all.
        per_document: how many prompts of a document are made at most, its first; None: all.

    Raises:
        ValueError: there is no readable tokenizer.
    """
    tokenizer, made, seen = read_tokenizer(tokenizer_file), Made(), set[tuple[int, ...]]()
    kept = Counter[str]()
    rows = iter(found)
    while batch := list(itertools.islice(rows, _BATCH)):
        encoded = tokenizer.encode_batch([row["text"] for row in batch], add_special_tokens=False)
        for row, encoding in zip(batch, encoded, strict=True):
            if limit is not None and len(made.rows) >= limit:
                return made
            too_long = len(encoding.ids) > (min(most, WINDOW) if "answer" in row else most)
            text = row["text"][: encoding.offsets[most - 1][1]] if too_long and "answer" not in row else row["text"]
            lacking = [name for name, value in row.items() if not value.strip()]
            if lacking:
                made.left_out[f"without {lacking[0]}"] += 1
            elif len(encoding.ids) < least:
                made.left_out[f"of fewer than {least} tokens"] += 1
            elif too_long and "answer" in row:
                made.left_out[f"of more than {min(most, WINDOW)} tokens, with an answer"] += 1
            elif (key := scored_tokens([text], tokenizer)[0]) in seen:
                made.left_out["that repeat an earlier one"] += 1
            elif per_document is not None and kept[row.get("document", row["text"])] >= per_document:
                made.left_out[f"beyond the first {per_document} of their documents"] += 1
            else:
                seen.add(key)
                kept[row.get("document", row["text"])] += 1
                made.cut += too_long
                made.rows.append(_prompt(row, text))
    return made


def _prompt(row: dict[str, str], text: str) -> dict[str, str]:
    name = _named(text)
    document = row.get("document", _named(row["text"]))  # (of the whole text: no cut and no tokenizer moves its split)
    return {"id": name, **row, "text": text, "document": document, "split": split_of(document).value}


def _named(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write_prompts(made: Made, out: Path) -> PromptSet:
    """Write a prompt file, which is read back before it takes its place.

    Raises:
        ValueError: there is no prompt, a file stands there, it cannot be written, or no run could read it.
    """
    if not made.rows:
        raise ValueError(
            f"no prompt is left: {told(made.left_out) or 'there was no text'}; choose others, or other limits"
        )
    if out.exists():
        raise ValueError(f"{out}: there is such a file, and it is left as it is; give another name, or move it away")
    with writing(out), atomic(out) as temporary:
        lines = "".join(json.dumps(row) + "\n" for row in made.rows)
        temporary.write_text(lines, encoding="utf-8")
        try:
            return load_prompts(temporary)
        except ValueError as error:
            raise ValueError(str(error).replace(str(temporary), str(out))) from None


WIDTH = 60
"""Characters of a line of the variant that is wrapped anew."""
_VARYING: dict[str, Callable[[str], str]] = {
    "as written": str,
    "rewrapped": lambda text: "\n\n".join(textwrap.fill(part, WIDTH) for part in text.split("\n\n")),
    "lower case": str.lower,
    "indented": lambda text: textwrap.indent(text, "    "),
}


def make_variants(prompts: PromptSet, tokenizer_file: Path) -> Made:
    """The variants of every prompt, each a prompt of the same document; what is the same in two of them is left out.

    Args:
        prompts: whose texts are varied.
        tokenizer_file: whose tokens tell whether two variants are the same within what is read of them.

    Raises:
        ValueError: prompts ask for an answer, which need not follow a variant, or are variants already.
    """
    for prompt in prompts.prompts:
        if prompt.answer or prompt.variant:
            what = "asks for an answer, which need not follow a variant" if prompt.answer else "is a variant already"
            raise ValueError(f"{prompts.name}: prompt {prompt.id!r} {what}; give prompts that are texts alone")
    tokenizer, made = read_tokenizer(tokenizer_file), Made()
    for prompt in prompts.prompts:
        varied = {name: vary(prompt.text) for name, vary in _VARYING.items()}
        read = [tuple(tokenizer.encode(text, add_special_tokens=False).ids[:WINDOW]) for text in varied.values()]
        if len(set(read)) < len(read):
            made.left_out["that read the same in two variants"] += 1
            continue
        about = {"document": prompt.document, "stratum": prompt.stratum, "split": prompt.split.value}
        made.rows += [
            {"id": f"{prompt.id} {name}", "text": text, "variant": name, **about} for name, text in varied.items()
        ]
    return made


def told(counts: Counter[str]) -> str:
    """`12 of fewer than 8 tokens, 3 that repeat an earlier one`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def summary(made: Made, prompts: PromptSet) -> list[str]:
    """Return what was made of what, in a few lines."""
    documents = {split: len(prompts.part(split).documents) for split in Split}
    each = ", ".join(f"{len(prompts.part(split)):,} for {split} from {documents[split]:,}" for split in Split)
    read = len(made.rows) + made.left_out.total()
    lines = [f"{read:,} texts: {len(made.rows):,} prompts ({each} documents)"]
    lines += [f"left out: {told(made.left_out)}"] if made.left_out else []
    lines += [f"cut: {made.cut:,} longer texts"] if made.cut else []
    return lines


def many(sources: Sequence[Source], limit: int | None) -> Iterator[dict[str, str]]:
    """The texts of several sources, one after the other."""
    return itertools.chain.from_iterable(texts(source, limit) for source in sources)
