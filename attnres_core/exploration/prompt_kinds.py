"""Kinds of prompts that a claim may be said to hold for, as strategies of the Hypothesis library.

A strategy generates prompts, and knows which of two is the simpler: the shorter, then the one whose tokens come earlier
in the vocabulary, or that is taken from an earlier prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from attnres_core.prompts import PromptSet, read_tokenizer

if TYPE_CHECKING:
    from attnres_core.models.model import AttnResModel

SHORTEST, LONGEST = 2, 16
"""Tokens of a generated prompt: one prediction at least, and short enough for thousands to be measured in seconds."""


@dataclass(frozen=True, slots=True)
class PromptKind:
    """A kind of prompts. Made by `any_tokens`, `excerpts` and `texts`, or from any strategy of token ids."""

    words: str
    """A description of them, for whoever reads what was found among them."""
    strategy: SearchStrategy[list[int]]


def any_tokens(
    model: AttnResModel,
    *,
    min_tokens: int = SHORTEST,
    max_tokens: int = LONGEST,
    among: Sequence[int] | None = None,
) -> PromptKind:
    """Any sequences of token ids: whatever the model can read, most of it no text that anyone would write.

    Args:
        model: whose vocabulary it is.
        min_tokens: of a prompt, at least.
        max_tokens: of a prompt, at most.
        among: the ids to take, the simpler first; default: the whole vocabulary in its order.

    Raises:
        ValueError: the lengths or ids are none that the model can read.
    """
    _check_lengths(model, min_tokens, max_tokens)
    vocabulary = model.network.vocabulary
    if among is None:
        token = strategies.integers(0, vocabulary - 1)
    elif among and all(0 <= token < vocabulary for token in among):
        token = strategies.sampled_from(list(among))
    else:
        raise ValueError(f"`among` is {among!r}; give token ids from 0 to {vocabulary - 1}")
    words = f"{_lengths(min_tokens, max_tokens)}, any of {len(among) if among else vocabulary:,}"
    return PromptKind(words, strategies.lists(token, min_size=min_tokens, max_size=max_tokens))


def excerpts(
    model: AttnResModel, prompts: PromptSet, *, min_tokens: int = SHORTEST, max_tokens: int = LONGEST
) -> PromptKind:
    """Runs of consecutive tokens from anywhere in a set's prompts: text as the set has it.

    Args:
        model: whose tokenizer reads them.
        prompts: where they are taken from: the exploration split, or confirmation data have been looked at.
        min_tokens: of an excerpt, at least.
        max_tokens: of an excerpt, at most.

    Raises:
        ValueError: the lengths are none that the model can read, or every prompt is shorter.
    """
    _check_lengths(model, min_tokens, max_tokens)
    rows = [row for row in prompts.token_ids(model.checkpoint.tokenizer_file) if len(row) >= min_tokens]
    if not rows:
        raise ValueError(f"no prompt of {prompts.name} has {min_tokens} tokens; give a smaller `min_tokens`")

    def within(row: list[int]) -> SearchStrategy[list[int]]:
        def from_length(length: int) -> SearchStrategy[list[int]]:
            starts = strategies.integers(0, len(row) - length)
            return starts.map(lambda start: row[start : start + length])

        return strategies.integers(min_tokens, min(max_tokens, len(row))).flatmap(from_length)

    words = f"excerpts of {_lengths(min_tokens, max_tokens)} from {prompts.name}"
    return PromptKind(words, strategies.sampled_from(rows).flatmap(within))


def texts(model: AttnResModel, written: SearchStrategy[str]) -> PromptKind:
    """Texts of any strategy, as the model's tokenizer reads them: `hypothesis.strategies.from_regex(...)`, a grammar.

    Args:
        model: whose tokenizer it is.
        written: the texts; those that the model cannot read (of one token, or beyond its context) are passed over.

    Raises:
        ValueError: there is no readable tokenizer.
    """
    tokenizer = read_tokenizer(model.checkpoint.tokenizer_file)

    def read(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    readable = written.map(read).filter(lambda row: SHORTEST <= len(row) <= model.checkpoint.context)
    return PromptKind(f"texts of {written!r}", readable)


def _lengths(min_tokens: int, max_tokens: int) -> str:
    return f"{max_tokens} tokens" if min_tokens == max_tokens else f"{min_tokens} to {max_tokens} tokens"


def _check_lengths(model: AttnResModel, min_tokens: int, max_tokens: int) -> None:
    context = model.checkpoint.context
    if not SHORTEST <= min_tokens <= max_tokens <= context:
        given = f"`min_tokens` is {min_tokens} and `max_tokens` {max_tokens}"
        raise ValueError(f"{given}; give {SHORTEST} <= min_tokens <= max_tokens <= {context}, this model's context")
