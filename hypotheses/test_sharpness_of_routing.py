"""How sharp depth weights are: by sublayer (arXiv:2603.15031) and by depth (arXiv:2605.18855).

Deep sites have more sources, so their largest weight falls by counting alone. Both claims about depth are therefore
stated against the weight that a uniform read gives each source.
"""

import pytest

from attnres_core import ATTN, CURRENT, EARLY, LATE, MLP, TRAINED, claim, entropy, peak, uniform_mass

PAPER = "arXiv:2603.15031, pre-MLP routing is sharper"
DELTA = "arXiv:2605.18855, the largest depth weight collapses with depth"
NEARLY_UNIFORM = 2  # times the uniform weight: the paper's .2 among some ten sources


@claim(attention=entropy(ATTN).on(TRAINED), mlp=entropy(MLP).on(TRAINED), cites=PAPER)
def test_mlp_reads_sharper_than_attention(attention, mlp):
    assert attention - mlp > 0


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
def test_largest_weight_falls_with_depth(early, late, early_null, late_null):
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
