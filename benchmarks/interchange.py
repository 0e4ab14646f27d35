"""What interchanges move on the shipped pairs, beside their controls: the tables of docs/evidence.md.

    python -m benchmarks.interchange               # both reference checkpoints, every task, exploration pairs

Shares are means of what is moved over the mean gap, with the half-width of a 95 % interval (Student's t on
`moved - share * gap` over pairs, which is what a claim about a share decides).
"""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np
from scipy import stats

import attnres_core as ac
from attnres_core.planning.requests import resolved
from attnres_core.shipped import fixtures

CHECKPOINTS = ("tiny-open-block", "tiny-kimi-block")
SWAPS = {
    "full swap": ac.interchange(ac.ANY, ac.ALL_SITES, part=ac.BOTH),
    "weights, all": ac.interchange(ac.ANY, ac.ALL_SITES, part=ac.WEIGHTS),
    "states, all": ac.interchange(ac.ANY, ac.ALL_SITES),
    "embedding to early MLP": ac.interchange(ac.EMBEDDING, ac.MLP, ac.EARLY),
    "older to late attention": ac.interchange(ac.OLDER, ac.ATTN, ac.LATE),
    "older to read-out": ac.interchange(ac.OLDER, ac.FINAL),
    "same answer: older to late attention": ac.placebo(ac.interchange(ac.OLDER, ac.ATTN, ac.LATE)),
    "same answer: states, all": ac.placebo(ac.interchange(ac.ANY, ac.ALL_SITES)),
}
"""What is swapped."""
SPLIT = ac.interchange(ac.EMBEDDING, ac.MLP, ac.EARLY)
"""What is taken apart by the reads that see it."""
PATHS = {
    "early attention": ac.reads(ac.ANY, ac.ATTN, ac.EARLY),
    "mid attention": ac.reads(ac.ANY, ac.ATTN, ac.MID),
    "late attention": ac.reads(ac.ANY, ac.ATTN, ac.LATE),
    "(older alone)": ac.reads(ac.OLDER, ac.ATTN, ac.LATE),
    "MLPs": ac.reads(ac.ANY, ac.MLP),
    "read-out": ac.reads(ac.ANY, ac.FINAL),
}
"""The reads. Those of older sources by late attention are part of the row above."""


def share(moved: np.ndarray, gap: np.ndarray) -> tuple[float, float]:
    """The share of the gap that is moved, and the half-width of its 95 % interval."""
    ratio = moved.mean() / gap.mean()
    error = (moved - ratio * gap).std(ddof=1) / np.sqrt(len(gap)) / abs(gap.mean())
    return float(ratio), float(stats.t.ppf(0.975, len(gap) - 1) * error)


def main() -> None:
    """Print a table a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=CHECKPOINTS, metavar="CHECKPOINT")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="such as induction (default: all)")
    arguments = parser.parse_args()
    folder = fixtures() / "prompts"
    tasks = [
        name for name in json.loads((folder / "pairs.json").read_text()) if (folder / f"pairs-{name}.jsonl").exists()
    ]
    tasks = [name for name in tasks if name in (arguments.tasks or tasks)]
    metric = ac.LOGIT_DIFFERENCE
    for name in arguments.checkpoints:
        model = ac.load_model(ac.reference(name))
        for task in tasks:
            prompts = ac.load_prompts(folder / f"pairs-{task}.jsonl").part("exploration")
            swaps = {}
            split = {words: dataclasses.replace(SPLIT, via=via) for words, via in PATHS.items()}
            for words, what in (SWAPS | split).items():
                try:
                    resolved(what, model.checkpoint).check()
                except ac.NotApplicable:
                    continue
                swaps[words] = what.on(ac.TRAINED, metric=metric)
            wanted = [ac.donor_gap().on(ac.TRAINED, metric=metric), *swaps.values()]
            columns = ac.measure(model, prompts, wanted, progress=False)
            gap = prompts.by_document(columns[wanted[0]])
            halves = [f"half gap {gap.mean() / 2:.1f} logits"]
            told = {}
            for words, what in swaps.items():
                ratio, half = share(prompts.by_document(columns[what]), gap)
                told[words] = f"{words} {ratio:.2f} ±{half:.2f}"
            whole = [told.pop(words) for words in list(told) if words not in PATHS]
            print(f"{name}, {task} ({len(gap)} pairs): {'; '.join(halves + whole)}", flush=True)
            exact = float(np.abs(columns[swaps["read-out"]]).max())
            print(
                f"    embedding to early MLP, seen by: {'; '.join(told.values())} (at most {exact:g} logits)",
                flush=True,
            )


if __name__ == "__main__":
    main()
