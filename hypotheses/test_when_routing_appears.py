"""When routing appears: the motifs of arXiv:2606.13168 over kept steps of the trained checkpoint's own run.

The steps are those that ship with tiny-open-block: its start, 200 of 4,000 steps (the loss has left the unigram level),
1,000 (a quarter of the run). On a checkpoint that kept no such steps these claims are not applicable.
"""

import pytest

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MID, MLP, OLDER, TRAINED, at_step, claim, drop

PAPER = "arXiv:2606.13168, routing structure appears when routing is trained"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing
NO_ROLE = 0.01  # nats per token: half of MIN_EFFECT; the gap between is undecided on purpose
START, EARLY_STEP, MIDDLE_STEP = at_step(0), at_step(200), at_step(1000)


@claim(
    embedding=drop(EMBEDDING, MLP, EARLY).on(START),
    current=drop(CURRENT, ATTN, EARLY).on(START),
    older=drop(OLDER, ATTN, LATE).on(START),
    cites=PAPER,
)
def test_no_motif_is_there_at_the_start(embedding, current, older):
    assert abs(embedding) < NO_ROLE
    assert abs(current) < NO_ROLE
    assert abs(older) < NO_ROLE


@claim(effect=drop(EMBEDDING, MLP, EARLY).on(EARLY_STEP), cites=PAPER)
def test_embedding_motif_is_there_after_a_twentieth_of_the_run(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(CURRENT, ATTN, EARLY).on(EARLY_STEP), cites=PAPER)
def test_current_motif_is_there_after_a_twentieth_of_the_run(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(CURRENT, MLP, EARLY).on(EARLY_STEP), cites=PAPER)
def test_current_to_mlp_motif_is_there_after_a_twentieth_of_the_run(effect):
    assert effect > MIN_EFFECT


@claim(effect=drop(OLDER, ATTN, LATE).on(MIDDLE_STEP), cites=PAPER)
def test_older_motif_is_there_after_a_quarter_of_the_run(effect):
    assert effect > MIN_EFFECT


@claim(
    end=drop(EMBEDDING, MLP, EARLY).on(TRAINED),
    quarter=drop(EMBEDDING, MLP, EARLY).on(MIDDLE_STEP),
    cites=PAPER,
)
def test_embedding_motif_still_grows_after_a_quarter_of_the_run(end, quarter):
    assert end - quarter > MIN_EFFECT


@claim("the motif is local to the early layers after a quarter of the run", cites=PAPER)
@pytest.mark.parametrize(
    ("early", "mid", "late"),
    [
        pytest.param(*(drop(family, sub, band).on(MIDDLE_STEP) for band in (EARLY, MID, LATE)), id=f"{family}-{sub}")
        for family, sub in ((EMBEDDING, MLP), (CURRENT, ATTN), (CURRENT, MLP))
    ],
)
def test_motif_is_early_after_a_quarter_of_the_run(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(
    late=drop(OLDER, ATTN, LATE).on(MIDDLE_STEP),
    mid=drop(OLDER, ATTN, MID).on(MIDDLE_STEP),
    cites=PAPER,
)
def test_older_motif_is_late_after_a_quarter_of_the_run(late, mid):
    assert late - mid > 0
