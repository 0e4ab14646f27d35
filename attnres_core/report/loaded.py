"""A run's record in a notebook: typed, as data frames, and as a picture of its verdicts."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas

from attnres_core.records.reading import one_line, read_record
from attnres_core.records.schema import ClaimEntry, Record
from attnres_core.report import tables
from attnres_core.report.numbers import number, several
from attnres_core.report.scope import scope
from attnres_core.report.wording import against, answer, deciding, limits


@dataclass(frozen=True)
class LoadedRecord:
    """A run's record."""

    record: Record
    """All of it, as `records/schema.py` types it."""

    @cached_property
    def claims(self) -> pandas.DataFrame:
        """A row a claim, with the numbers of the statement that decides it."""
        return pandas.DataFrame(tables.claims(self.record), columns=list(tables.CLAIMS))

    @cached_property
    def effects(self) -> pandas.DataFrame:
        """A row a statement: what stands in the report's `.effects.csv`."""
        return pandas.DataFrame(tables.effects(self.record), columns=list(tables.EFFECTS))

    @cached_property
    def columns(self) -> pandas.DataFrame:
        """A row a measured column: its mean over documents, in its metric's unit, with a 95 % t interval."""
        return pandas.DataFrame(tables.columns(self.record), columns=list(tables.COLUMNS))

    def __repr__(self) -> str:
        """`<record of tiny-open-block, 110 claims: 68 SUPPORTED ...>`."""
        name = one_line(self.record["models"]["trained"]["name"])
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.record["counts"].items() if count)
        return f"<record of {name}, {several(len(self.record['claims']), 'claim')}: {counts or 'none decided'}>"

    def _repr_html_(self) -> str:
        """Return what it covers, in a sentence, and a row a claim; every string of the record is escaped."""
        covers, *_ = scope(self.record)
        head = f"<p><strong>{_safe(covers)}</strong> {_safe(answer(self.record['claims']))}</p>"
        titles = "".join(f"<th>{word}</th>" for word in ("claim", "verdict", "effect", "interval", "threshold"))
        rows = "".join(map(_row, self.record["claims"]))
        return f"{head}<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"


def _row(claim: ClaimEntry) -> str:
    own = deciding(claim)
    cells = [claim["title"], claim["verdict"]]
    cells += ["", "", ""] if own is None else [number(own["estimate"], own["unit"]), limits(own), against(own)]
    return f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in cells)}</tr>"


def _safe(text: object) -> str:
    return html.escape(one_line(text))


def load_record(path: str | Path) -> LoadedRecord:
    """A run's JSON record, such as reports/latest.json.

    Raises:
        ValueError: it is none, another version's or not as it was written, with the remedy.
    """
    if not isinstance(path, (str, Path)):
        raise ValueError(f"a record is {path!r}; give its path, such as reports/latest.json")
    return LoadedRecord(read_record(Path(path)))
