"""Collected claims become outcomes: all that the plug-in asks of a suite, before any test runs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from attnres_core.claims.claim import ALPHA, Claim
from attnres_core.engine.executors.ray_driver import ClusterWarning
from attnres_core.engine.run_folder import BEGUN, DECIDED, RunFolder
from attnres_core.engine.store import DamagedStoreWarning
from attnres_core.engine.worker import SmallerBatchWarning
from attnres_core.planning.shards import Shard
from attnres_core.plugin import options
from attnres_core.plugin.collection import mistakes
from attnres_core.plugin.progress import ProgressBar, write_header
from attnres_core.plugin.session import SESSION, TRACED, Session, is_worker
from attnres_core.plugin.settings import settings_of
from attnres_core.plugin.terminal import plan_table
from attnres_core.prompts import IgnoredFieldWarning, Split
from attnres_core.records.document_columns import gathered
from attnres_core.records.run_record import base_record
from attnres_core.registration.ledger import LEDGER, LOCK
from attnres_core.registration.prompt_digests import SHINGLE, near_duplicates
from attnres_core.registration.registry import lock_folder
from attnres_core.report.numbers import several
from attnres_core.suite.expected_verdicts import load_expected, write_expected
from attnres_core.suite.margins import check_margins
from attnres_core.suite.post_hoc import seen_before
from attnres_core.suite.run_prompts import OWN
from attnres_core.suite.sample_sizes import documents_needed
from attnres_core.suite.suite import Suite


def suite_of(
    config: pytest.Config,
    claims: Sequence[Claim] = (),
    registrations: Path | None = None,
    notes: Sequence[str] = (),
) -> Suite:
    """The run's suite.

    Args:
        config: pytest's.
        claims: those that were collected; the controller of other processes collects none.
        registrations: the folder of the claims' lock.
        notes: what its header says beside what it works on.

    Raises:
        pytest.UsageError: something it was asked to use cannot be used.
    """
    options.report_path(config)
    options.option(config, "allow")
    workers = int(config.workerinput["workercount"]) if is_worker(config) else 1  # type: ignore[attr-defined]
    try:
        with _notices_shown():
            return Suite(settings_of(config, registrations or config.rootpath), claims, workers, notes)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


@contextlib.contextmanager
def _notices_shown() -> Iterator[None]:
    """Show notices as notices, even where warnings are errors."""
    with warnings.catch_warnings():
        for notice in (ClusterWarning, DamagedStoreWarning, IgnoredFieldWarning, SmallerBatchWarning):
            warnings.simplefilter("always", notice)
        yield


def decide(session: pytest.Session) -> None:
    """Measure and judge every collected claim, together with the run's other workers.

    Raises:
        pytest.UsageError: something it was asked to use cannot be used; on a worker its claims say so.
    """
    config = session.config
    claims = [traced for item in session.items if (traced := item.stash.get(TRACED, None)) is not None]
    collected = [claim for claim in claims if isinstance(claim, Claim)]
    mine = config.stash[SESSION]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    bar = None
    try:
        suite = suite_of(config, collected, _folder_of(session), mistakes(session))
        if options.option(config, "register"):
            if wrong := mistakes(session)[1:]:
                told = "nothing is registered while claims have mistakes, or they would count as withdrawn"
                raise ValueError("\n".join([f"{told}; mend them, or leave their files out:", *wrong]))
            _register(suite, config, reporter)
            return
        if options.option(config, "plan"):
            _plan(suite, mine.run, reporter)
            return
        if not is_worker(config) and reporter is not None:
            write_header(reporter, suite.header())
            bar = ProgressBar(RunFolder(suite.inputs.store.root, mine.run), reporter, header=False)
        if shard := options.option(config, "shard"):
            session.testsfailed += _measure(suite, mine.run, shard, reporter)
            return
        mine.suite = suite
        writing = options.option(config, "write-expected")
        mine.expected = {} if writing else load_expected(suite)
        with _notices_shown():
            _leave_base_record(suite, mine, len(claims), BEGUN)  # should measuring be interrupted
            mine.outcomes = suite.decide(mine.run)
            mine.adjusted = suite.adjusted(mine.outcomes.values())
            _leave_base_record(suite, mine, len(claims), DECIDED)
        if writing:
            path = write_expected(suite, mine.outcomes)
            if reporter is not None:
                reporter.write_line(f"attnres: expected verdicts written to {path}; reasons are yours to write")
    except (pytest.UsageError, ValueError, OSError) as error:
        if not is_worker(config):
            raise pytest.UsageError(str(error)) from None
        mine.problem = str(error)
    finally:
        if bar is not None:
            bar.close()
        if options.option(config, "shard"):
            RunFolder(options.written_path(config, "store"), mine.run).remove()


def _folder_of(session: pytest.Session) -> Path:
    """Return the folder of the session's lock; without an ini file, rootdir is only where pytest was started."""
    config = session.config
    top = config.rootpath if config.inipath else Path(config.rootpath.anchor)
    return lock_folder({item.path for item in session.items if TRACED in item.stash}, top)


