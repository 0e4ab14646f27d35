"""Sites, families and bands, counted by hand and as properties; no torch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnres_core as ac
from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.delta_block import DeltaBlock
from attnres_core.models.dialects.delta_v import DeltaV
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.kimi_full import KimiFull
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.open_full import OpenFull
from attnres_core.models.dialects.open_reset import OpenReset
from attnres_core.models.dialects.schedule import Arithmetic, families, sites_of
from attnres_core.quantities.intervention import NotApplicable, resolve

E, OLD, R, C = ac.EMBEDDING, ac.OLDER, ac.RECENT, ac.CURRENT
DIALECTS = (OpenBlock, OpenFull, OpenReset, KimiBlock)
geometries = st.tuples(st.sampled_from(DIALECTS), st.integers(1, 16), st.integers(1, 8)).filter(lambda g: g[2] <= g[1])


def sources(dialect):
    return {str(site): site.sources for site in sites_of(dialect)}


def test_open_block_of_four_layers_in_two_blocks():
    assert sources(OpenBlock(4, 2)) == {
        **dict.fromkeys(("0.attn", "0.mlp", "1.attn", "1.mlp"), (E, C)),
        **dict.fromkeys(("2.attn", "2.mlp", "3.attn", "3.mlp"), (E, R, C)),
    }


def test_kimi_block_of_four_layers_in_two_blocks_reads_before_it_commits():
    assert sources(KimiBlock(4, 2)) == {
        "0.attn": (None,),
        **dict.fromkeys(("0.mlp", "1.attn", "1.mlp", "2.attn"), (E, C)),
        **dict.fromkeys(("2.mlp", "3.attn", "3.mlp", "4.final"), (E, R, C)),
    }


def test_open_full_gains_a_source_at_every_site():
    assert [len(site.sources) for site in sites_of(OpenFull(2, 1))] == [2, 3, 4, 5]


def test_kimi_full_has_a_source_a_sublayer_and_no_site_where_there_is_no_choice():
    assert sources(KimiFull(2, 4, first_is_site=False)) == {
        "0.mlp": (E, C),
        "1.attn": (E, R, C),
        "1.mlp": (E, OLD, R, C),
        "2.final": (E, OLD, OLD, R, C),
    }


def test_delta_reads_what_was_added_and_never_the_state():
    found = {str(site): site.sources for site in sites_of(Delta(2, 1))}
    assert found == {"0.mlp": (E, R), "1.attn": (E, OLD, R), "1.mlp": (E, OLD, OLD, R)}
    assert all(site.adds_to_state for site in sites_of(Delta(2, 1)))
    null = {str(site): site.sources for site in sites_of(Delta(2, 1, null_source=True))}
    assert null == {"0.attn": (ac.NULL,), **{name: (ac.NULL, *families) for name, families in found.items()}}
    assert [str(site) for site in sites_of(DeltaV(2, 1))] == ["0.mlp", "1.attn.qk", "1.attn.v", "1.mlp"]
    assert sources(DeltaV(2, 1))["1.mlp"] == (OLD, OLD, R)


def test_delta_block_s_sources_are_the_state_less_the_source_before():
    """s_1 - x, then s_2 - s_1 + x: with x = 1 and outputs of 10, 100, ... the sources are 1, 110 and 11001."""
    dialect = DeltaBlock(3, 3)
    stream = dialect.begin(1, Arithmetic(add=lambda a, b: a + b, subtract=lambda a, b: a - b))
    for place, (layer, sublayer) in enumerate(
        (layer, sublayer) for layer in range(3) for sublayer in (ac.ATTN, ac.MLP)
    ):
        dialect.before_read(stream, layer, sublayer)
        dialect.after_read(stream, layer, sublayer)
        dialect.add(stream, 10 ** (place + 1))
    assert dialect.sources(stream) == [1, 110, 11111 - 110]
    assert stream.current == 1111111


def test_the_published_shapes_of_nanogpt_have_eight_blocks():
    """16 layers by 4 sublayers, 32 by 8."""
    for layers, size in ((16, 2), (32, 4)):
        dialect = KimiBlock(layers, 8, block_layers=size)
        assert [len(site.sources) for site in sites_of(dialect)][1 :: 2 * size] == list(range(2, 10))


def test_families_of_five_sources():
    assert families(5) == (E, OLD, OLD, R, C)


def test_28_layers_and_8_blocks_give_7_groups_of_4():
    assert OpenBlock(28, 8).layers_per_block == 4
    assert [len(site.sources) for site in sites_of(OpenBlock(28, 8))][::2] == [2 + layer // 4 for layer in range(28)]


def test_structural_duplicates_are_found():
    """open_block: at a block's first attention the newest snapshot and the current source are one tensor."""
    copies = {str(site): site.copies for site in sites_of(OpenBlock(4, 2)) if site.copies}
    assert copies == {"0.attn": ((0, 1),), "2.attn": ((1, 2),)}
    assert all(site.copies for site in sites_of(OpenFull(3, 1)))
    assert not any(site.copies for site in sites_of(KimiBlock(6, 3)))


