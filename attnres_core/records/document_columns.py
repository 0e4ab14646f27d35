"""The columns behind a record's statements, one number a document, in a file beside it: `latest.columns.safetensors`.

The record holds means and limits alone. Two runs over the same prompts can be compared document by document with these.
The file names the record that it belongs to, by its SHA-256. It may come from someone else, as the record may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from attnres_core.shapes import Column

if TYPE_CHECKING:
    from attnres_core.judging.outcomes import Outcome
    from attnres_core.suite.suite import Suite

SUFFIX = ".columns.safetensors"
STRATA = "strata"
"""Stands for the column of a split that numbers each document's stratum."""


def key(split: str, column: str) -> str:
    """The name of a column: what it is of, as `StatementEntry.column` has it, on a split."""
    return f"{split}|{column}"


def split_name(split: str, prompt_set: str) -> str:
    """A split of the run's prompts; or, where claims name a `prompt_set`, of that."""
    return f"{split} of {prompt_set}" if prompt_set else split


def gathered(suite: Suite, outcomes: Iterable[Outcome]) -> dict[str, Column]:
    """The columns of all statements about means, and each split's strata, `[document]`.

    Empty where the run decided early: which documents it read then depends on what they showed.
    """
    from attnres_core.records.claim_entry import canonical

    if suite.inputs.settings.sequential:
        return {}
    found: dict[str, Column] = {}
    for outcome in outcomes:
        split = outcome.standing.split
        named = split_name(split, outcome.claim.prompts)
        for decision in outcome.decisions:
            form = canonical(decision.statement.form)
            if decision.statement.takes_worst or key(named, str(form)) in found:
                continue
            quantities = [quantity for quantity, _ in form.terms]
            measured, prompts = suite.measured(outcome.claim), suite.prompts(outcome.claim)
            columns = {quantity: measured.column(quantity, split) for quantity in quantities}
            found[key(named, str(form))] = form.of(columns)
            labels = prompts.splits[split].strata
            found[key(named, STRATA)] = np.unique(labels, return_inverse=True)[1].astype(np.float64)
    return found


def packed(columns: Mapping[str, Column], record: str) -> bytes:
    """The file's content, for the record of this text."""
    return save(dict(columns), metadata={"record": _sha256(record.encode())})


def columns_of(record_file: Path) -> dict[str, Column]:
    """The columns that lie beside a record.

    Raises:
        ValueError: there are none, or they are another record's, with the remedy.
    """
    file = record_file.with_suffix(SUFFIX)
    again = "make the run again with this attnres-core, without --attnres-sequential (what was measured is kept)"
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file, and it holds the columns of {record_file.name}; {again}")
    try:
        with safe_open(file, framework="np") as opened:
            belongs = (opened.metadata() or {}).get("record")
            found = {name: opened.get_tensor(name) for name in opened.keys()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: unreadable ({error}); {again}") from None
    if belongs != _sha256(record_file.read_bytes()):
        raise ValueError(f"{file}: belongs to another record than {record_file.name}; copy both files of one run")
    if any(column.ndim != 1 or column.dtype != np.float64 for column in found.values()):
        raise ValueError(f"{file}: not as it was written (a column is no row of 64-bit numbers); {again}")
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
