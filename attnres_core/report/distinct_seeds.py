"""Records of seeds of one recipe: alike in all but the weights, and with weights of their own.

A copy passes as another seed if nobody looks. Two checks refuse it. Weights that go together betray a copy with a
little noise, a fine-tuned copy, another step of the same run, or a common initialisation; records hold a sketch of
them. Effects that are nearly the same betray a copy whose units were renumbered: other weights that compute the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from attnres_core.quantities.vocabulary import Role
from attnres_core.records.schema import ModelEntry, PromptsEntry, Record
from attnres_core.statistics.sign_sketches import cosine

RELATED = 0.03
"""Weights whose cosine is larger, of either sign, are not of two trainings. Of 51 pairs of independent trainings none
exceeds .012 in its sketch; a common initialisation alone gave .056 or more, steps of one run .19 or more, a copy 1."""
NEAR = 0.02
"""Estimates of two seeds whose median relative difference is less are a near-copy's: ten pairs of seeds of each
reference recipe differ by .17 or more."""
MANY = 20
"""Fewer estimates than this cannot show a near-copy."""


def check_alike(records: Sequence[Record], names: Sequence[str]) -> None:
    """Refuse records that one interval cannot hold.

    Raises:
        ValueError: two are of the same weights, a run was partial, or settings differ; names the records.
    """
    seen: dict[str, str] = {}
    for record, name in zip(records, names, strict=True):
        digest = record["models"]["trained"]["weights_digest"]
        if digest in seen:
            raise ValueError(f"{seen[digest]} and {name} are of the same weights; give one record for each seed")
        seen[digest] = name
        if not record["complete"] or record["settings"]["sequential"] or record["settings"]["quick"]:
            raise ValueError(f"{name} is of an incomplete, quick or sequential run; run all claims on all documents")
        for what, read in _ALIKE.items():
            if read(record) != read(records[0]):
                raise ValueError(f"{name} has another {what} than {names[0]}: {read(record)}, {read(records[0])}")


_ALIKE: dict[str, Callable[[Record], object]] = {
    "shape": lambda record: _shape(record["models"]["trained"]),
    "prompt set": lambda record: _prompt_set(record["settings"]["prompts"]),
    "lock of registered claims": lambda record: record["settings"]["registrations"]["lock"],
    "dtype": lambda record: record["settings"]["dtype"],
    "baseline": lambda record: {
        role: record["models"][role]["digest"]
        for role in Role
        if role not in (Role.TRAINED, Role.UNTRAINED) and record["models"].get(role)
    },
}


def _shape(model: ModelEntry) -> dict[str, object]:
    return {
        "dialect": model["dialect"],
        "num_layers": model["num_layers"],
        "num_blocks": model["num_blocks"],
        "parameters": model["parameters"],
    }


def _prompt_set(prompts: PromptsEntry) -> dict[str, object]:
    return {"digest": prompts["digest"], "window": prompts["window"], "confirmation": prompts["confirmation"]}


def check_weights(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Refuse weights that go together.

    Returns:
        The names of records without a sketch, which older versions wrote: their weights were not checked.

    Raises:
        ValueError: two records' weights are related, or a sketch is damaged; names the records.
    """
    sketches = {
        name: record["models"]["trained"].get("sketch", "") for record, name in zip(records, names, strict=True)
    }
    for one, other in itertools.combinations([name for name in names if sketches[name]], 2):
        found = cosine(sketches[one], sketches[other])
        if abs(found) > RELATED:
            raise ValueError(
                f"{one} and {other} have related weights (cosine {found:.2f}; of independent trainings it is within "
                f"{RELATED:g} of 0): a copy, a later step or a common initialisation is no other seed; train each "
                "from its own seed"
            )
    return [name for name in names if not sketches[name]]


def check_estimates(columns: Sequence[Sequence[float | None]], names: Sequence[str]) -> None:
    """Refuse a checkpoint given twice in other files, and a copy whose effects are another's but for a little noise.

    Args:
        columns: each record's estimates, the same statements in the same order.
        names: what the records are called.

    Raises:
        ValueError: two records have (nearly) the same estimates; names them.
    """
    arrays = [np.array(column, dtype=float) for column in columns]
    for (name, own), (other, its) in itertools.combinations(zip(names, arrays, strict=True), 2):
        if len(own) != len(its):
            continue
        if len(own) > 1 and np.array_equal(own, its, equal_nan=True):
            raise ValueError(f"{name} and {other} have the same estimates throughout: one checkpoint twice")
        known = np.isfinite(own) & np.isfinite(its)
        size = np.maximum(np.abs(own), np.abs(its))[known]
        if len(size) >= MANY and np.median(np.abs(own - its)[known] / np.maximum(size, np.finfo(float).tiny)) < NEAR:
            raise ValueError(f"{name} and {other} have nearly the same estimates throughout: a copy is no other seed")
