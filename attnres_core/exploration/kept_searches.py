"""Searches for counterexamples, kept in the store beside the columns, and the claims that they speak to.

A search is about one checkpoint's bytes in this version of the arithmetic, whatever role the checkpoint plays in a run.
It is exploratory: it is told with a claim, and no verdict looks at it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.engine.store import Store
from attnres_core.planning.material import NUMERICS_VERSION
from attnres_core.quantities.quantity import Quantity
from attnres_core.quantities.vocabulary import AnyRole, Role


@dataclass(frozen=True, slots=True)
class Speaking:
    """A search that speaks to a claim."""

    search: Mapping[str, Any]
    """As `CounterexampleSearch.as_json` has it, with the `command` that does it again."""
    statement: Statement
    """The claim's statement that its prompt violates; where it found none, the first that was held against prompts."""

    @property
    def value(self) -> float | None:
        """The statement's value on the prompt that was found; None: there was none."""
        found = self.search["found"]
        return None if found is None else float(found["value"])

    @property
    def wrong_sign(self) -> bool:
        """True if that is on the other side of zero than the claim says: more than too small."""
        threshold = self.statement.threshold
        if self.value is None or self.statement.operator is Operator.WITHIN:
            return False
        return self.value < 0 <= threshold if self.statement.operator is Operator.ABOVE else self.value > 0 >= threshold


def subject(digest: str) -> str:
    """Names a checkpoint in this version's arithmetic: what searches are kept under."""
    return f"{digest[:32]}-{NUMERICS_VERSION}"


def keep(store: Store, search: Mapping[str, Any], statements: Sequence[Statement], command: str) -> None:
    """Keep a search; the same one again takes its place.

    Args:
        store: where.
        search: as `CounterexampleSearch.as_json` has it.
        statements: what its prompts were held against, in the order of its own.
        command: what does it again.

    Raises:
        StoreError: it cannot be written.
    """
    stated = [_of_any_model(statement) for statement in statements]
    asked = [stated, search["prompts"], search["seed"], search["candidates"]]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    store.add_search(subject(search["digest"]), key[:32], {**search, "stated": stated, "command": command})


def speaking_to(
    statements: Sequence[Statement], digest_of: Callable[[AnyRole], str], store: Store
) -> tuple[Speaking, ...]:
    """The searches that speak to a claim: of its statements alone, at its thresholds or at zero, on its checkpoint.

    Of several for the same statements and kind of prompts only that with the shortest counterexample, or where none
    found one the longest.

    Args:
        statements: the claim's; those that compare models are passed over.
        digest_of: gives the digest of the checkpoint in a role.
        store: what was kept.
    """
    claimed: dict[str, dict[str, Statement]] = {}
    for statement in statements:
        roles = {quantity.role for quantity, _ in statement.form.terms}
        if len(roles) == 1:
            own = claimed.setdefault(digest_of(roles.pop()), {})
            if statement.operator is not Operator.WITHIN:  # (nothing lies within 0)
                own[_of_any_model(dataclasses.replace(statement, threshold=0.0))] = statement
            own[_of_any_model(statement)] = statement
    best: dict[tuple[object, ...], Speaking] = {}
    for digest, own in claimed.items():
        for search in store.searches(subject(digest)):
            if not own.keys() >= set(search["stated"]):
                continue
            found = search["found"]
            violated = search["statements"].index(found["statement"]) if found else 0
            speaking = Speaking(search, own[search["stated"][violated]])
            about = (digest, *search["stated"], search["prompts"])
            best[about] = min(best.get(about, speaking), speaking, key=_rank)
    return tuple(sorted(best.values(), key=_rank))


def _rank(speaking: Speaking) -> tuple[Any, ...]:
    """The best first; of equals always the same one."""
    search = speaking.search
    found = search["found"]
    size = len(found["token_ids"]) if found else -search["forwards"]
    return found is None, size, search["prompts"], search["seed"], search["stated"], search["candidates"]


def _of_any_model(statement: Statement) -> str:
    """A statement's text, whatever model it is made about."""
    terms = tuple(
        (dataclasses.replace(q, role=Role.TRAINED) if isinstance(q, Quantity) else q.on(Role.TRAINED), coefficient)
        for q, coefficient in statement.form.terms
    )
    return str(dataclasses.replace(statement, form=Linear(terms, statement.form.constant)))
