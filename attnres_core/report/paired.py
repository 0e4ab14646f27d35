"""Two runs over the same prompts, compared document by document: which measured columns differ.

A verdict changes where an effect crosses a threshold, however little it moved; a column may differ much and no verdict
change. Such a test is exploratory: no claim about the difference was registered.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from attnres_core.records.document_columns import STRATA, columns_of, key, split_name
from attnres_core.records.reading import one_line
from attnres_core.records.schema import Record
from attnres_core.report.numbers import interval, number, percent
from attnres_core.shapes import Column
from attnres_core.statistics.intervals import Strata, strata_of
from attnres_core.statistics.paired import ALPHA, Difference, differences


@dataclass(frozen=True, slots=True)
class Stated:
    """A run's statements of one column."""

    unit: str
    noise: float | None
    """How far the arithmetic may have moved its mean; None: that is not known."""
    titles: tuple[str, ...]
    """The claims that state something about it."""


@dataclass(frozen=True, slots=True)
class PairedColumn:
    """One column in two runs."""

    column: str
    split: str
    stated: Stated
    first: float
    second: float
    difference: Difference


@dataclass(frozen=True, slots=True)
class Paired:
    """The outcome of all columns of two runs."""

    columns: tuple[PairedColumn, ...]
    """By their p-values."""
    documents: int
    left_out: Counter[str]
    """How many columns could not be tested, by the reason."""


Where = tuple[str, str]
"""A split, and a column as `StatementEntry.column` names it."""


def paired(first_file: Path, first: Record, second_file: Path, second: Record) -> Paired:
    """Test every column that both runs were decided on, over the same documents.

    Args:
        first_file: the record of the first run, beside which its columns lie.
        first: the same, read.
        second_file: that of the second.
        second: the same, read.

    Raises:
        ValueError: the runs cannot be paired, with the reason and the remedy.
    """
    _check(first, second)
    one, other = columns_of(first_file), columns_of(second_file)
    mine, yours = _stated(first), _stated(second)
    left_out, testable = Counter[str](), list[Where]()
    for where in dict.fromkeys([*mine, *yours]):
        if why := _untestable(where, (one, other), (mine, yours)):
            left_out[why] += 1
        else:
            testable.append(where)
    if not testable:
        told = ", ".join(f"{count} {one_line(why)}" for why, count in left_out.items()) or "neither run decided a claim"
        raise ValueError(f"no column can be paired: {told}")
    found = list[PairedColumn]()
    for split in dict.fromkeys(split for split, _ in testable):
        own = [where for where in testable if where[0] == split]
        share = len(own) / len(testable)  # of alpha: Bonferroni over the splits, Holm within each
        pairs = [(one[key(*where)], other[key(*where)]) for where in own]
        noises = [(mine[where].noise or 0.0) + (yours[where].noise or 0.0) for where in own]
        tested = differences(pairs, noises, _strata(one, split), ALPHA * share, _bar)
        for where, (before, after), result in zip(own, pairs, tested, strict=True):
            if isinstance(result, str):
                left_out[result] += 1
            else:
                adjusted = dataclasses.replace(result, p=min(1.0, result.p / share))
                means = (float(before.mean()), float(after.mean()))
                found.append(PairedColumn(where[1], split, mine[where], *means, adjusted))
    documents = max(len(one[key(*where)]) for where in testable)
    return Paired(tuple(sorted(found, key=lambda each: each.difference.p)), documents, left_out)


def _bar(blocks: range) -> Iterable[int]:
    """Blocks of columns under a bar, where there is a terminal."""
    return tqdm(blocks, desc="resampling", unit="block", leave=False, disable=None)


def _check(first: Record, second: Record) -> None:
    """Refuse runs whose documents are not the same.

    Raises:
        ValueError: why, and what to do.
    """
    sets = [
        {"": record["settings"]["prompts"], **record["settings"].get("prompt_sets", {})} for record in (first, second)
    ]
    for name in sets[0].keys() & sets[1].keys():
        if (one := sets[0][name])["digest"] != (other := sets[1][name])["digest"]:
            names = " and ".join(f"{one_line(each['name'])} {each['digest'][:12]}" for each in (one, other))
            raise ValueError(f"the runs read different prompts ({names}); a paired test needs the same prompt file")
    if first["settings"]["sequential"] or second["settings"]["sequential"]:
        why = "a run decided early, on documents that depend on what they showed"
        raise ValueError(f"{why}; make it again without --attnres-sequential")


