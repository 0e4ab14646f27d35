"""Decisions computed once: by one worker of one run, then read from the store by all who ask the same."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnres_core.claims.statements import Decision, Interval, Verdict
from attnres_core.engine.resources import keep_freed_memory
from attnres_core.engine.store import Store, StoreError
from attnres_core.judging.decisions import Adjusted, Question, Together, adjust, judge
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import Statistic
from attnres_core.shapes import Column
from attnres_core.statistics import associations, intervals

JUDGE_VERSION = 10
"""Raise when a change to the decision rules changes verdicts or limits."""


def decisions(
    asked: Iterable[Question], columns: Mapping[Quantity, Column], strata: Sequence[str], store: Store
) -> dict[Question, Decision]:
    """Statements judged together over one set of documents; each is computed once.

    Args:
        asked: the questions.
        columns: every quantity they speak of, `[document]`.
        strata: each document's stratum.
        store: where decisions are kept.
    """
    questions = list(dict.fromkeys(asked))
    found = _known(questions, columns, strata, store)
    if len(found) < len(questions):
        with store.held("judge", wait=True):
            found = _known(questions, columns, strata, store)
            keep_freed_memory()
            fresh = judge([q for q in questions if q not in found], columns, intervals.strata_of(strata))
            for question, decision in fresh.items():
                store.add_judged(_key(question, columns, strata), _freeze(decision))
            found |= fresh
    return found


def remember_open(parts: Sequence[str], store: Store) -> None:
    """Remember that what `parts` identify was decided and came out INCONCLUSIVE."""
    store.add_judged(_open_key(parts), {"parts": list(parts)})


def was_open(parts: Sequence[str], store: Store) -> bool:
    """Return whether what `parts` identify came out INCONCLUSIVE before, in any dtype and on any device."""
    return store.judged(_open_key(parts)) is not None


def _open_key(parts: Sequence[str]) -> str:
    return "open-" + hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def adjusted(sets: Sequence[Together], store: Store) -> dict[str, Adjusted]:
    """p-values adjusted over all claims (see `decisions.adjust`), computed once."""
    parts = [
        [
            (_key(Question(d.statement, d.interval.alpha), own.columns, own.labels), repr(d.p_value))
            for found in own.claims.values()
            for d in found
        ]
        for own in sets
    ]
    names = [name for own in sets for name in own.claims]
    fields = [field.name for field in dataclasses.fields(Adjusted)]
    key = "adjusted-" + hashlib.sha256(json.dumps([fields, parts]).encode()).hexdigest()
    with store.held("judge", wait=True):
        entry = store.judged(key)
        if entry is None:
            keep_freed_memory()
            made = adjust(sets)
            entry = {"claims": [dataclasses.asdict(made[name]) for name in names]}
            store.add_judged(key, entry)
    return {name: Adjusted(**values) for name, values in zip(names, entry["claims"], strict=True)}


def unrelated_p(statistic: Statistic, first: Column, second: Column, strata: Sequence[str], store: Store) -> float:
    """The p-value of two columns being unrelated within strata (see `associations.permutation_p`), kept if possible."""
    parts = [JUDGE_VERSION, associations.SEED, associations.PERMUTATIONS, statistic.value, *strata]
    digest = hashlib.sha256(json.dumps(parts).encode())
    digest.update(first.tobytes() + second.tobytes())
    key = "unrelated-" + digest.hexdigest()
    entry = store.judged(key)
    if entry is None:
        entry = {"p": associations.permutation_p(statistic, first, second, intervals.strata_of(strata))}
        with contextlib.suppress(StoreError):  # (told beside a decided claim: no reason to lose that)
            store.add_judged(key, entry)
    return float(entry["p"])


def _known(
    questions: Iterable[Question], columns: Mapping[Quantity, Column], strata: Sequence[str], store: Store
) -> dict[Question, Decision]:
    entries = {question: store.judged(_key(question, columns, strata)) for question in questions}
    return {question: _thaw(question, entry) for question, entry in entries.items() if entry is not None}


def _key(question: Question, columns: Mapping[Quantity, Column], strata: Sequence[str]) -> str:
    """Identifies a decision by everything it depends on, the data included."""
    statement = question.statement
    parts = [
        *(JUDGE_VERSION, intervals.SEED, str(statement.operator), statement.threshold.hex()),
        *(question.alpha.hex(), question.supporting.hex(), question.refuters, question.look.final),
        *(
            question.noise.hex(),
            question.bias.hex(),
            question.gate,
            statement.takes_worst,
            statement.is_routing,
            *strata,
        ),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode())
    digest.update(statement.form.of(columns).tobytes())
    return digest.hexdigest()


def _freeze(decision: Decision) -> dict[str, object]:
    interval = dataclasses.asdict(decision.interval)
    verdict = {"verdict": decision.verdict.value, "reason": decision.reason, "p_value": decision.p_value}
    return {**verdict, "interval": interval}


def _thaw(question: Question, entry: Mapping[str, object]) -> Decision:
    stored: dict[str, Any] = dict(entry["interval"])  # type: ignore[call-overload]
    methods = tuple((name, low, high) for name, low, high in stored.pop("methods", ()))
    interval = Interval(**stored, methods=methods)
    p_value: float | None = entry["p_value"]  # type: ignore[assignment]
    return Decision(question.statement, Verdict(str(entry["verdict"])), interval, str(entry["reason"]), p_value)
