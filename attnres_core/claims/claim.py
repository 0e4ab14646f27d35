"""Claims: what a test's body states about its quantities, traced at collection."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

from attnres_core.claims.statements import ClaimError, Linear, Statement
from attnres_core.quantities.ablations import REMOVALS, Kind
from attnres_core.quantities.quantity import Ablation, Quantity
from attnres_core.quantities.vocabulary import VARIANTS, Role

ALPHA = 0.05
"""Bounds the probability of any wrong verdict in a registered suite."""
PROVISIONAL_CLAIMS = 64
"""A claim that is not registered is explored at ALPHA / 64, whatever else is collected."""
CLAIM_ALPHA = ALPHA / PROVISIONAL_CLAIMS
"""The one-sided level of an exploratory claim; a registered one owns the share that its lock gives it."""
UNROUTED = (Role.WRAPPED, Role.BASE, Role.GAINS)
"""Models without queries, whose depth weights no prompt changes."""


class NotSupported(AssertionError):
    """A claim was decided, and not in its favour (or not at all)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as collected: what it is called and what its body states."""

    node_id: str
    title: str
    group: str
    """The claims that it is reported with."""
    cites: str | None
    quantities: tuple[Quantity, ...]
    statements: tuple[Statement, ...]
    """The statements that are decided: the body's, once in each case of `under` where there are several."""
    under: tuple[str, ...] = ()
    """The kinds of ablation that it is decided under, the variants of documents that it is decided over, or each kind
    over each variant, in the order of its statements; none: as it is written."""
    contradicts: tuple[str, ...] = ()
    """The keys of claims that cannot hold beside it; they change nothing of how it is decided."""

    @property
    def prompts(self) -> str:
        """The prompt set that it is about; empty: the run's."""
        return next((quantity.prompts for quantity in self.quantities), "")

    @property
    def by_kind(self) -> int:
        """The number of its statements that belong to each case of `under`."""
        return len(self.statements) // max(1, len(self.under))

    @property
    def texts(self) -> tuple[str, ...]:
        """Its statements, exactly."""
        return tuple(map(str, self.statements))

    @property
    def is_exact(self) -> bool:
        """True if nothing about it is sampled, so that it needs no alpha.

        So are statements about the worst prompt, and those about the routing of models whose weights no prompt changes.
        """
        return bool(self.statements) and all(
            statement.takes_worst or (statement.is_routing and all(q.role in UNROUTED for q, _ in statement.form.terms))
            for statement in self.statements
        )


def cases_of(kinds: Sequence[Kind], variants: Sequence[str]) -> tuple[str, ...]:
    """The cases that a claim is decided in: kinds, variants, or each kind over each variant."""
    if kinds and variants:
        return tuple(f"{kind} over {variant!r}" for kind, variant in product(kinds, variants))
    return tuple(map(str, kinds or variants))


def under_each(
    kinds: Sequence[Kind], quantities: Sequence[Quantity], statements: Sequence[Statement], variants: Sequence[str] = ()
) -> tuple[tuple[Quantity, ...], tuple[Statement, ...]]:
    """Quantities and statements once in every case of `cases_of`; under kinds, what takes nothing away stays as it is.

    Raises:
        ClaimError: nothing would change.
    """
    if not kinds and not variants:
        return tuple(quantities), tuple(statements)
    if kinds and not any(_removes(quantity) for quantity in quantities):
        raise ClaimError(f"`under` changes nothing here: no quantity is one of {', '.join(REMOVALS)}(...)")
    cases = list(product(kinds or (None,), variants or ("",)))
    every = [_under(quantity, *case) for case in cases for quantity in quantities]
    stated = []
    for kind, variant in cases:
        for statement in statements:
            terms = tuple((_under(quantity, kind, variant), times) for quantity, times in statement.form.terms)
            if len({quantity for quantity, _ in terms}) < len(terms):
                raise ClaimError(f"under {kind}, two quantities of `{statement}` are the same; leave `under` out")
            stated.append(replace(statement, form=Linear(terms, statement.form.constant)))
    return tuple(dict.fromkeys(every)), tuple(stated)


def _removes(quantity: Quantity) -> bool:
    return isinstance(quantity.what, Ablation) and quantity.what.kind.spec.removes


def _under(quantity: Quantity, kind: Kind | None, variant: str) -> Quantity:
    quantity = replace(quantity, variant=variant)
    what = quantity.what
    if kind is None or not isinstance(what, Ablation) or not what.kind.spec.removes or what.kind is kind:
        return quantity
    draws = what.draws if what.control else kind.spec.draws
    changed = replace(what, kind=kind, draws=draws, recomputed=what.recomputed and kind.spec.recomputes)
    return replace(quantity, what=changed)


def claim_key(node_id: str) -> str:
    """A claim's name relative to its file's folder: the same from any working directory."""
    path, separator, name = node_id.partition("::")
    return path.rsplit("/", 1)[-1] + separator + name


# The decorator ------------------------------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """The arguments of `@claim` on a test."""

    quantities: Mapping[str, Quantity]
    statement: str | None = None
    group: str | None = None
    cites: str | None = None
    under: tuple[Kind, ...] = ()
    contradicts: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


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


def _variants(given: object) -> tuple[str, ...]:
    if isinstance(given, bool):
        return VARIANTS if given else ()
    found = tuple(dict.fromkeys(given)) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(found) < 2 or not all(isinstance(name, str) and name for name in found):
        raise ClaimError(f"`variants` is {given!r}; give True, or a list of two or more names of variants")
    return found


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
    variants: Sequence[str] | bool = False,
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
        variants: variants of each document, such as ["as written", "rewrapped"], over each of which the claim is
            decided, as under kinds of ablation; True: the four that `python -m attnres_core prompts variants` makes.
            Prompts name theirs in the field `variant`. The names are a part of what is registered.
        quantities: the columns the claim speaks of.

    Raises:
        ClaimError: a keyword is no Quantity, or the test has no such parameter.
    """
    if under is not None and (isinstance(under, str) or not isinstance(under, Sequence)):
        raise ClaimError(f"`under` is {under!r}; give a list of two or more of {', '.join(REMOVALS)}")
    against, over = _keys(contradicts), _variants(variants)
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
        info = ClaimInfo(dict(quantities), statement, family, cites, kinds, against, over)
        function.__attnres_claim__ = info  # type: ignore[attr-defined]
        return function

    return decorate
