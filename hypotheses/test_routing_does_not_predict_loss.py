"""The null claim of arXiv:2605.09850: routing summaries carry no stable signal for calibration.

The loss of a document stands in for calibration, which no prompt has a number of: over documents of all packages
pooled, the rank correlation of a summary of a document's depth weights with its loss is small in each third of the
layers (over all layers at once, thirds of opposite signs would cancel). The report gives a permutation test's p-value
beside, with documents shuffled within packages.
"""

import pytest

from attnres_core import ATTN, EARLY, LATE, MID, MLP, TRAINED, claim, entropy, peak, summary_and_loss

PAPER = "arXiv:2605.09850, routing summaries carry no stable signal"
NO_SIGNAL = 0.3  # 9 % of the variance of ranks: what 256 documents can tell from 0, with limits .2 to either side


def _correlations(summary):
    """Of both sublayers, each in the three bands."""
    return [
        pytest.param(
            *(summary_and_loss("spearman", summary(sub, band)).on(TRAINED) for band in (EARLY, MID, LATE)), id=sub
        )
        for sub in (ATTN, MLP)
    ]


@claim("the entropy of depth weights does not predict a document's loss", cites=PAPER)
@pytest.mark.parametrize(("early", "mid", "late"), _correlations(entropy))
def test_entropy_does_not_predict_loss(early, mid, late):
    assert abs(early) < NO_SIGNAL
    assert abs(mid) < NO_SIGNAL
    assert abs(late) < NO_SIGNAL


@claim("the largest depth weight does not predict a document's loss", cites=PAPER)
@pytest.mark.parametrize(("early", "mid", "late"), _correlations(peak))
def test_largest_weight_does_not_predict_loss(early, mid, late):
    assert abs(early) < NO_SIGNAL
    assert abs(mid) < NO_SIGNAL
    assert abs(late) < NO_SIGNAL
