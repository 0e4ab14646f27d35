"""The shipped suite look by look, on documents drawn again from its confirmation split: verdicts and forwards."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.engine.columns import InterventionRecord
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.store import Store
from attnres_core.judging.judge import Judge, still_open
from attnres_core.judging.outcomes import Outcome
from attnres_core.plugin.session import SESSION
from attnres_core.prompts import Split
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole
from attnres_core.shapes import Column, Unit
from attnres_core.statistics.sequential import looks
from attnres_core.suite.forwards_saved import forwards_saved
from attnres_core.suite.run_prompts import OWN
from attnres_core.suite.suite import Suite

from .options import Options
from .rule import SEED
from .tables import header, line, note

ROOT = Path(__file__).parents[2]
Outcomes = Mapping[str, Outcome]
Rule = Callable[[Outcome], bool]
"""Whether a verdict may fall before the last look."""


class Redrawn(Measurements):
    """A run's columns over other documents: those at places `drawn` of its confirmation split, `[document]`."""

    def __init__(self, genuine: Measurements, store: Store, drawn: NDArray[np.intp]) -> None:
        super().__init__(store, genuine.material)  # (what is judged goes into a store of its own)
        self._genuine, self._drawn = genuine, drawn

    def _chunks(self, role: AnyRole, *arguments: Any, **options: Any) -> list[dict[str, Unit]]:
        return self._genuine._chunks(role, *arguments, **options)

    def read(
        self,
        read: Callable[..., Any],
        quantity: Quantity,
        split: Split,
        documents: int | None,
        *,
        by_document: bool = True,
    ) -> Any:
        """What `read` makes of the units of the documents drawn."""
        assert by_document, "judging asks for documents alone"
        if split is Split.EXPLORATION:
            return super().read(read, quantity, split, documents)
        prompts, drawn = self.material.prompts[split], self._drawn[:documents]

        def averaged(column: Column) -> Column:
            return prompts.by_document(column[: len(prompts)])[drawn]

        chunks = self._chunks(quantity.role, self.material.chunks(split), dtype=quantity.dtype)
        return read(self.material.resolved(quantity), chunks, averaged)

    def record(self, quantity: Quantity, split: Split, documents: int | None = None) -> InterventionRecord:
        """What its intervention touched, over the whole split."""
        return super().record(quantity, split)


class Captured:
    """A plug-in that takes the suite and the outcomes of a run in which no test runs and no page is written."""

    suite: Suite
    outcomes: Outcomes

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take what was decided when the tests had been collected."""
        mine = session.config.stash[SESSION]
        assert mine.suite is not None, "the shipped claims cannot be decided: try `pytest hypotheses -n 0`"
        self.suite, self.outcomes = mine.suite, mine.outcomes
        session.config.pluginmanager.unregister(name="attnres-reporter")
        return True


def capture(*arguments: str) -> Captured:
    """Decide the shipped claims, at a fixed number of documents unless the arguments say otherwise."""
    captured = Captured()
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["hypotheses", "-n0", *quiet, *arguments], plugins=[captured])
    return captured


def decided(judge: Judge, outcomes: Outcomes, *, sequential: bool) -> dict[str, Outcome]:
    """The outcomes after all looks."""
    waiting = found = dict(outcomes)
    documents = len(judge.measurements.material.prompts[Split.CONFIRMATION].documents)
    for look in looks(documents, sequential=sequential):
        found = found | judge.at_look(waiting, {}, look)
        waiting = still_open({node_id: found[node_id] for node_id in waiting})
    return found


def undecided(outcomes: Outcomes) -> dict[str, Outcome]:
    """The confirmed claims of a run over its own prompts as they were before they were judged."""
    return {
        node_id: dataclasses.replace(outcome, verdict=Verdict.INCONCLUSIVE, decisions=(), beside=(), documents=None)
        for node_id, outcome in outcomes.items()
        if outcome.decisions and not outcome.error and outcome.standing.split is Split.CONFIRMATION
        if outcome.claim.prompts == OWN
    }


def above_alone(outcome: Outcome) -> bool:
    """The first rule: SUPPORTED of `>` statements."""
    above = all(s.operator is Operator.ABOVE and not s.takes_worst for s in outcome.claim.statements)
    return above and outcome.verdict is Verdict.SUPPORTED


RULES: dict[str, Rule] = {"SUPPORTED of `>` alone": above_alone, "every verdict": lambda outcome: True}


def shipped(options: Options) -> None:
    """Claims that end at each look, forward rows saved, and verdicts that differ from those at a fixed n."""
    captured = capture()
    suite, start = captured.suite, undecided(captured.outcomes)
    inputs = dataclasses.replace(suite.inputs, settings=dataclasses.replace(suite.inputs.settings, sequential=True))
    strata = np.array(inputs.prompts[Split.CONFIRMATION].strata)
    rng, found, at_once = np.random.default_rng([SEED, 13]), list[Outcomes](), list[Outcomes]()
    for number in range(1 + options.replays):
        drawn = _within(strata, rng) if number else np.arange(len(strata))
        with tempfile.TemporaryDirectory() as folder:
            measured = Redrawn(suite.measurements, Store(Path(folder)), drawn)
            judge = Judge(measured, "", sequential=True, whole=False)
            found.append(decided(judge, start, sequential=True))
            at_once.append(decided(judge, start, sequential=False))
        note(f"shipped {number} of {options.replays}")
    print(
        f"\n{len(start)} shipped claims on {inputs.trained.name}: as they are, and means over {options.replays} sets of"
    )
    print("documents drawn with replacement within strata. Lost: open, decided at a fixed n; won and turned likewise.")
    header(["documents", "may fall early", "at 64", "at 128", "at 256", "forwards saved", "lost", "won", "turned"])
    for name, rows in (("as they are", slice(0, 1)), ("drawn again", slice(1, None))):
        pairs = list(zip(found[rows], at_once[rows], strict=True))
        for rule, may in RULES.items():
            every = [list(_under(may, own.values())) for own, _ in pairs]
            saved = [forwards_saved(inputs, own) for own in every]
            ends = [f"{np.mean([s.ended[look] for s in saved if s]):.1f}" for look in (64, 128, 256)]
            share = np.mean([1 - s.run / s.rows for s in saved if s])
            changes = Counter[str]() if may is above_alone else _changes(pairs)
            told = ["-"] * 3 if may is above_alone else [f"{changes[c] / len(pairs):.1f}" for c in CHANGES]
            line(name, rule, *ends, f"{share:.0%}", *told)


CHANGES = ("lost", "won", "turned")


def _within(strata: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.intp]:
    """Documents drawn with replacement, each for one of its stratum."""
    return np.array([rng.choice(np.flatnonzero(strata == own)) for own in strata])


def _under(may: Rule, outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """The same outcomes where others take all documents."""
    return (o if o.documents and may(o) else dataclasses.replace(o, documents=None) for o in outcomes)


def _changes(pairs: Iterable[tuple[Outcomes, Outcomes]]) -> Counter[str]:
    """How many verdicts differ from those at a fixed n, and how."""
    counts = Counter[str]()
    for found, at_once in pairs:
        for node_id, outcome in found.items():
            before, now = at_once[node_id].verdict, outcome.verdict
            if before is not now:
                open_ = Verdict.INCONCLUSIVE
                counts["lost" if now is open_ else "won" if before is open_ else "turned"] += 1
    return counts
