"""What interchanges move on the shipped pairs, beside their controls: the tables of docs/evidence.md.

    python -m benchmarks.interchange               # both reference checkpoints, every task, exploration pairs

Shares are means of what is moved over the mean gap, with the half-width of a 95 % interval (Student's t on
`moved - share * gap` over pairs, which is what a claim about a share decides).
"""

from __future__ import annotations

import argparse
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


def share(moved: np.ndarray, gap: np.ndarray) -> tuple[float, float]:
    """The share of the gap that is moved, and the half-width of its 95 % interval."""
    ratio = moved.mean() / gap.mean()
    error = (moved - ratio * gap).std(ddof=1) / np.sqrt(len(gap)) / abs(gap.mean())
    return float(ratio), float(stats.t.ppf(0.975, len(gap) - 1) * error)


def main() -> None:
    """Print a table a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=CHECKPOINTS, metavar="CHECKPOINT")
    arguments = parser.parse_args()
    folder = fixtures() / "prompts"
    tasks = [
        name for name in json.loads((folder / "pairs.json").read_text()) if (folder / f"pairs-{name}.jsonl").exists()
    ]
    metric = ac.LOGIT_DIFFERENCE
    for name in arguments.checkpoints:
        model = ac.load_model(ac.reference(name))
        for task in tasks:
            prompts = ac.load_prompts(folder / f"pairs-{task}.jsonl").part("exploration")
            swaps = {}
            for words, what in SWAPS.items():
                try:
                    resolved(what, model.checkpoint).check()
                except ac.NotApplicable:
                    continue
                swaps[words] = what.on(ac.TRAINED, metric=metric)
            wanted = [ac.donor_gap().on(ac.TRAINED, metric=metric), *swaps.values()]
            columns = ac.measure(model, prompts, wanted, progress=False)
            gap = prompts.by_document(columns[wanted[0]])
            told = [f"half gap {gap.mean() / 2:.1f} logits"]
            for words, what in swaps.items():
                ratio, half = share(prompts.by_document(columns[what]), gap)
                told.append(f"{words} {ratio:.2f} ±{half:.2f}")
            print(f"{name}, {task} ({len(gap)} pairs): {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
