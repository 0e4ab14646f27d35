"""The BabyLM models' masking result, in form: how far grammar rests on blocks older than the newest.

The paper masks every older source of attention and MLP, and sets the loss of accuracy on minimal pairs against that
under random masks of as many sources. Published excess, in percentage points: anaphor agreement 6.4, quantifiers 6.4,
determiner-noun agreement 5.1, binding .15, island effects .02. A replication claims more than half of a large contrast,
and for a contrast near zero less than half of the smallest large one. Sixty percent of pairs must be right in the clean
run: ten points above chance leave room for the largest contrast.
"""

import pytest

from attnres_core import (
    ALL_SUBLAYERS,
    NONRECENT,
    SENTENCE_ACCURACY,
    TRAINED,
    claim,
    drop,
    random_sources,
    sentence_accuracy,
)

PAPER = "BabyLM attention residuals, github.com/YpLarryWang/attnres4babylm2026"
KNOWN = 60  # percent of pairs
PUBLISHED = {"anaphor": 6.4, "quantifiers": 6.4, "determiner": 5.1}  # pp
NEAR_ZERO = min(PUBLISHED.values()) / 2
MASK = drop(NONRECENT, ALL_SUBLAYERS)


def case(phenomenon, *threshold):
    """Clean accuracy on a phenomenon's pairs, and what is lost of it under the mask and under random masks."""
    prompts = f"sentences-{phenomenon}"
    clean = sentence_accuracy().on(TRAINED, prompts=prompts)
    masks = (MASK, random_sources(MASK, draws=4))
    lost = (mask.on(TRAINED, metric=SENTENCE_ACCURACY, prompts=prompts) for mask in masks)
    return pytest.param(clean, *lost, *threshold, id=phenomenon)


@claim("agreement and quantifiers rest on older blocks", cites=PAPER)
@pytest.mark.parametrize(
    ("known", "masked", "random", "least"), [case(name, contrast / 2) for name, contrast in PUBLISHED.items()]
)
def test_masking_older_blocks_costs_more_than_random_masks(known, masked, random, least):
    assert known > KNOWN
    assert masked - random > least


@claim("binding and island effects do not rest on older blocks", cites=PAPER)
@pytest.mark.parametrize(("known", "masked", "random"), [case("binding"), case("islands")])
def test_masking_older_blocks_costs_no_more_than_random_masks(known, masked, random):
    assert known > KNOWN
    assert abs(masked - random) < NEAR_ZERO
