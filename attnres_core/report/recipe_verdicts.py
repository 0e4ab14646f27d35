"""Registered claims about a recipe, decided by the verdicts on all of its seeds.

Input: the lock, and for each registered seed the record of a run and the manifest of the training. A claim says that
more than half of the recipe's seeds have it. It is SUPPORTED when the registered number of seeds is SUPPORTED, REFUTED
when as many are REFUTED, INCONCLUSIVE otherwise. `statistics/recipe_rule.py` proves the level.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnres_core.claims.statements import Verdict
from attnres_core.judging.recipe_registration import LOCK, RecipeLock
from attnres_core.records.reading import escaped
from attnres_core.registration.attestation import Attestation
from attnres_core.report.across_seeds import RecipeClaim, decide_recipe
from attnres_core.report.numbers import interval, number, threshold
from attnres_core.statistics.recipe_rule import level


@dataclass(frozen=True, slots=True)
class SeedsVerdict:
    """A registered claim about a recipe, and Student's t over the same seeds beside it."""

    verdict: Verdict | None
    """None: some registered seeds are not measured yet."""
    over_seeds: RecipeClaim


def by_seed(lock: RecipeLock, files: Sequence[Path]) -> dict[int, Path]:
    """Records by the seed that their files are named for.

    Raises:
        ValueError: a file does not exist, is not named for a registered seed, or two are named for one.
    """
    found: dict[int, Path] = {}
    registered = ", ".join(map(str, lock.seeds))
    for file in files:
        seed = int(file.stem) if file.stem.isdecimal() and file.stem.isascii() else None
        if seed not in lock.seeds:
            raise ValueError(
                f"{file}: `{file.stem}` is no registered seed; name each record for its seed, such as "
                f"{lock.seeds[0]}.json (registered: {registered})"
            )
        if seed in found:
            raise ValueError(f"{found[seed]} and {file} are both named for seed {seed}; give one record for each seed")
        if not file.is_file():
            raise ValueError(f"there is no {file}")
        found[seed] = file
    return found


def waiting(lock: RecipeLock, records: Mapping[int, Path]) -> str:
    """Return which registered seeds have no record yet; empty when all have."""
    left = [seed for seed in lock.seeds if seed not in records]
    trained = len(lock.seeds) - len(left)
    return f"waiting for seeds: {trained} of {len(lock.seeds)} measured, not {left}" if left else ""


def decide_registered(
    lock: RecipeLock, recipe: str, records: Mapping[int, Path], manifests: Mapping[int, Path]
) -> list[SeedsVerdict]:
    """Decide every registered claim about one recipe.

    Args:
        lock: what was registered.
        recipe: its name.
        records: the JSON record of the run on each seed.
        manifests: `manifest.json` of each seed's training.

    Raises:
        ValueError: seeds are missing or were not registered, trainings differ in more than their seed, or the records
            do not hold what was registered, at a level that the rule needs; says which.
    """
    if recipe not in lock.recipes:
        raise ValueError(f"{recipe} is not registered; registered are {', '.join(lock.recipes)}")
    if set(records) != set(lock.seeds) or set(manifests) != set(lock.seeds):
        given = sorted(set(records) & set(manifests))
        raise ValueError(f"the seeds {list(lock.seeds)} are registered, and {given} are given; give exactly these")
    over_seeds = decide_recipe([records[seed] for seed in lock.seeds])
    if over_seeds.unchecked:
        raise ValueError(
            f"no sketch of weights in {', '.join(over_seeds.unchecked)}: nothing shows that these are separate "
            "trainings; make the run again with this version (what was measured is still in the store)"
        )
    weights = {seed: unit[2] for seed, unit in zip(lock.seeds, over_seeds.checkpoints, strict=True)}
    _check_trainings(recipe, manifests, weights)
    claims = {claim.key: claim for claim in over_seeds.claims}
    return [_decided(lock, key, claims.get(key)) for key in lock.claims]