def _register(suite: Suite, config: pytest.Config, reporter: Any) -> None:
    """Write the lock and say what changed; a claim whose confirmation data were read before is marked post hoc."""
    check_margins(suite, config.stash[SESSION].run)
    narrowing = ("keyword", "markexpr", "deselect", "lf", "stepwise")
    selected = any(config.getoption(name, None) for name in narrowing) or any("::" in str(a) for a in config.args)
    budget = options.option(config, "budget-claims")
    registry, sets = suite.inputs.registry, suite.inputs.sets
    if unfit := next((read.line(quick=False) for read in sets.values() if read.unfit), ""):
        raise ValueError(f"claims about prompts that this model cannot be asked with cannot be registered: {unfit}")
    own, named = sets[OWN], {name: read for name, read in sets.items() if name != OWN}
    changes = registry.register(
        suite.claims,
        own.whole.digest,
        seen=seen_before(suite),
        digests=own.digests,
        named={name: (read.whole.digest, read.digests) for name, read in named.items()},
        budget=budget,
        whole_files=not selected,
        whole_folder=not selected and _is_whole(registry.folder, config),
    )
    for line in changes or ["nothing changed"]:
        reporter.write_line(f"attnres: {line}")
    for read in sets.values():
        if pairs := near_duplicates(read.whole, read.tokenizer_file):
            reporter.write_line(
                f"attnres: near-duplicates: {len(pairs)} pairs of prompts share half of their runs of {SHINGLE} "
                f"tokens, such as {pairs[0][0]!r} and {pairs[0][1]!r} of {read.whole.name}; they are less than "
                "independent evidence"
            )
    where = registry.folder / LOCK
    reporter.write_line(f"attnres: {where}, {several(len(registry.entries), 'claim')}; commit it and {LEDGER}")
    left = ALPHA - registry.spent(*((read.whole.digest, read.digests.confirmation) for read in sets.values()))
    told = "a registration leaves half of it; --attnres-budget-claims=N gives each claim 1/N of alpha"
    reporter.write_line(f"attnres: {max(left, 0):.4g} of alpha {ALPHA} is left on these prompts ({told})")


def _is_whole(folder: Path, config: pytest.Config) -> bool:
    """Whether pytest was asked for all of a folder."""
    asked = (config.invocation_params.dir / str(given) for given in config.args)
    return any(folder.resolve().is_relative_to(path.resolve()) for path in asked)


def _plan(suite: Suite, run: str, reporter: Any) -> None:
    """Print the prompts that each claim needs, by what its exploration columns say."""
    write_header(reporter, suite.header())
    there = {name: len(read.splits[Split.CONFIRMATION].documents) for name, read in suite.inputs.sets.items()}
    for line in plan_table(documents_needed(suite, run), there):
        reporter.write_line(line)


def _measure(suite: Suite, run: str, shard: Shard, reporter: Any) -> int:
    """Measure a part of the plan and say what was measured; returns how many of its bundles failed."""
    with _notices_shown():
        failures = suite.measure(run, shard)
    folder = RunFolder(suite.inputs.store.root, run)
    announced = folder.announced
    assert announced is not None, "it is told before measuring"
    write_header(reporter, [f"attnres: {why}" for why in failures.values()])
    reporter.write_line(
        f"attnres: part {shard}: {folder.measured} bundles measured, {announced.reused} were in the store, "
        f"{len(failures)} failed; {suite.inputs.store.root}"
    )
    if left := sum(any(quantity.picks for quantity in claim.quantities) for claim in suite.claims):
        reporter.write_line(
            f"attnres: {left} claims choose families by what was measured; the run that decides measures these families"
        )
    return len(failures)


def _leave_base_record(suite: Suite, mine: Session, collected: int, name: str) -> None:
    """Write what the controller needs beside the claims' own entries; every worker would write the same, so one does.

    What is known before measuring all wait for: an interrupt must find it. A worker killed at it is replaced, and its
    replacement comes by here again.
    """
    store = suite.inputs.store
    folder = RunFolder(store.root, mine.run, store.writing).open()
    with store.held(f"{mine.run}-{name}", wait=name == BEGUN) as held:
        if held and not folder.has_record(name):
            if name == DECIDED:
                folder.leave_columns(gathered(suite, mine.outcomes.values()))
            folder.leave_record(name, base_record(suite, list(mine.outcomes.values()), collected))
