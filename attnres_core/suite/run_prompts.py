"""The prompts that a run reads: its own set, and those that single claims name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.prompts import SHORT, PromptSet, Split, check_tokens, load_prompts
from attnres_core.registration.ledger import PromptDigests
from attnres_core.registration.prompt_digests import check_distinct, scored_digests
from attnres_core.shipped import reference_prompts

OWN = ""
"""The name of the run's own set, which `--attnres-prompts` names."""


@dataclass(frozen=True)
class RunPrompts:
    """One prompt set, and what a run reads of it."""

    whole: PromptSet
    """The prompt file, all of it."""
    splits: Mapping[Split, PromptSet]
    """The prompts that are read of it."""
    tokenizer_file: Path
    """The trained model's."""
    unfit: str = ""
    """Why the trained model cannot be asked with a shipped set; empty where it can."""

    @property
    def part(self) -> str:
        """Return how much of the confirmation prompts is read, where it is not all; empty where it is."""
        used, whole = len(self.splits[Split.CONFIRMATION]), len(self.whole.part(Split.CONFIRMATION))
        return f"{used} of {whole} confirmation prompts" if used < whole else ""

    @cached_property
    def digests(self) -> PromptDigests:
        """The prompts of the file, all of them, as the ledger names them.

        Raises:
            ValueError: two prompts are the same, or the trained checkpoint has no readable tokenizer.
        """
        check_distinct(self.whole, self.tokenizer_file)
        named = list(zip(self.whole.prompts, scored_digests(self.whole, self.tokenizer_file), strict=True))
        confirmation, exploration = (
            tuple(digest for prompt, digest in named if prompt.split is split)
            for split in (Split.CONFIRMATION, Split.EXPLORATION)
        )
        formerly = tuple(p.digest[:12] for p in self.whole.part(Split.CONFIRMATION).prompts)
        return PromptDigests(confirmation, exploration, formerly)

    def check(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Refuse prompts that a model cannot read, before anything is loaded.

        Raises:
            ValueError: which prompt, and what is wrong with it.
        """
        for tokenizer, context, vocabulary in {(c.tokenizer_file, c.context, c.vocabulary) for c in checkpoints}:
            for part in self.splits.values():
                names = [repr(prompt.id) for prompt in part.prompts]
                check_tokens(part.token_ids(tokenizer), names, vocabulary, context)
                _check_beside(part, tokenizer, vocabulary, context)

    def line(self, *, quick: bool) -> str:
        """Return what a reader must know of it, in a line."""
        if self.unfit:
            return f"attnres: prompts: {self.whole.name}: NOT APPLICABLE, {self.unfit}"
        counts = ", ".join(f"{len(part)} {split}" for split, part in self.splits.items())
        never = "; quick, never confirmatory" if quick else ""
        rows = [row for part in self.splits.values() for row in part.token_ids(self.tokenizer_file)]
        short = sum(len(row) < SHORT for row in rows)
        told = f"; {short} have fewer than {SHORT} tokens and count as much as longer ones" if short else ""
        return f"attnres: prompts: {self.whole.name} ({counts}{never}), digest {self.whole.digest[:12]}{told}"


def _check_beside(prompts: PromptSet, tokenizer: Path, vocabulary: int, context: int) -> None:
    """The same of donors, placebos, answers and foils; what else may be wrong with them is told where it is asked."""
    names = [repr(prompt.id) for prompt in prompts.prompts]
    pairs, answers = None, None
    with contextlib.suppress(ValueError):
        pairs = prompts.pair_ids(tokenizer)
    with contextlib.suppress(ValueError):
        answers = prompts.answer_ids(tokenizer)
    for rows in filter(None, (pairs.donors, pairs.placebos) if pairs else ()):
        check_tokens(rows, [f"{name} (its donor or placebo)" for name in names], vocabulary, context)
    for name, asked in zip(names, answers or (), strict=False):
        if outside := [token for token in asked if token is not None and token >= vocabulary]:
            remedy = f"ids run from 0 to {vocabulary - 1}: choose another word"
            raise ValueError(f"prompt {name} has an answer or foil with token id {outside[0]}; {remedy}")


def read_run_prompts(
    file: Path, trained: Checkpoint, limit: int | None = None, remedy: str | None = None
) -> RunPrompts:
    """Read a prompt file.

    Args:
        file: the file.
        trained: the model that claims are about.
        limit: prompts of each split at most; None: all.
        remedy: what to do where the model's tokenizer does not fit the set; its claims are then NOT APPLICABLE. None:
            that is an error.

    Raises:
        ValueError: the file cannot be used, with the remedy.
    """
    whole = load_prompts(file)
    splits = {split: whole.part(split, limit) for split in Split}
    for split, part in splits.items():
        if not len(part):
            raise ValueError(f"{file}: no prompt belongs to the {split} split; add some or name the split")
    unfit = ""
    if remedy is not None:
        try:
            whole.answer_ids(trained.tokenizer_file)
            whole.pair_ids(trained.tokenizer_file)
            whole.sentences(trained.tokenizer_file)
        except ValueError as error:
            unfit = f"it was made for another tokenizer ({error}); {remedy}"
    return RunPrompts(whole, splits, trained.tokenizer_file, unfit)


def named_set(name: str, folder: Path | None, root: Path) -> tuple[Path, str | None]:
    """The file of a prompt set that a claim names; and, of a shipped one, what to do where it does not fit.

    Args:
        name: a name, looked for in `folder` and then among the shipped sets; or a path, seen from `root`.
        folder: holds prompt sets by name; None: there is none.
        root: the project's.

    Raises:
        ValueError: there is no such set.
    """
    if name.endswith(".jsonl") or "/" in name:
        return root / name, None
    if folder is not None and (file := folder / f"{name}.jsonl").is_file():
        return file, None
    try:
        file = reference_prompts(name)
    except ValueError as error:
        where = "" if folder is None else f"; {folder} holds no {name}.jsonl"
        raise ValueError(f"a claim is about the prompt set {name!r}: {error}{where}") from None
    kind = name.partition("-")[0]
    command = f"prompts {kind if kind in ('pairs', 'sentences') else 'structured'}"
    made = f"`python -m attnres_core {command} --checkpoint PATH --out DIR` makes one for yours"
    return file, f"{made}, and --attnres-prompt-sets=DIR names it"
