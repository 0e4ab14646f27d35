"""How sharp depth weights are: by sublayer (arXiv:2603.15031) and by depth (arXiv:2605.18855).

Sharper is lower entropy, in the middle and late thirds: the first layer's sites have one source, or the same twice, and
would decide it by counting. Where a block begins, attention may have a source fewer than the MLP of its layer; that
tells against the claim. The fall with depth is stated as published, where deep sites have more sources, and again with
that taken off; the collapse is less than twice the uniform weight, under what logits of standard deviation 1 give.
"""

import pytest

from attnres_core import ATTN, CURRENT, EARLY, LATE, MID, MLP, TRAINED, claim, entropy, peak, uniform_mass

PAPER = "arXiv:2603.15031, pre-MLP routing is sharper"
DELTA = "arXiv:2605.18855, the largest depth weight collapses with depth"
NEARLY_UNIFORM = 2  # times the uniform weight


@claim(
    mid_attention=entropy(ATTN, MID).on(TRAINED),
    late_attention=entropy(ATTN, LATE).on(TRAINED),
    mid_mlp=entropy(MLP, MID).on(TRAINED),
    late_mlp=entropy(MLP, LATE).on(TRAINED),
    cites=PAPER,
)
def test_mlp_reads_sharper_than_attention(mid_attention, late_attention, mid_mlp, late_mlp):
    assert mid_attention - mid_mlp > 0
    assert late_attention - late_mlp > 0


@claim("the largest depth weight falls with depth", cites=DELTA)
@pytest.mark.parametrize(
    ("early", "late"),
    [pytest.param(*(peak(sub, band).on(TRAINED) for band in (EARLY, LATE)), id=sub) for sub in (ATTN, MLP)],
)
def test_largest_weight_falls_with_depth(early, late):
    assert early - late > 0


@claim("the largest depth weight falls with depth by more than counting sources takes it down", cites=DELTA)
@pytest.mark.parametrize(
    ("early", "late", "early_null", "late_null"),
    [
        pytest.param(
            *(peak(sub, band).on(TRAINED) for band in (EARLY, LATE)),
            *(uniform_mass(CURRENT, sub, band).on(TRAINED) for band in (EARLY, LATE)),
            id=sub,
        )
        for sub in (ATTN, MLP)
    ],
)
def test_largest_weight_falls_by_more_than_counting(early, late, early_null, late_null):
    assert (early - early_null) - (late - late_null) > 0


@claim("the largest depth weight of late layers has collapsed to less than twice the uniform weight", cites=DELTA)
@pytest.mark.parametrize(
    ("late", "null"),
    [
        pytest.param(peak(sub, LATE).on(TRAINED), uniform_mass(CURRENT, sub, LATE).on(TRAINED), id=sub)
        for sub in (ATTN, MLP)
    ],
)
def test_largest_weight_of_late_layers_is_nearly_uniform(late, null):
    assert late - NEARLY_UNIFORM * null < 0
