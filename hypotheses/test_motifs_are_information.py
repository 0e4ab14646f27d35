"""The motifs of arXiv:2606.13168 as missing information: the loss that the best constants in the family's place leave.

A drop also shocks what follows. Constants that were fitted on exploration to keep the loss low tell nothing of the
prompt. What they cost bounds the least possible cost from above, so that "below the margin" is rigorous; "above it"
says that the best constants found cost more, the fairest necessity to be had. They may also bring what the model
lacked, and so hide a cost. On documents of packages that no reference checkpoint was trained on.
"""

import pytest

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, OLDER, TRAINED, claim, optimal

PAPER = "arXiv:2606.13168, motifs, under constants fitted to replace them"
MIN_EFFECT = 0.02  # nats per token: 2 % perplexity, about the whole published benefit of AttnRes mixing
MOTIFS = ((EMBEDDING, MLP, EARLY), (CURRENT, ATTN, EARLY), (CURRENT, MLP, EARLY), (OLDER, ATTN, LATE))


@claim("no constant can stand in for the motif's source", cites=PAPER)
@pytest.mark.parametrize(
    "effect",
    [pytest.param(optimal(*place).on(TRAINED, prompts="unseen"), id="-".join(map(str, place))) for place in MOTIFS],
)
def test_no_constant_stands_in_for_the_motif(effect):
    assert effect > MIN_EFFECT
