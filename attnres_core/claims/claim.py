"""Claims: what a test's body states about its quantities, traced at collection."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

import numpy as np

from attnres_core.claims.estimates import ClaimError, Decision, Estimate, Linear, Statement
from attnres_core.quantities.ablations import RESAMPLE_DRAWS
from attnres_core.quantities.quantity import Ablation, Quantity
from attnres_core.quantities.vocabulary import REMOVALS, Kind
from attnres_core.statistics.intervals import Interval, Operator, Verdict

ALPHA = 0.05
"""Bounds the probability of any wrong verdict in a registered suite."""
PROVISIONAL_CLAIMS = 64
"""A claim that is not registered is explored at ALPHA / 64, whatever else is collected."""
CLAIM_ALPHA = ALPHA / PROVISIONAL_CLAIMS
"""The one-sided level of an exploratory claim; a registered one owns the share that its lock gives it."""


class NotSupported(AssertionError):
    """A claim was decided, and not in its favour (or not at all)."""


@dataclass(slots=True)
class Tracer:
    """Records a body's statements; every decision comes out as SUPPORTED but the one numbered `deny`."""

    deny: int | None = None
    statements: list[Statement] = field(default_factory=list)

    def compare(self, statement: Statement) -> Decision:
        """Record the statement."""
        if statement.takes_worst and (len(statement.form.terms) != 1 or statement.operator is Operator.WITHIN):
            raise ClaimError(f"`{statement}`: a largest deviation stands alone, as `x < tolerance` or `x > tolerance`")
        verdict = Verdict.INCONCLUSIVE if len(self.statements) == self.deny else Verdict.SUPPORTED
        self.statements.append(statement)
        unknown = Interval(np.nan, -np.inf, np.inf, 0, ALPHA)
        return Decision(statement, verdict, unknown)

    def joined(self, other: Tracer) -> Tracer:
        """One tracer serves a whole body."""
        return self

    def summary(self, form: Linear) -> NoReturn:
        """A body may not look at the numbers."""
        raise number_read(form)


def number_read(form: Linear) -> ClaimError:
    """The error of a body that looks at an estimate's numbers."""
    return ClaimError(f"the body reads a number of `{form}`; a claim compares estimates: `effect > MIN_EFFECT`")


def trace(
    body: Callable[..., object], quantities: Mapping[str, Quantity], others: Mapping[str, Any]
) -> tuple[Statement, ...]:
    """The statements of a claim's body, from calling it with symbolic estimates.

    Called once with every decision true, then once per statement with that decision false: an assertion must
    then stop the body at once. So a body that negates, branches on or ignores a decision is found without
    reading its source.

    Raises:
        ClaimError: what is wrong, and how to write it instead.
    """

    def run(tracer: Tracer) -> bool:
        estimates = {name: Estimate(Linear(((q, 1.0),)), tracer) for name, q in quantities.items()}
        try:
            body(**others, **estimates)
        except AssertionError:
            return False
        except ClaimError:
            raise
        except Exception as error:  # the body is the user's: it may raise anything
            raise ClaimError(
                f"the body raised {type(error).__name__}: {error}; it is called with symbolic estimates first, "
                "which know `+`, `-`, `*`, `/`, `abs`, `<` and `>`"
            ) from error
        return True

    tracer = Tracer()
    completed = run(tracer)
    statements = tuple(tracer.statements)
    if not statements:
        raise ClaimError("the body decides nothing; assert a comparison of its estimates: `assert effect > MIN_EFFECT`")
    if not completed:
        raise ClaimError(
            "the body negates a decision or asserts something else; `not effect > m` would pass on inconclusive data: "
            "state the positive claim, `effect < m` or `abs(effect) < m`"
        )
    for index in range(len(statements)):
        denied = Tracer(deny=index)
        if run(denied) or len(denied.statements) != index + 1:
            raise ClaimError(
                f"the body goes on when `{statements[index]}` is not supported; every decision must be asserted: "
                "no `if`, no `or`, no decision kept in a variable"
            )
    return statements


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as collected: what it is called and what its body states."""

    node_id: str
    title: str
    family: str
    cites: str | None
    quantities: tuple[Quantity, ...]
    statements: tuple[Statement, ...]
    """What is decided: the body's statements, once under each kind of ablation where there are several."""
    under: tuple[Kind, ...] = ()
    """The kinds that it is decided under, in the order of its statements; none: as it is written."""
    contradicts: tuple[str, ...] = ()
    """The keys of claims that cannot hold beside it; they change nothing of how it is decided."""

    @property
    def by_kind(self) -> int:
        """How many of its statements belong to each kind of ablation."""
        return len(self.statements) // max(1, len(self.under))

    @property
    def texts(self) -> tuple[str, ...]:
        """Its statements, exactly."""
        return tuple(map(str, self.statements))


