"""Through which reads the copied word comes: paths of what early MLPs take from the embedding, on induction pairs.

The word stands earlier in the prompt, and the last position must fetch it. It can come through late attention that
reads older blocks (motif 3 of arXiv:2606.13168), or have been moved before by early attention.
"""

from attnres_core import (
    ANY,
    ATTN,
    EARLY,
    EMBEDDING,
    LATE,
    LOGIT_DIFFERENCE,
    MLP,
    OLDER,
    TRAINED,
    claim,
    donor_gap,
    interchange,
    reads,
)

OURS = "ours: which reads pass the copied word on"
SOLVED = 1  # logits between an answer and its foil, over both prompts of a pair
SOME = 0.3  # of the gap between the answers: what carries less is not how the word comes
PAIRS = {"metric": LOGIT_DIFFERENCE, "prompts": "pairs-induction"}
GAP = donor_gap().on(TRAINED, **PAIRS)


def through(readers):
    """What early MLPs take from the donor's embedding, seen by these reads alone."""
    return interchange(EMBEDDING, MLP, EARLY, via=readers).on(TRAINED, **PAIRS)


@claim(effect=through(reads(OLDER, ATTN, LATE)), gap=GAP, cites=OURS)
def test_late_attention_fetches_the_copied_word_from_older_blocks(effect, gap):
    assert gap > SOLVED
    assert effect - SOME * gap > 0


@claim(effect=through(reads(ANY, ATTN, EARLY)), gap=GAP, cites=OURS)
def test_early_attention_moves_the_copied_word(effect, gap):
    assert gap > SOLVED
    assert effect - SOME * gap > 0
