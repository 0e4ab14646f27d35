"""Counterexamples: the smallest prompt of a kind on which a claim's effect is on the wrong side.

A claim is about a mean over documents. Whoever reads it as "for prompts of this kind" can be answered with one prompt.
The Hypothesis library generates prompts, is drawn to those that violate the claim most, and shrinks what it finds; the
sweep measures what it generates in batches, and what was measured once is remembered. The answer is exploratory: it
helps to read a verdict, and is none; a claim about a mean survives it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis.errors import NoSuchExample, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from attnres_core.claims.statements import signed_text
from attnres_core.exploration.prompt_kinds import PromptKind
from attnres_core.exploration.violations import Bench, Claimed, stated
from attnres_core.models.model import AttnResModel
from attnres_core.prompts import PromptSet, read_tokenizer
from attnres_core.quantities.units import unit_of

CANDIDATES = 1000
"""Prompts measured before a search gives up."""
GENERATED = 0.9
"""Share of them that is generated freely; the others are drawn from there towards larger violations."""
BATCH = 64
"""Candidates measured together."""
MARGIN = 1e-4
"""By how much a prompt must violate a claim: ten times what the fast path and the plain one may differ by."""
_EXPLORATORY = "exploratory: one prompt refutes a claim about every prompt, not one about their mean"


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A prompt that violates a claim, measured the plain way."""

    token_ids: tuple[int, ...]
    text: str
    """As the checkpoint's tokenizer writes it; empty where there is none."""
    tokens: tuple[str, ...]
    """Each of its tokens written alone; none where there is no tokenizer."""
    statement: str
    """The statement that it violates."""
    value: float
    """The statement's value on this prompt alone: one float32 forward per ablation, nothing shared."""


@dataclass(frozen=True, slots=True)
class CounterexampleSearch:
    """The result of a search: a counterexample, or that none was found. Exploratory by nature."""

    statements: tuple[str, ...]
    """The statement that every prompt was to satisfy."""
    units: tuple[str, ...]
    """The unit of each of them."""
    prompts: str
    """The kind of prompts, in words."""
    model: str
    digest: str
    """Of the checkpoint."""
    candidates: int
    """Different prompts that were measured."""
    forwards: int
    """Runs of one prompt: clean and ablated."""
    seed: int
    closest: float
    """The largest violation of any candidate, in the statement's unit; negative where all satisfied it."""
    found: Counterexample | None

    @property
    def unit(self) -> str:
        """Return the unit of what was found, or of `closest`; empty where it is not known which statement was."""
        if self.found is not None:
            return self.units[self.statements.index(self.found.statement)]
        return self.units[0] if len(set(self.units)) == 1 else ""

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        found = dataclasses.asdict(self)
        found |= {"statements": list(self.statements), "units": list(self.units)}
        if self.found is not None:
            found["found"] |= {"token_ids": list(self.found.token_ids), "tokens": list(self.found.tokens)}
        return found

    def __str__(self) -> str:
        """The answer in a few lines."""
        claimed, unit = " and ".join(self.statements), f" {self.unit}".rstrip()
        if self.found is None:
            return (
                f"no counterexample found in {self.forwards:,} forwards of {self.prompts}\n"
                f"  to {claimed} on {self.model}; the closest was {-self.closest:.4g}{unit} away from one\n"
                f"{_EXPLORATORY}"
            )
        found = self.found
        which = f" for {found.statement}" if len(self.statements) > 1 else ""
        return (
            f"smallest counterexample found in {self.forwards:,} forwards of {self.prompts}\n"
            f"  to {claimed} on {self.model}:\n"
            f"  {found.text!r} {list(found.token_ids)}, where it is {signed_text(found.value)}{unit}{which}\n"
            f"{_EXPLORATORY}"
        )


