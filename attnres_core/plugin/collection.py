"""Claims as pytest collects them: a quantity is a parameter of its test, and a body's statements are traced."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest
from _pytest.outcomes import OutcomeException

from attnres_core.claims.claim import Claim, ClaimInfo, cases_of, under_each
from attnres_core.claims.statements import ClaimError
from attnres_core.claims.tracing import trace
from attnres_core.plugin.session import BODY, SESSION, TRACED, is_controller
from attnres_core.quantities.quantity import Quantity


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a `@claim`'s quantities to its parameters, without a mark in the test's name."""
    info: ClaimInfo | None = getattr(metafunc.function, "__attnres_claim__", None)
    if info is not None and info.quantities:
        names, values = list(info.quantities), list(info.quantities.values())
        metafunc.parametrize(names, [pytest.param(*values, id=pytest.HIDDEN_PARAM)])


def case_name(value: object) -> str | None:
    """A quantity in an ordinary `parametrize` names the test."""
    return str(value) if isinstance(value, Quantity) else None


def trace_item(item: pytest.Item) -> None:
    """Trace a claim's statements."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    quantities = {name: value for name, value in parameters.items() if isinstance(value, Quantity)}
    info: ClaimInfo | None = getattr(getattr(item, "function", None), "__attnres_claim__", None)
    if not isinstance(item, pytest.Function) or not (quantities or info):
        return
    try:
        others = {name: value for name, value in parameters.items() if name not in quantities}
        if fixtures := sorted(set(item._fixtureinfo.argnames) - set(parameters)):
            raise ClaimError(f"a claim takes quantities and plain parameters, no fixtures: {', '.join(fixtures)}")
        body = trace(item.obj, quantities, others)
        name = item.originalname
        words = (info.statement if info else None) or name.removeprefix("test_").replace("_", " ")
        if item.name != name:  # which of a parametrized claim's cases
            words += f" {item.name.removeprefix(name)}"
        group = (info.group if info else None) or item.path.stem.removeprefix("test_").replace("_", " ")
        cites, kinds, against = (info.cites, info.under, info.contradicts) if info else (None, (), ())
        variants = info.variants if info else ()
        used, statements = under_each(kinds, tuple(dict.fromkeys(quantities.values())), body, variants)
        if len(sets := dict.fromkeys(quantity.prompts or "the run's prompts" for quantity in used)) > 1:
            raise ClaimError(f"its quantities are over {' and '.join(sets)}; a claim is about one set of prompts")
        if any(quantity.picks and quantity.prompts for quantity in used):
            raise ClaimError("its families are picked on the run's prompts; name the family, or leave `prompts` out")
        item.stash[BODY] = body
        item.stash[TRACED] = Claim(
            item.nodeid, words, group, cites, used, statements, cases_of(kinds, variants), against
        )
    except ClaimError as error:
        item.stash[TRACED] = error
    except OutcomeException as error:
        item.stash[TRACED] = ClaimError(f"the body calls pytest.{type(error).__name__.lower()}; it may only assert")


_PACKAGE = Path(__file__).parents[1]


def tell_mistake(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Tell a mistake that the library refused while a file of claims was imported in one line, without our code."""
    mine = collector.config.stash[SESSION]
    excinfo = report.call.excinfo
    frames = traceback.extract_tb(excinfo.value.__traceback__)
    if not frames or not Path(frames[-1].filename).is_relative_to(_PACKAGE):
        mine.broken = True  # not ours: pytest tells it, and stops, as ever
        return
    own = [frame.lineno for frame in frames if Path(frame.filename) == collector.path]
    where = f"{collector.nodeid}:{own[-1]}" if own else collector.nodeid
    mine.mistakes.append(f"{where}: {excinfo.value}")
    report.longrepr = mine.mistakes[-1]


def mistakes(session: pytest.Session) -> list[str]:
    """Return what is wrong with claims of this session, a line each; files that could not be imported among them."""
    traced = ((item.nodeid, item.stash.get(TRACED, None)) for item in session.items)
    refused = [f"{node_id}: {error}" for node_id, error in traced if isinstance(error, ClaimError)]
    found = [*session.config.stash[SESSION].mistakes, *refused]
    if not found:
        return []
    count = f"{len(found)} mistake{'s' if len(found) > 1 else ''}"
    return [f"attnres: {count}; the other claims go on", *(f"  {' '.join(line.split())}" for line in found)]


def tell(session: pytest.Session) -> None:
    """Print them, where nothing is measured whose header would hold them."""
    from attnres_core.plugin.progress import write_header

    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        write_header(reporter, mistakes(session))


def to_decide(session: pytest.Session) -> bool:
    """Return whether this process is to decide claims: it collected some, and their tests will run."""
    option = session.config.option
    listing = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly")
    if any(getattr(option, name, False) for name in listing) or is_controller(session.config):
        return False
    return any(TRACED in item.stash for item in session.items) and not _failed(session)


def _failed(session: pytest.Session) -> bool:
    """Return whether no test will run: pytest calls this hook even when collection broke off."""
    broken = session.testsfailed and not session.config.option.continue_on_collection_errors
    return bool(broken) or sys.exc_info()[0] is not None
