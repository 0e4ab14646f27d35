"""`new`: a first file of claims."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from attnres_core.files import writing

HELP = "write a first file of claims, with comments"
DESCRIPTION = (
    "Write a file of claims that runs as it stands, and whose comments say what to change. "
    "It needs no clone: `pytest FILE` decides it wherever this package is installed."
)
FIRST_CLAIMS = '''\
"""What this file claims about routing, in one sentence, and where the claim comes from.

    pytest {name}                                   decide it on the shipped checkpoint tiny-open-block
    pytest {name} --attnres-trained PATH_OR_HUB_ID  ... on yours
    pytest {name} -n 0 --attnres-register           register it before data of it are read; commit claims.*

A registration leaves half of alpha for later claims; --attnres-budget-claims chooses otherwise.
The report is reports/latest.html. What was measured is kept in .attnres/, which git should ignore.
"""

from attnres_core import EARLY, EMBEDDING, LATE, MLP, TRAINED, claim, drop

# The smallest effect that you would call one, with its reason, written down before you look: nats per token here.
MIN_EFFECT = 0.02


# Dropping the embedding from what early MLPs read raises the loss: by more than MIN_EFFECT?
#   families   EMBEDDING, CURRENT, RECENT, OLDER (several at once: RECENT & OLDER)
#   sublayers  ATTN, MLP, FINAL
#   layers     EARLY, MID, LATE (thirds), ALL, or a range such as range(0, 4)
#   instead of drop: zero, mean, resample, keep, uniform, ... and controls such as matched_mass(drop(...))
@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_embedding_source_is_necessary_for_early_mlp(effect):
    assert effect > MIN_EFFECT


# A contrast: the same pathway, early against late. A claim takes as many quantities as it compares.
@claim(
    early=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    late=drop(EMBEDDING, MLP, LATE).on(TRAINED),
)
def test_embedding_pathway_is_local_to_early_layers(early, late):
    assert early - late > 0


# Statements are `x > m`, `x < m` and `abs(x) < m`. "It has no effect" is `abs(effect) < m`, never `not effect > m`,
# which would also pass on data that show nothing.
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file."""
    parser.add_argument("file", type=Path, metavar="FILE", help="such as test_my_claim.py; never overwritten")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Write the file and say how to go on."""
    try:
        write_first_claims(arguments.file)
    except ValueError as error:
        root.error(str(error))
    print(f"{arguments.file} written; now: pytest {shlex.quote(str(arguments.file))}")


def write_first_claims(file: Path) -> None:
    """Write `FIRST_CLAIMS` to a new file.

    Raises:
        ValueError: pytest would not collect or import a file of that name, it exists, or it cannot be written.
    """
    if not (file.name.startswith("test_") and file.suffix == ".py"):
        raise ValueError(f"{file}: pytest collects files named test_*.py; give such a name, as test_my_claim.py")
    if file.stem == "test_" or not file.stem.isidentifier():
        problem = f"{file.name!r} is no name of a module"
        raise ValueError(f"{file}: {problem}; give one of letters, digits and _, as test_my_claim.py")
    with writing(file):
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(FIRST_CLAIMS.replace("{name}", file.name))
        except FileExistsError:
            problem = "there is such a file already, and it is left as it is"
            raise ValueError(f"{file}: {problem}; give another name") from None
