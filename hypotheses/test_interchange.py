"""What reads take from the prompt: interchanges on pairs of prompts that differ in one token and in their answer.

The tasks are the six that both reference checkpoints solve on some of the exploration pairs (`default` on 22 of 96, the
others on half or more; explored pairs are those that are solved, confirmation pairs are all that were drawn). That a
task is solved is stated with each claim. A path that carries less
than three tenths of the answer is not how it comes; weights may have a fifth, and routing would still decide little.
"""

import pytest

from attnres_core import (
    ALL_SITES,
    ANY,
    ATTN,
    BOTH,
    LATE,
    LOGIT_DIFFERENCE,
    OLDER,
    TRAINED,
    UNTRAINED,
    WEIGHTS,
    claim,
    donor_gap,
    interchange,
    placebo,
)

OURS = "ours: what reads take from the prompt"
SOLVED = 1  # logits between an answer and its foil, over both prompts of a pair
MOST, SOME, LITTLE, NOTHING = 0.8, 0.3, 0.2, 0.05  # shares of the gap between the answers


def moved(what, task, role=TRAINED):
    """How far the answer moves towards the donor's, on a task's pairs."""
    return what.on(role, metric=LOGIT_DIFFERENCE, prompts=f"pairs-{task}")


def cases(*tasks, **requests):
    """One case a task: the gap, and what is asked for."""
    every = {"gap": donor_gap(), **requests}
    return list(every), [pytest.param(*(moved(what, task) for what in every.values()), id=task) for task in tasks]


@claim("states carry the answer, and routing decisions do not", cites=OURS)
@pytest.mark.parametrize(
    *cases(
        *("closing", "underline", "induction", "assigned", "described", "default"),
        states=interchange(ANY, ALL_SITES),
        weights=interchange(ANY, ALL_SITES, part=WEIGHTS),
    )
)
def test_states_carry_the_answer_and_weights_do_not(gap, states, weights):
    assert gap > SOLVED
    assert states - MOST * gap > 0
    assert weights - LITTLE * gap < 0
    assert weights + LITTLE * gap > 0


@claim("older blocks that late attention reads carry the copied word", cites=OURS)
@pytest.mark.parametrize(*cases("induction", "assigned", "described", effect=interchange(OLDER, ATTN, LATE)))
def test_older_blocks_carry_the_copied_word(gap, effect):
    assert gap > SOLVED
    assert effect - SOME * gap > 0


@claim(
    "a donor with the same answer moves it by nothing",
    gap=moved(donor_gap(), "induction"),
    same=moved(placebo(interchange(ANY, ALL_SITES)), "induction"),
    family="control",
)
def test_a_donor_with_the_same_answer_moves_nothing(gap, same):
    assert same - NOTHING * gap < 0
    assert same + NOTHING * gap > 0


@claim(
    "another filler word in older blocks moves the answer by nothing",
    gap=moved(donor_gap(), "induction"),
    same=moved(placebo(interchange(OLDER, ATTN, LATE)), "induction"),
    family="control",
)
def test_another_filler_in_older_blocks_moves_nothing(gap, same):
    assert same - NOTHING * gap < 0
    assert same + NOTHING * gap > 0


@claim(
    "states and weights of all sources together are the donor's whole run",
    gap=moved(donor_gap(), "induction"),
    both=moved(interchange(ANY, ALL_SITES, part=BOTH), "induction"),
    family="control",
)
def test_the_full_swap_moves_the_whole_gap(gap, both):
    assert both - (1 - NOTHING) * gap > 0
    assert both - (1 + NOTHING) * gap < 0


@claim("the untrained model does not solve the task", gap=moved(donor_gap(), "induction", UNTRAINED), family="control")
def test_the_untrained_model_does_not_solve_the_task(gap):
    assert abs(gap) < SOLVED
