"""Claims about the reference checkpoints' recipes, as docs/recipes.md, from what fixtures/recipes keeps of each seed.

for name in tiny-open-block tiny-kimi-block; do
    for seed in 101 102 103 104 105 106 107 108; do
        python -m attnres_core train $name --compile --seed $seed --out build/seeds/$name-$seed
        python -m pytest hypotheses -n 2 -k "current_feeds or embedding_feeds or older_feeds" \\
            --attnres-trained build/seeds/$name-$seed/$name --attnres-report build/seeds/records/$name-$seed.html
    done
done
python benchmarks/recipes.py build/seeds

Without a folder the page is written anew from what is kept. Seeds that are not there yet are waited for. Runs of all
claims, without -k, renew the estimates, too; they take ten times as long.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnres_core.claims.statements import Interval, Verdict
from attnres_core.judging.recipe_registration import LOCK, RecipeLock, attestation, read
from attnres_core.models.checkpoints.checkpoint import weights_digest
from attnres_core.records.reading import escaped, read_record
from attnres_core.registration.ledger import LOCK as CLAIMS
from attnres_core.report.across_seeds import MIN_CHECKPOINTS, Across, RecipeClaim, as_json, decide_recipe
from attnres_core.report.numbers import number, threshold
from attnres_core.report.recipe_marks import AGAINST, FOR, marks
from attnres_core.report.recipe_verdicts import SeedsVerdict, decide_registered, rule, table, waiting

ROOT = Path(__file__).parent.parent
HYPOTHESES = ROOT / "hypotheses"
KEPT = ROOT / "fixtures" / "recipes"
PAGE = ROOT / "docs" / "recipes.md"

HEAD = f"""# What the claims come out as over seeds

A verdict about one checkpoint says nothing of the next seed. This page is about two training recipes: what is common to
their seeds. Every seed is measured over the same documents.

`python benchmarks/recipes.py` writes this page; its first lines are the commands before it. `fixtures/recipes/` keeps
the numbers of every seed and the manifest of its training, not its weights.

## Ten registered claims