def under_each(
    kinds: Sequence[Kind], quantities: Sequence[Quantity], statements: Sequence[Statement]
) -> tuple[tuple[Quantity, ...], tuple[Statement, ...]]:
    """Quantities and statements once for every kind of ablation; what takes nothing away stays as it is.

    Raises:
        ClaimError: nothing would change.
    """
    if not kinds:
        return tuple(quantities), tuple(statements)
    if not any(_removes(quantity) for quantity in quantities):
        raise ClaimError(f"`under` changes nothing here: no quantity is one of {', '.join(REMOVALS)}(...)")
    every = [_under(quantity, kind) for kind in kinds for quantity in quantities]
    stated = []
    for kind in kinds:
        for statement in statements:
            terms = tuple((_under(quantity, kind), coefficient) for quantity, coefficient in statement.form.terms)
            if len({quantity for quantity, _ in terms}) < len(terms):
                raise ClaimError(f"under {kind}, two quantities of `{statement}` are the same; leave `under` out")
            stated.append(replace(statement, form=Linear(terms, statement.form.constant)))
    return tuple(dict.fromkeys(every)), tuple(stated)


def _removes(quantity: Quantity) -> bool:
    return isinstance(quantity.what, Ablation) and quantity.what.kind in REMOVALS


def _under(quantity: Quantity, kind: Kind) -> Quantity:
    what = quantity.what
    if not isinstance(what, Ablation) or what.kind not in REMOVALS or what.kind is kind:
        return quantity
    draws = what.draws if what.control else RESAMPLE_DRAWS if kind is Kind.RESAMPLE else 1
    changed = replace(what, kind=kind, draws=draws, recomputed=what.recomputed and kind is not Kind.DROP)
    return replace(quantity, what=changed)


def claim_key(node_id: str) -> str:
    """A claim's name relative to its file's folder: the same from any working directory."""
    path, separator, name = node_id.partition("::")
    return path.rsplit("/", 1)[-1] + separator + name


# The decorator ------------------------------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """What `@claim` says about a test."""

    quantities: Mapping[str, Quantity]
    statement: str | None = None
    family: str | None = None
    cites: str | None = None
    under: tuple[Kind, ...] = ()
    contradicts: tuple[str, ...] = ()


def _keys(named: object) -> tuple[str, ...]:
    """The claims that `contradicts` names."""
    names = (named,) if isinstance(named, str) else named
    told = f"`contradicts` is {named!r}; name one claim or several, each as 'test_file.py::test_name'"
    if not isinstance(names, Sequence):
        raise ClaimError(told)
    for name in names:
        if not isinstance(name, str) or not all(claim_key(name).partition("::")):
            raise ClaimError(told)
    return tuple(map(claim_key, names))


def _kind(word: object) -> Kind:
    name = str(getattr(word, "__name__", word))
    if name not in REMOVALS:
        raise ClaimError(f"`under` holds {word!r}; allowed: {', '.join(REMOVALS)}")
    return Kind(name)


def claim(
    statement: str | None = None,
    /,
    *,
    family: str | None = None,
    cites: str | None = None,
    contradicts: str | Sequence[str] = (),
    under: Sequence[Any] | None = None,
    **quantities: Quantity,
) -> Callable[[Function], Function]:
    """Make a test a claim: each keyword is a test parameter that arrives as the quantity's `Estimate`.

    Args:
        statement: the claim in words; the test's name, read as a sentence, when left out.
        family: the group of claims it is reported with ("control" for controls); the file's name when left out.
        cites: where the claim comes from.
        contradicts: the claim or claims that cannot hold beside this one, as "test_file.py::test_name"; of one with
            cases, the case with the same id. Where a run holds both, its report says what was decided between them.
        under: kinds of ablation, such as [drop, resample]: every drop(...), zero(...), mean(...), resample(...) of the
            claim is measured under each. SUPPORTED takes all of them, with the same sign; where one supports and
            another refutes, the claim is INCONCLUSIVE and says that they disagree.
        quantities: the columns the claim speaks of.

    Raises:
        ClaimError: a keyword is no Quantity, or the test has no such parameter.
    """
    if under is not None and (isinstance(under, str) or not isinstance(under, Sequence)):
        raise ClaimError(f"`under` is {under!r}; give a list of two or more of {', '.join(REMOVALS)}")
    against = _keys(contradicts)
    kinds = tuple(dict.fromkeys(_kind(word) for word in under or ()))
    if under is not None and len(kinds) < 2:
        raise ClaimError(f"`under` is {under!r}; give two or more of {', '.join(REMOVALS)}")
    for name, quantity in quantities.items():
        if not isinstance(quantity, Quantity):
            raise ClaimError(f"`{name}` is {quantity!r}, no Quantity; did you forget .on(TRAINED)?")

    def decorate(function: Function) -> Function:
        missing = sorted(set(quantities) - set(inspect.signature(function).parameters))
        if missing:
            name = getattr(function, "__name__", "the test")
            raise ClaimError(f"{name} has no parameter {', '.join(missing)}; name it in the test's signature")
        info = ClaimInfo(dict(quantities), statement, family, cites, kinds, against)
        function.__attnres_claim__ = info  # type: ignore[attr-defined]
        return function

    return decorate
