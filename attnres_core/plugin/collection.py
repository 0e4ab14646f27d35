"""Claims as pytest collects them: a quantity is a parameter of its test, and a body's statements are traced."""

from __future__ import annotations

import sys

import pytest
from _pytest.outcomes import OutcomeException

from attnres_core.claims.claim import Claim, ClaimInfo, under_each
from attnres_core.claims.statements import ClaimError
from attnres_core.claims.tracing import trace
from attnres_core.plugin.session import BODY, TRACED, is_controller
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
        used, statements = under_each(kinds, tuple(dict.fromkeys(quantities.values())), body)
        item.stash[BODY] = body
        item.stash[TRACED] = Claim(item.nodeid, words, group, cites, used, statements, kinds, against)
    except ClaimError as error:
        item.stash[TRACED] = error
    except OutcomeException as error:
        item.stash[TRACED] = ClaimError(f"the body calls pytest.{type(error).__name__.lower()}; it may only assert")


def to_decide(session: pytest.Session) -> bool:
    """Whether this process is to decide claims: it collected some, and their tests will run."""
    option = session.config.option
    listing = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly")
    if any(getattr(option, name, False) for name in listing) or is_controller(session.config):
        return False
    return any(TRACED in item.stash for item in session.items) and not _failed(session)


def _failed(session: pytest.Session) -> bool:
    """Whether no test will run: pytest calls this hook even when collection broke off."""
    broken = session.testsfailed and not session.config.option.continue_on_collection_errors
    return bool(broken) or sys.exc_info()[0] is not None