`hypotheses/{LOCK}` registers ten claims about each recipe, and the seeds that decide them. These seeds are fresh: no
claim was shaped on them. [How a claim is decided](deciding.md#claims-about-a-recipe) has the proof of the level.
"""
RULE = """
The verdicts of this rule assume nothing of how seeds scatter. The last column does: it is Student's t over the seeds,
right only if they scatter nearly normally.
"""
REST = f"""
## The other claims, estimated

These are not registered about recipes: the table estimates, and decides nothing. A cell holds

- **{FOR}** where the seeds speak for the claim, **{AGAINST}** where they speak against it: Student's t over the seeds,
  adjusted by Benjamini and Yekutieli over all claims of the recipe. Of all marks 5 % may be false, if seeds scatter
  nearly normally.
- the mean over the seeds, the smallest and the largest of them, and the claim's bound. Of a claim with several
  statements, the one that decides is shown. "No estimate": no seed has a number for it.
- on how many seeds the claim is supported (S), refuted (R), inconclusive (I) or not applicable (N), each by itself.

The numbers are of {{seeds}}.
An empty cell: no seed has the families or sites that the claim is about, or the numbers are of older runs, which
decided claims about picked families by another rule. Claims that were registered after these seeds were measured are
not in the table. Withdrawn ones are, so that every mark is adjusted over all that were measured.
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a recipe's seeds."""

    name: str
    measured: tuple[int, ...]
    """The registered seeds that are measured."""
    seeds: tuple[int, ...]
    """The seeds that the registered claims' numbers are of: these, or earlier ones while too few are measured."""
    lock: str
    """What stands behind the lock of recipes."""
    decided: dict[str, Verdict]
    """The registered claims' verdicts, by key; empty: seeds are missing."""
    claims: tuple[RecipeClaim, ...]
    """The registered claims, by Student's t over the seeds."""
    estimated_on: tuple[int, ...]
    """The seeds of the estimates."""
    estimates: tuple[RecipeClaim, ...]
    """The other claims, by Student's t over these seeds."""


def keep(name: str, lock: RecipeLock, folder: Path) -> None:
    """Keep the numbers and manifests of a recipe's registered seeds, as far as they were measured.

    Args:
        name: the recipe.
        lock: what is registered.
        folder: holds records/NAME-SEED.json and the trainings NAME-SEED/NAME.
    """
    files = {seed: folder / "records" / f"{name}-{seed}.json" for seed in lock.seeds}
    records = {seed: file for seed, file in files.items() if file.is_file()}
    before = json.loads((KEPT / f"{name}.json").read_text())
    if len(records) < len(lock.seeds) and (before["decided"] or len(records) <= len(before["measured"])):
        print(f"{name}: left as it is: {len(records)} of {len(lock.seeds)} records are in {folder / 'records'}")
        return
    stands = attestation(HYPOTHESES, lock, [read_record(file)["run"]["started"] for file in records.values()])
    kept = {**before, "measured": list(records), "lock": str(stands)}
    if len(records) >= MIN_CHECKPOINTS:
        numbers, manifests = _numbers(name, lock, folder, records)
        known = {claim["key"] for claim in before["estimated"]["claims"]} & set(_current())
        if not known <= {claim["key"] for claim in numbers["estimated"]["claims"]}:
            del numbers["estimated"]  # (runs of some claims alone)
        kept |= numbers
        (KEPT / name).mkdir(exist_ok=True)
        for seed, manifest in manifests.items():
            (KEPT / name / f"{seed}.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (KEPT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"{name}: {waiting(lock, records) or 'all seeds are measured'}")


def _numbers(
    name: str, lock: RecipeLock, folder: Path, records: dict[int, Path]
) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The verdicts, if all seeds are there, the numbers of registered claims and of others; each seed's manifest."""
    manifests = {}
    for seed in records:
        trained = folder / f"{name}-{seed}" / name
        manifest = json.loads((trained / "manifest.json").read_text())
        manifests[seed] = {
            "weights": weights_digest(trained),
            **manifest,
        }  # (older manifests do not name their weights)
    with tempfile.TemporaryDirectory() as scratch:
        files = {seed: Path(scratch) / f"{seed}.json" for seed in records}
        for seed, file in files.items():
            file.write_text(json.dumps(manifests[seed]))
        decided = [] if waiting(lock, records) else decide_registered(lock, name, records, files)
    about = {"seeds": list(records), **as_json(decide_recipe(list(records.values())))}
    claims = about.pop("claims")
    registered = [claim for claim in claims if claim["key"] in lock.claims]
    others = [claim for claim in claims if claim["key"] not in lock.claims]
    numbers = {
        "decided": {one.over_seeds.key: str(one.verdict) for one in decided},
        "registered": {**about, "claims": registered},
        "estimated": {**about, "claims": others},
    }
    return numbers, manifests


def _current() -> dict[str, Any]:
    """The lock, which holds the claims that are registered today by their keys."""
    return tomllib.loads((HYPOTHESES / CLAIMS).read_text())


def kept(name: str) -> Kept:
    """What is kept of a recipe."""
    found = json.loads((KEPT / f"{name}.json").read_text())
    decided = {key: Verdict(verdict) for key, verdict in found["decided"].items()}
    (seeds, claims), (estimated_on, estimates) = (
        (tuple(found[part]["seeds"]), tuple(map(_claim, found[part]["claims"]))) for part in ("registered", "estimated")
    )
    return Kept(name, tuple(found["measured"]), seeds, found["lock"], decided, claims, estimated_on, estimates)


def _claim(entry: dict[str, Any]) -> RecipeClaim:
    own = {name: entry[name] for name in ("key", "title", "registration", "reason", "deciding", "picked", "kinds")}
    alpha = math.nan if entry["alpha"] is None else entry["alpha"]
    statements = tuple(_statement(stated, alpha) for stated in entry["statements"])
    verdict, each = Verdict(entry["verdict"]), tuple(entry["each"])
    return RecipeClaim(**own, registrations=(), alpha=alpha, verdict=verdict, each=each, statements=statements)


def _statement(stated: dict[str, Any], alpha: float) -> tuple[Across, Interval, Verdict]:
    own = {name: stated[name] for name in Across.__dataclass_fields__}
    own["estimates"] = tuple(stated["estimates"])
    own["errors"] = tuple(math.inf if error is None else error for error in stated["errors"])
    low, high = (
        (-math.inf if stated["low"] is None else stated["low"]),
        (math.inf if stated["high"] is None else stated["high"]),
    )
    mean = math.nan if stated["mean"] is None else stated["mean"]
    limits = Interval(mean, low, high, len(stated["estimates"]), alpha, gate=stated["gate"])
    return Across(**own), limits, Verdict(stated["verdict"])


def page(lock: RecipeLock, recipes: Sequence[Kept]) -> str:
    """The page, in Markdown."""
    lines = [HEAD, *rule(lock), RULE]
    for recipe in recipes:
        lines += [f"### {recipe.name}", "", _standing(lock, recipe), ""]
        own = {claim.key: claim for claim in recipe.claims}
        lines += [*table([SeedsVerdict(recipe.decided.get(key), own[key]) for key in lock.claims]), ""]
    seeds = "; of ".join(dict.fromkeys(_estimated_on(lock, recipe) for recipe in recipes))
    return "\n".join([*lines, REST.strip().format(seeds=seeds), "", *_estimates(recipes)]) + "\n"


def _standing(lock: RecipeLock, recipe: Kept) -> str:
    """Whether a recipe's claims are decided, and on which seeds the numbers beside them rest."""
    seeds = ", ".join(map(str, recipe.seeds))
    if recipe.decided:
        return f"Decided on all {len(recipe.seeds)} seeds: {seeds}. {LOCK}: {recipe.lock}."
    told = f"**Waiting: {len(recipe.measured)} of {len(lock.seeds)} seeds measured.** {LOCK}: {recipe.lock}."
    if recipe.seeds == recipe.measured:
        return f"{told} The numbers are of seeds {seeds}."
    return (
        f"{told}\nThe numbers are of seeds {seeds}, which were measured before the registration. The first is the\n"
        "reference checkpoint's, on which claims were shaped: no verdict rests on these seeds."
    )


def _estimated_on(lock: RecipeLock, recipe: Kept) -> str:
    seeds = f"seeds {', '.join(map(str, recipe.estimated_on))}"
    if set(recipe.estimated_on) <= set(lock.seeds):
        return seeds
    shaped = "The first is the reference checkpoint's, on which claims were shaped"
    return f"{seeds}, measured before the registration.\n{shaped}"


def _estimates(recipes: Sequence[Kept]) -> list[str]:
    """A row for each claim that is not registered about recipes and applies to one of them."""
    cells = {recipe.name: _cells(recipe) for recipe in recipes}
    titles = {claim.key: claim.title for recipe in recipes for claim in recipe.estimates}
    current = _current()
    late = {claim.key for recipe in recipes for claim in recipe.estimates if claim.registration == "post hoc"}
    shown = [key for key in titles if any(own.get(key) for own in cells.values())]
    told = "mark, mean (smallest to largest), bound, verdicts of {} seeds"
    names = " | ".join(f"{recipe.name}: {told.format(len(recipe.estimated_on))}" for recipe in recipes)
    rows = [
        f"| {escaped(titles[key])}{' (post hoc)' if key in late else ''}{'' if key in current else ' (withdrawn)'} | "
        + " | ".join(own.get(key, "") for own in cells.values())
        + " |"
        for key in sorted(shown)
    ]
    return [f"| claim | {names} |", "|---" * (len(recipes) + 1) + "|", *rows]


def _cells(recipe: Kept) -> dict[str, str]:
    """A recipe's cell for each claim, by key; empty where no seed has it."""
    each = zip(recipe.estimates, marks(recipe.estimates), strict=True)
    return {claim.key: _cell(claim, mark) for claim, mark in each}


def _cell(claim: RecipeClaim, mark: str) -> str:
    if claim.deciding is None:
        return ""
    across, limits, _ = claim.statements[claim.deciding]
    estimates = [estimate for estimate in across.estimates if estimate is not None]
    span = " to ".join(number(end, across.unit) for end in (min(estimates), max(estimates))) if estimates else ""
    mean = number(limits.mean, across.unit) if math.isfinite(limits.mean) else "no estimate"
    counts = " ".join(f"{word[0]}{claim.each.count(word)}" for word in dict.fromkeys(claim.each))
    return " ".join(
        filter(
            None,
            [
                mark and f"**{mark}**",
                mean,
                span and f"({span})",
                escaped(threshold(across.op, across.threshold)),
                counts,
            ],
        )
    )


def main() -> None:
    """Keep what was measured, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told = "trainings NAME-SEED/NAME and records/NAME-SEED.json (default: none; the page is written from what is kept)"
    parser.add_argument("folder", type=Path, nargs="?", help=told)
    folder, lock = parser.parse_args().folder, read(HYPOTHESES)
    for name in lock.recipes if folder else ():
        keep(name, lock, folder)
    PAGE.write_text(page(lock, [kept(name) for name in lock.recipes]), encoding="utf-8")


if __name__ == "__main__":
    main()