def search_counterexample(
    model: AttnResModel,
    claim: Claimed,
    prompts: PromptKind,
    *,
    threshold: float | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    reference: PromptSet | Sequence[Sequence[int]] | None = None,
) -> CounterexampleSearch:
    """Look for the smallest prompt of a kind on which a claim does not hold.

    Args:
        model: from `load_model`, in float32; the claim's role is not looked at.
        claim: a test made by `@claim`, or what one states; or a quantity or ablation, which is then claimed to be
            positive.
        prompts: the kind: `any_tokens(model)`, `excerpts(model, ...)`, `texts(model, ...)` or one of your own.
        threshold: what the claim's statements are held against in place of their own; 0 asks for the wrong sign.
        candidates: how many prompts are measured before the search gives up (shrinking takes some more).
        seed: the same seed gives the same answer.
        reference: what `mean`, `resample`, `average` and `shuffle` take from, the first 64 of it.

    Raises:
        ClaimError: the claim's body is none.
        NotApplicable: the model has no site that it speaks of.
        ValueError: a claim that no single prompt can violate, a model that is not in float32, a kind that gives no
            prompt or prompts that the model cannot read.
    """
    statements = stated(claim, threshold)
    if candidates < 1:
        raise ValueError(f"`candidates` is {candidates}; give a whole number of prompts, at least 1")
    if not isinstance(prompts, PromptKind):
        raise ValueError(f"`prompts` is {prompts!r}; give any_tokens(model), excerpts(...), texts(...) or a PromptKind")
    if (dtype := str(model.network.dtype)) != "torch.float32":
        raise ValueError(f"the model is in {dtype}, whose rounding can turn a sign; load it with dtype='float32'")
    bench = Bench(model, statements, reference)

    def violated(row: list[int]) -> bool:
        spent = len(bench.violations) >= candidates and max(bench.violations.values()) <= MARGIN
        if spent and tuple(row) not in bench.violations:
            return False
        violation = bench.measure([row])
        hypothesis.target(violation)
        return violation > MARGIN

    smallest = None
    try:
        generated = _generated(prompts.strategy, math.ceil(GENERATED * candidates), seed)
        for start in range(0, len(generated), BATCH):
            if bench.measure(generated[start : start + BATCH]) > MARGIN:
                break
        # The same seed comes to the same prompts again, measured by now; then it is drawn on from them, and shrinks.
        settings = _settings(2 * len(generated), Phase.generate, Phase.target, Phase.shrink)
        shrunk = hypothesis.find(prompts.strategy, violated, settings=settings, random=random.Random(seed))
        smallest = _confirmed(bench, shrunk)
    except NoSuchExample:
        pass
    except Unsatisfiable:
        raise ValueError(f"`prompts` ({prompts.words}) gives next to no prompt; give a wider kind") from None
    return CounterexampleSearch(
        tuple(map(str, statements)),
        tuple(unit_of(statement.form.terms[0][0]) for statement in statements),
        prompts.words,
        model.checkpoint.name,
        model.checkpoint.digest,
        len(bench.violations),
        bench.forwards,
        seed,
        max(bench.violations.values()),
        smallest,
    )


def _settings(examples: int, *phases: Phase) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        phases=phases,
        database=None,
        deadline=None,
        verbosity=hypothesis.Verbosity.quiet,
    )


def _generated(strategy: SearchStrategy[list[int]], count: int, seed: int) -> list[list[int]]:
    """Different prompts of a kind, in the order in which a search with this seed comes to them; at most `count`."""
    found: dict[tuple[int, ...], None] = {}

    def keep(row: list[int]) -> bool:
        found.setdefault(tuple(row))
        return False

    with contextlib.suppress(NoSuchExample):
        hypothesis.find(strategy, keep, settings=_settings(count, Phase.generate), random=random.Random(seed))
    return list(map(list, found))


def _confirmed(bench: Bench, row: Sequence[int]) -> Counterexample:
    """A violating prompt, measured the plain way.

    Raises:
        RuntimeError: that way it does not violate the claim: the fast path is wrong.
    """
    violation, statement, value = bench.plainly(row)
    if not violation > 0:
        raise RuntimeError(f"{list(row)} violates the claim by the fast path alone; please report it as a bug")
    file = bench.model.checkpoint.tokenizer_file
    text, tokens = "", tuple[str, ...]()
    if file.is_file():
        tokenizer = read_tokenizer(file)
        text = tokenizer.decode(list(row))
        tokens = tuple(tokenizer.decode([token], skip_special_tokens=False) for token in row)
    return Counterexample(tuple(row), text, tokens, str(statement), value)
