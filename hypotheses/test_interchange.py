"""What late reads take from the prompt: interchanges on pairs that differ in one token and in their answer.

Half of the gap, 0.5, would be "most of it"; a fifth is what we would still call a part. The tasks are those of the five that
both reference checkpoints solve on half of the exploration pairs or more; on confirmation `gap > 1` decides it.
"""

import pytest

from attnres_core import (
    ALL_SITES,
    ANY,
    ATTN,
    EARLY,
    EMBEDDING,
    LATE,
    LOGIT_DIFFERENCE,
    MLP,
    OLDER,
    TRAINED,
    UNTRAINED,
    WEIGHTS,
    claim,
    donor_gap,
    interchange,
    placebo,
    reads,
)

OURS = "ours: what older -> late attention (arXiv:2606.13168) carries"
SOLVED = 1  # logits: the clean model prefers the answer to the donor's by half of it
MOST, SOME, LITTLE = 0.5, 0.3, 0.2  # shares of the gap between both answers
NOTHING = 0.05


def moved(what, task, role=TRAINED):
    """How far an interchange on a task's pairs moves the answer towards the donor's, in logits."""
    return what.on(role, metric=LOGIT_DIFFERENCE, prompts=f"pairs-{task}")


def cases(**requests):
    """A case for each task, with the gap beside what is asked for."""
    names = ("gap", *requests)
    tasks = ("closing", "underline", "induction", "assigned", "described")
    return names, [
        pytest.param(moved(donor_gap(), task), *(moved(what, task) for what in requests.values()), id=task)
        for task in tasks
    ]


@claim("states carry the answer, and routing decisions do not", cites=OURS)
@pytest.mark.parametrize(*cases(states=interchange(ANY, ALL_SITES), weights=interchange(ANY, ALL_SITES, part=WEIGHTS)))
def test_states_carry_the_answer_and_weights_do_not(gap, states, weights):
    assert gap > SOLVED
    assert states - MOST * gap > 0
    assert weights - LITTLE * gap < 0
    assert weights + LITTLE * gap > 0
