"""The motifs site by site: one layer's site is ablated at a time, and the effects averaged over the band's layers.

Bands differ in their numbers of sites and sources, so dropping a family from a whole band compares unlike things. These
contrasts do not: an average site here against an average site elsewhere. The report lists every layer's own effect.
"""

from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MID, MLP, OLDER, TRAINED, claim, drop

PAPER = "arXiv:2606.13168, the motifs layer by layer"


def _per_site(family, sublayer, band):
    return drop(family, sublayer, band, per_site=True).on(TRAINED)


@claim(
    early=_per_site(EMBEDDING, MLP, EARLY),
    mid=_per_site(EMBEDDING, MLP, MID),
    late=_per_site(EMBEDDING, MLP, LATE),
    cites=PAPER,
)
def test_an_early_mlp_site_needs_the_embedding_more_than_a_later_one(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(
    early=_per_site(CURRENT, ATTN, EARLY),
    mid=_per_site(CURRENT, ATTN, MID),
    late=_per_site(CURRENT, ATTN, LATE),
    cites=PAPER,
)
def test_an_early_attention_site_needs_the_current_state_more_than_a_later_one(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(
    early=_per_site(CURRENT, MLP, EARLY),
    mid=_per_site(CURRENT, MLP, MID),
    late=_per_site(CURRENT, MLP, LATE),
    cites=PAPER,
)
def test_an_early_mlp_site_needs_the_current_state_more_than_a_later_one(early, mid, late):
    assert early - mid > 0
    assert early - late > 0


@claim(late=_per_site(OLDER, ATTN, LATE), mid=_per_site(OLDER, ATTN, MID), cites=PAPER)
def test_a_late_attention_site_needs_older_blocks_more_than_a_middle_one(late, mid):
    assert late - mid > 0
