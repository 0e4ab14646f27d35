"""`prompts from`: a prompt file of one's own texts or of a data set."""

from __future__ import annotations

import argparse

from attnres_core.commands import prompt_making_options

HELP = "a prompt file from texts or a data set"
DESCRIPTION = (
    "Make a prompt file from text files, folders of .txt files, data files (.json, .jsonl, .csv, .tsv, .parquet), "
    "folders of data sets, or data sets of the hub. Documents are split into exploration and confirmation by a hash of "
    "their names; duplicates and prompts of too few tokens are left out, and counted."
)
OF_DATA_SETS = ("document", "stratum", "answer", "foil")
"""Fields of a prompt, beside its text, that a column of a data set may give."""
MANY = 1024
"""Prompts of a split from which on a run takes long, and is told how to take fewer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the texts, and what becomes of them."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a file, a folder or a hub id")
    prompt_making_options.add_arguments(parser, out="prompts.jsonl")
    told = "what becomes a prompt of a text file (default: %(default)s)"
    parser.add_argument("--each", choices=("file", "paragraph", "line"), default="file", help=told)
    told = "paragraphs or lines of a file have nothing to do with each other: each is a document (default: the file is)"
    parser.add_argument("--independent", action="store_true", help=told)
    parser.add_argument("--text", metavar="COLUMN", default="text", help="a data set's column of texts (default: text)")
    words = {
        "document": "what a text was taken from, the unit that verdicts count (default: each text is its own)",
        "stratum": "the collection it belongs to (default: the source)",
        "answer": "what should follow the text",
        "foil": "what must not follow instead",
    }
    for name in OF_DATA_SETS:
        parser.add_argument(f"--{name}", metavar="COLUMN", help=f"a data set's column: {words[name]}")
    parser.add_argument("--config", metavar="NAME", help="which configuration of a hub's data set")
    parser.add_argument(
        "--data-split", metavar="NAME", default="train", help="which split of it (default: %(default)s)"
    )
    parser.add_argument("--revision", metavar="REVISION", help="branch, tag or commit of a hub's data set")
    told = "leave out prompts of fewer tokens (default: %(default)s)"
    parser.add_argument("--min-tokens", type=int, metavar="N", default=8, help=told)
    told = "cut longer texts (default: %(default)s, of which the first 64 are read)"
    parser.add_argument("--max-tokens", type=int, metavar="N", default=128, help=told)
    told = "make at most so many prompts of a document, its first (default: all)"
    parser.add_argument("--per-document", type=int, metavar="N", help=told)
    parser.add_argument("--limit", type=int, metavar="N", help="make at most so many prompts (default: all)")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the file, and tell what was made of what."""
    try:
        _make(arguments)
    except ValueError as error:
        root.error(str(error))


def _make(arguments: argparse.Namespace) -> None:
    """Do the work of `run`.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    import shlex

    from tqdm import tqdm

    from attnres_core import prompt_making
    from attnres_core.prompts import Split
    from attnres_core.records.reading import one_line
    from attnres_core.statistics.intervals import MIN_UNITS, NULL_UNITS

    if not 2 <= arguments.min_tokens <= arguments.max_tokens:
        given = f"--min-tokens {arguments.min_tokens} and --max-tokens {arguments.max_tokens}"
        raise ValueError(f"{given}: give 2 at least, and no more than the most")
    for option, given in (("--limit", arguments.limit), ("--per-document", arguments.per_document)):
        if given is not None and given < 1:
            raise ValueError(f"{option} {given}: give a whole number of at least 1")
    if arguments.foil and not arguments.answer:
        raise ValueError("--foil without --answer; give both")
    named = {"text": arguments.text} | {name: getattr(arguments, name) for name in OF_DATA_SETS}
    columns = tuple((name, column) for name, column in named.items() if column)
    sources = [
        prompt_making.Source(
            name,
            each=arguments.each,
            independent=arguments.independent,
            columns=columns,
            config=arguments.config,
            split=arguments.data_split,
            revision=arguments.revision,
        )
        for name in arguments.sources
    ]
    found = tqdm(prompt_making.many(sources, arguments.limit), desc="reading", unit=" texts", disable=None)
    limits = (arguments.min_tokens, arguments.max_tokens, arguments.limit, arguments.per_document)
    made = prompt_making.make_rows(found, prompt_making_options.tokenizer_of(arguments.checkpoint), *limits)
    prompts = prompt_making.write_prompts(made, arguments.out)
    for line in prompt_making.summary(made, prompts):
        print(one_line(line))
    parts = [prompts.part(split) for split in Split]
    if min(len(part.documents) for part in parts) < MIN_UNITS:
        print(
            f"too few for a verdict: it needs {MIN_UNITS} documents, and {NULL_UNITS} to show that an effect is small"
        )
    if (most := max(map(len, parts))) > MANY:
        fewer = "--per-document" if most > 4 * max(len(part.documents) for part in parts) else "--limit"
        print(f"many: a run reads all of a split's prompts, here {most:,}, and takes as long; {fewer} makes fewer")
    print(f"prompts: {arguments.out}\nnow: pytest --attnres-prompts={shlex.quote(str(arguments.out))}")
