"""Claims about the reference checkpoints' recipes, as docs/recipes.md: from the records of a run on each seed.

for name in tiny-open-block tiny-kimi-block; do
    for seed in 1 2 3 4; do
        python -m attnres_core train $name --compile --seed $seed --out build/seeds/$seed
        python -m pytest hypotheses -n 4 --attnres-trained build/seeds/$seed/$name \\
            --attnres-report build/records/$name/$seed.html
    done
    python -m pytest hypotheses -n 4 --attnres-trained $name --attnres-report build/records/$name/20261122.html
done
python benchmarks/recipes.py build/records/tiny-open-block build/records/tiny-kimi-block > docs/recipes.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from attnres_core.claims.statements import Verdict
from attnres_core.report.across_seeds import Recipe, as_json, decide_recipe, introduction, table

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "fixtures" / "recipes"
REFERENCE = "20261122"
"""The seed of the shipped checkpoints."""
MOTIFS = ("test_embedding_feeds_early_mlp", "test_current_feeds_early_layers", "test_older_feeds_late_attention")

HEAD = """# What the claims come out as over seeds

A verdict about one checkpoint says nothing of the next seed. Here five checkpoints of one recipe are the units: the
reference checkpoint, and four more trained from other seeds by the same command
(`python -m attnres_core train NAME --compile --seed SEED --out FOLDER`, 40 CPU minutes each), every one under all
registered claims on the same documents. Numbers stand in the order of the seeds, the reference checkpoint's first.
[How a claim is decided](deciding.md#claims-about-a-recipe) says what this can bear: with five seeds a mean must clear
its threshold by four standard deviations between seeds, so that INCONCLUSIVE is the rule; and claims and thresholds
were shaped on the reference checkpoint, one of the five.

Written by `python benchmarks/recipes.py`, whose first lines are the commands. The numbers of every checkpoint are kept
in `fixtures/recipes/`, with the manifest of each training (curve, held-out NLL); the weights of the new seeds are not.
"""


def tables(recipe: Recipe) -> str:
    """The motif claims and then all others, each as `python -m attnres_core recipe` writes them."""
    lines = introduction(recipe)
    for heading, motif in (("The motifs", True), ("The other claims", False)):
        own = [claim for claim in recipe.claims if claim.key.startswith(MOTIFS) is motif]
        lines += ["", f"### {heading}", "", *table(own)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page, and keep each recipe's numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="the records of a recipe's checkpoints, NAME/SEED.json")
    print(HEAD)
    for folder in parser.parse_args().folders:
        files = sorted(folder.glob("*.json"), key=lambda file: (file.stem != REFERENCE, file.stem))
        recipe = decide_recipe(files)
        KEPT.mkdir(exist_ok=True)
        (KEPT / f"{folder.name}.json").write_text(json.dumps(as_json(recipe), indent=1) + "\n")
        counts = Counter(claim.verdict for claim in recipe.claims)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
        print(f"## {folder.name}\n\n{told} of {len(recipe.claims)} claims about the trained model.\n\n{tables(recipe)}")


if __name__ == "__main__":
    main()
