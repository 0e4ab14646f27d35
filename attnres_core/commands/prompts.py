"""`prompts`: the shipped prompt sets, made again; or a prompt file of one's own texts."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnres_core.commands import prompt_pairs, prompt_sentences, prompt_variants

HELP = "make a prompt file from texts or a data set, pairs of prompts, or the shipped prompt sets"
DESCRIPTION = (
    "from SOURCE ...: a prompt file from text files, folders of .txt files, data files (.json, .jsonl, .csv, .tsv, "
    ".parquet), folders of data sets, or data sets of the hub. Documents are split into exploration and confirmation "
    "by a hash of their names; duplicates and prompts of too few tokens are left out, and counted. "
    "docstrings: 512 prompts, one from each of 512 held-out documents, half for exploration. "
    "structured: induction, recall, closing and headers, 256 prompts each with answers and foils, half to explore. "
    "unseen: 512 docstrings of eight packages that no reference checkpoint was trained on, half to explore. "
    f"{prompt_pairs.DESCRIPTION} {prompt_sentences.DESCRIPTION} {prompt_variants.DESCRIPTION}"
)
SHIPPED = ("docstrings", "structured", "unseen")
OF_DATA_SETS = ("document", "stratum", "answer", "foil")
"""Fields of a prompt, beside its text, that a column of a data set may give."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sets and their tokenizer; or the texts, and what becomes of them."""
    parser.add_argument(
        "which", nargs="?", choices=("from", "variants", "pairs", "sentences", *SHIPPED), default="docstrings"
    )
    told = "with `from`: a file, a folder or a hub id; with `variants`: a prompt file"
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=told)
    told = "whose tokenizer prompts are made for: folder or shipped name (default: tiny-open-block)"
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", help=told)
    told = "where it goes (default: prompts.jsonl or variants.jsonl; of the shipped sets, the folder fixtures/prompts)"
    parser.add_argument("-o", "--out", type=Path, help=told)
    own = parser.add_argument_group("with `from`")
    told = "what becomes a prompt of a text file (default: %(default)s)"
    own.add_argument("--each", choices=("file", "paragraph", "line"), default="file", help=told)
    told = "paragraphs or lines of a file have nothing to do with each other: each is a document (default: the file is)"
    own.add_argument("--independent", action="store_true", help=told)
    own.add_argument("--text", metavar="COLUMN", default="text", help="a data set's column of texts (default: text)")
    words = {
        "document": "what a text was taken from, the unit that verdicts count (default: each text is its own)",
        "stratum": "the collection it belongs to (default: the source)",
        "answer": "what should follow the text",
        "foil": "what must not follow instead",
    }
    for name in OF_DATA_SETS:
        own.add_argument(f"--{name}", metavar="COLUMN", help=f"a data set's column: {words[name]}")
    own.add_argument("--config", metavar="NAME", help="which configuration of a hub's data set")
    own.add_argument("--data-split", metavar="NAME", default="train", help="which split of it (default: %(default)s)")
    own.add_argument("--revision", metavar="REVISION", help="branch, tag or commit of a hub's data set")
    told = "leave out prompts of fewer tokens (default: %(default)s)"
    own.add_argument("--min-tokens", type=int, metavar="N", default=8, help=told)
    told = "cut longer texts (default: %(default)s, of which the first 64 are read)"
    own.add_argument("--max-tokens", type=int, metavar="N", default=128, help=told)
    own.add_argument("--limit", type=int, metavar="N", help="make at most so many prompts (default: all)")
    prompt_pairs.add_arguments(parser)


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the files."""
    if arguments.which == "pairs":
        prompt_pairs.run(arguments, root)
        return
    if arguments.which == "sentences":
        prompt_sentences.run(arguments, root)
        return
    if arguments.which == "variants":
        prompt_variants.run(arguments, root)
        return
    if (arguments.which == "from") != bool(arguments.sources):
        root.error("give the texts as `prompts from SOURCE ...`: a file, a folder or a hub id")
    if arguments.checkpoint and arguments.which in ("docstrings", "unseen"):
        told = "--checkpoint is for structured prompts, pairs, sentences and `from`"
        root.error(f"{told}; {arguments.which} are cut by the tokenizer of tiny-open-block")
    try:
        _make(arguments)
    except ValueError as error:
        root.error(str(error))


def _make(arguments: argparse.Namespace) -> None:
    """Do the work of `run`.

    Raises:
        ValueError: something that was asked for cannot be used.
    """
    from attnres_core.shipped import resolved

    tokenizer = Path(resolved(arguments.checkpoint or "tiny-open-block")) / "tokenizer.json"
    if arguments.which == "from":
        _make_from(arguments, tokenizer)
        return
    from attnres_core.training import prompts, structured, unseen

    make = {"docstrings": prompts.main, "structured": structured.main, "unseen": unseen.main}[arguments.which]
    command = f"python -m attnres_core prompts {arguments.which}"
    make(tokenizer, arguments.out or Path("fixtures/prompts"), command)


def _make_from(arguments: argparse.Namespace, tokenizer: Path) -> None:
    import shlex

    from tqdm import tqdm

    from attnres_core import prompt_making
    from attnres_core.prompts import Split
    from attnres_core.records.reading import one_line
    from attnres_core.statistics.intervals import MIN_UNITS, NULL_UNITS

    if not 2 <= arguments.min_tokens <= arguments.max_tokens:
        given = f"--min-tokens {arguments.min_tokens} and --max-tokens {arguments.max_tokens}"
        raise ValueError(f"{given}: give 2 at least, and no more than the most")
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit {arguments.limit}: give a whole number of at least 1")
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
    limits = (arguments.min_tokens, arguments.max_tokens, arguments.limit)
    made = prompt_making.make_rows(found, tokenizer, *limits)
    out = arguments.out or Path("prompts.jsonl")
    prompts = prompt_making.write_prompts(made, out)
    for line in prompt_making.summary(made, prompts):
        print(one_line(line))
    if min(len(prompts.part(split).documents) for split in Split) < MIN_UNITS:
        print(
            f"too few for a verdict: it needs {MIN_UNITS} documents, and {NULL_UNITS} to show that an effect is small"
        )
    print(f"prompts: {out}\nnow: pytest --attnres-prompts={shlex.quote(str(out))}")