def _check_trainings(recipe: str, manifests: Mapping[int, Path], weights: Mapping[int, str]) -> None:
    """Refuse trainings of another name, seed or weights, and such as differ in anything else."""
    settings: dict[str, Any] = {}
    for seed, file in manifests.items():
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            own = {**manifest["recipe"], "data": manifest["data"]["digest"]}
            found, digest = (manifest["name"], own.pop("seed")), str(manifest["weights"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            remedy = "give manifest.json of a training by this version, which names seed and weights"
            raise ValueError(f"{file}: no such manifest ({error!r}); {remedy}") from None
        if "part" in own:
            raise ValueError(
                f"{file} is of a retrofit: seeds of retrofits share their base's weights, so that nothing can show "
                "them to be separate trainings; recipes of retrofits are not decided"
            )
        if found != (recipe, seed):
            raise ValueError(f"{file} is of {found[0]}, seed {found[1]}; needed is {recipe}, seed {seed}")
        if digest != weights[seed]:
            own_weights, its = digest[:12], weights[seed][:12]
            raise ValueError(
                f"{file} is of weights {own_weights}, the record of seed {seed} of {its}; give what belongs"
            )
        settings = settings or own
        if own != settings:
            raise ValueError(f"{file} was trained otherwise than the first seed: {own}, {settings}")


def _decided(lock: RecipeLock, key: str, claim: RecipeClaim | None) -> SeedsVerdict:
    if claim is None:
        raise ValueError(f"the records do not all hold {key} as a registered claim; run these claims on every seed")
    if any(registration != "registered" for registration in claim.registrations):
        raise ValueError(f"{key} is post hoc in a record; measure seeds after registration only")
    for stated in filter(None, claim.stated):  # (one that does not apply may state nothing)
        if stated != lock.claims[key]:
            raise ValueError(f"{key} states {list(stated)}; registered is {list(lock.claims[key])}")
    count = len(lock.seeds)
    attained = level(count, lock.agreeing, claim.alpha)
    if not attained <= lock.alpha:  # (NaN where a run failed)
        raise ValueError(f"{key} has alpha {claim.alpha:.3g} on each seed: {attained:.3g} over seeds, not {lock.alpha}")
    agreed = (v for v in (Verdict.SUPPORTED, Verdict.REFUTED) if claim.each.count(v.value) >= lock.agreeing)
    return SeedsVerdict(next(agreed, Verdict.INCONCLUSIVE), claim)


def as_markdown(lock: RecipeLock, found: Sequence[SeedsVerdict], stands: Attestation) -> str:
    """The rule, what stands behind the lock, and a row a claim."""
    return "\n".join([*rule(lock), f"{LOCK}: {stands}.", "", *table(found)]) + "\n"


def rule(lock: RecipeLock) -> list[str]:
    """Return what decides a claim, and how often that may be wrong."""
    return [
        f"A claim is decided when {lock.agreeing} of {len(lock.seeds)} seeds have the same verdict.",
        "SUPPORTED: more than half of the recipe's seeds have it. REFUTED: at most half.",
        f"Probability that a verdict is wrong: at most {lock.alpha:g}; that any of a recipe's is: "
        f"{lock.alpha * len(lock.claims):.2g}.",
    ]


def table(found: Sequence[SeedsVerdict]) -> list[str]:
    """A row a claim, with Student's t over the seeds beside its verdict."""
    head = ["| claim | verdict | seeds | mean [limits], if seeds scatter nearly normally |", "|---|---|---|---|"]
    return [*head, *map(_row, found)]


def _row(one: SeedsVerdict) -> str:
    claim = one.over_seeds
    each = ", ".join(f"{verdict} {claim.each.count(verdict)}" for verdict in dict.fromkeys(claim.each))
    beside = ""
    if claim.deciding is not None:
        across, limits, _ = claim.statements[claim.deciding]
        against = escaped(threshold(across.op, across.threshold))
        low, mean, high = (x if math.isfinite(x) else None for x in (limits.low, limits.mean, limits.high))
        beside = f"{number(mean, across.unit)} {interval((low, high), across.unit)} {against}: {claim.verdict}"
    told = "waiting" if one.verdict is None else f"**{one.verdict}**"
    return f"| {escaped(claim.title)} | {told} | {escaped(each)} | {beside} |"
