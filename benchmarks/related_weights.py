"""How far the weights of checkpoints go together: cosines of all their weights, and of the sketches that records hold.

cd fixtures/checkpoints
python ../../benchmarks/related_weights.py ../../build/seeds/tiny-open-block-*/tiny-open-block \\
    tiny-open-block tiny-open-block/checkpoint-* tiny-kimi-block tiny-vanilla

Checkpoints may differ in architecture: matrices that all of two have are compared.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Mapping
from pathlib import Path

from attnres_core.models.checkpoints.checkpoint import Checkpoint, inspect_checkpoint
from attnres_core.models.checkpoints.sketching import matrices
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.shapes import Column
from attnres_core.statistics.sign_sketches import cosine, sketch


def of_all_weights(one: Mapping[str, Column], other: Mapping[str, Column]) -> float:
    """The cosine over the matrices that both have, each of length 1."""
    common = one.keys() & other.keys()
    return math.fsum(float(one[name] @ other[name]) for name in common) / len(common)


def checkpoint(folder: Path) -> Checkpoint:
    """A folder's checkpoint; a vanilla one as the baseline is wrapped."""
    try:
        return inspect_checkpoint(folder)
    except UnsupportedCheckpoint:
        return inspect_checkpoint(folder, wrap=10.0, num_blocks=4)


def main() -> None:
    """Print a line for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="CHECKPOINT")
    found = {folder: matrices(checkpoint(folder)) for folder in parser.parse_args().folders}
    sketches = {folder: sketch(parts) for folder, parts in found.items()}
    print("| one | other | all weights | sketches |\n|---|---|---|---|")
    for one, other in itertools.combinations(found, 2):
        told = f"{of_all_weights(found[one], found[other]):.4f} | {cosine(sketches[one], sketches[other]):.4f}"
        print(f"| {one} | {other} | {told} |")


if __name__ == "__main__":
    main()
