"""The null claim of arXiv:2605.09850: summaries of routing carry no signal of how well a prompt is predicted.

Stated over documents: the rank correlation of a summary of a document's depth weights with its loss is so small that
the summary explains less than a tenth of how losses are ordered. The report gives a permutation test's p-value beside.
"""

import pytest

from attnres_core import ATTN, MLP, TRAINED, claim, entropy, peak, summary_and_loss

PAPER = "arXiv:2605.09850, routing summaries carry no stable signal"
NO_SIGNAL = 0.3  # 9 % of the variance of ranks; 256 documents tell some .2 from 0 at this suite's error shares


@claim("the entropy of depth weights does not predict a document's loss", cites=PAPER)
@pytest.mark.parametrize(
    "correlation", [pytest.param(summary_and_loss("spearman", entropy(sub)).on(TRAINED), id=sub) for sub in (ATTN, MLP)]
)
def test_entropy_does_not_predict_loss(correlation):
    assert abs(correlation) < NO_SIGNAL


@claim("the largest depth weight does not predict a document's loss", cites=PAPER)
@pytest.mark.parametrize(
    "correlation", [pytest.param(summary_and_loss("spearman", peak(sub)).on(TRAINED), id=sub) for sub in (ATTN, MLP)]
)
def test_largest_weight_does_not_predict_loss(correlation):
    assert abs(correlation) < NO_SIGNAL