def _untestable(
    where: Where,
    columns: tuple[dict[str, Column], dict[str, Column]],
    stated: tuple[dict[Where, Stated], dict[Where, Stated]],
) -> str:
    """Return why a column of two runs cannot be tested; empty where it can."""
    if not all(where in run for run in stated):
        return "of one run alone"
    if not all(key(*where) in run for run in columns):
        return "about the worst prompt, which is no mean"
    if len({len(run[key(*where)]) for run in columns}) > 1:
        return "over different numbers of documents"
    if any(run[where].noise is None for run in stated):
        return "whose noise floor is not known"
    return ""


def _stated(record: Record) -> dict[Where, Stated]:
    """Every column that a run's statements are about."""
    found: dict[Where, Stated] = {}
    for claim in record["claims"]:
        for statement in claim["statements"]:
            where = (split_name(str(claim["split"]), claim.get("prompt_set", "")), statement["column"])
            titles = (*found[where].titles, claim["title"]) if where in found else (claim["title"],)
            found[where] = Stated(statement["unit"], statement["noise_floor"], tuple(dict.fromkeys(titles)))
    return found


def _strata(columns: dict[str, Column], split: str) -> Strata | None:
    labels = columns.get(key(split, STRATA))
    return None if labels is None else strata_of(labels.tolist())


HEADINGS = {True: "differ", False: "no difference found, which does not show that there is none"}
"""What is told of columns by whether they differ."""


def grouped(found: Paired) -> dict[str, list[PairedColumn]]:
    """The columns that were tested, under their heading: first those that differ."""
    groups = {
        words: [each for each in found.columns if each.difference.differs is is_so] for is_so, words in HEADINGS.items()
    }
    return {heading: group for heading, group in groups.items() if group}


def summary(found: Paired) -> tuple[str, str]:
    """Return how many columns differ, and what that rests on: a sentence each."""
    differing = sum(each.difference.differs for each in found.columns)
    return (
        f"paired over the same {found.documents} documents: {differing} of {len(found.columns)} columns differ",
        f"The probability of any wrong one is at most {percent(ALPHA)} (Holm). Exploratory: no difference was claimed.",
    )


def as_text(found: Paired) -> str:
    """The test for a terminal: what differs, what does not, and what could not be tested."""
    lines = list(summary(found))
    for heading, group in grouped(found).items():
        lines += ["", f"{heading}: {len(group)}", *(line for each in group for line in _told(each))]
    if found.left_out:
        lines += ["", "not tested:", *(f"  {count} {one_line(reason)}" for reason, count in found.left_out.items())]
    return "\n".join(lines)


def _told(each: PairedColumn) -> list[str]:
    row = shown(each)
    told = f"{row['first']} -> {row['second']}: {row['change']} {row['limits']} {one_line(row['unit'])}, p {row['p']}"
    lines = [f"  {one_line(row['claim'])}", f"    {one_line(row['column'])}", f"    {told}"]
    return [*lines, f"    {one_line(row['note'])}"] if row["note"] else lines


def shown(each: PairedColumn) -> dict[str, str]:
    """Return what is told of a column, in the words and digits that a reader sees."""
    own, unit, titles = each.difference, each.stated.unit, each.stated.titles
    low, high = (end if math.isfinite(end) else None for end in (own.low, own.high))
    return {
        "claim": titles[0] + (f" and {len(titles) - 1} more" if len(titles) > 1 else ""),
        "column": each.column,
        "first": number(each.first, unit),
        "second": number(each.second, unit),
        "change": number(own.mean, signed=True),
        "limits": interval((low, high), signed=True),
        "unit": unit,
        "p": number(own.p),
        "note": own.note,
    }