@given(geometries)
def test_families_partition_every_site(geometry):
    kind, layers, blocks = geometry
    for site in sites_of(kind(layers, blocks)):
        if len(site.sources) == 1:
            assert site.sources == (None,)
        else:
            assert site.sources[0] is E
            assert site.sources[-1] is C
            assert site.sources.count(R) == (len(site.sources) > 2)
            assert site.sources.count(OLD) == max(len(site.sources) - 3, 0)


@given(st.integers(1, 200))
def test_bands_partition_the_layers_and_the_earlier_are_larger(layers):
    bands = [band.layers(layers) for band in (ac.EARLY, ac.MID, ac.LATE)]
    assert [layer for band in bands for layer in band] == list(ac.ALL.layers(layers))
    sizes = [len(band) for band in bands]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[2] <= 1


@given(geometries, st.sampled_from((E, OLD, R, C)), st.sampled_from((ac.ATTN, ac.MLP)))
def test_drops_of_all_layers_split_into_drops_by_band(geometry, family, sublayer):
    kind, layers, blocks = geometry
    sites = sites_of(kind(layers, blocks))

    def touched(band):
        try:
            return resolve(ac.drop(family, sublayer, band), sites, layers).touched
        except NotApplicable:
            return ()

    assert touched(ac.ALL) == touched(ac.EARLY) + touched(ac.MID) + touched(ac.LATE)


def test_equal_requests_are_one_intervention():
    sites = sites_of(OpenBlock(12, 4))
    by_band = resolve(ac.drop(E, ac.MLP, ac.EARLY), sites, 12)
    assert by_band.key == resolve(ac.drop("embedding", "mlp", range(0, 4)), sites, 12).key
    assert by_band.key != resolve(ac.drop(C, ac.MLP, ac.EARLY), sites, 12).key


def test_family_without_a_site_is_not_applicable():
    with pytest.raises(NotApplicable, match="no attn site in the early band has a source of the family `older`"):
        resolve(ac.drop(OLD, ac.ATTN, ac.EARLY), sites_of(OpenBlock(12, 4)), 12)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: ac.drop("embeding", ac.MLP), "`family` is 'embeding'; allowed: EMBEDDING \\('embedding'\\), CURRENT"),
        (lambda: ac.drop(E, "ffn"), "`sublayer` is 'ffn'; allowed: ATTN"),
        (lambda: ac.drop(E, ac.MLP, "first"), "`layers` is 'first'; allowed: EARLY"),
        (lambda: ac.drop(E, ac.MLP, range(3, 3)), "`layers` is range\\(3, 3\\); give a non-empty range"),
        (lambda: ac.drop(E, ac.FINAL, ac.LATE), "the read-out \\(FINAL\\) is one site: leave `layers` out"),
        (lambda: ac.drop(E, ac.MLP).on("train"), "`role` is 'train'; allowed: TRAINED"),
        (lambda: ac.drop(E, ac.MLP).on(ac.TRAINED, metric="nll"), "`metric` is 'nll'; allowed: DELTA_NLL"),
        (lambda: ac.most_massive(ac.MLP, rank=5), "`rank` is 5; allowed: 0"),
    ],
)
def test_misspelt_requests_are_errors_that_list_what_is_allowed(request_, message):
    with pytest.raises(ValueError, match=message):
        request_()


def test_layers_beyond_the_model_are_an_error():
    with pytest.raises(ValueError, match="`layers` is range\\(10, 14\\); this model has layers 0 to 11"):
        resolve(ac.drop(E, ac.MLP, range(10, 14)), sites_of(OpenBlock(12, 4)), 12)
