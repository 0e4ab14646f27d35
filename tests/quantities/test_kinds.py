"""Kinds of ablation and their controls: equal to a plain, slow reference on every dialect; metamorphic properties."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkpoint_copies import DIALECTS
from support.every_kind import REMOVALS, applicable, donors_of, newest, scores
from support.naive import Naive
from support.random_models import models, wrapped_model

import attnres_core as ac
from attnres_core.models.networks.overrides import Overrides
from attnres_core.models.networks.reference_states import Reference
from attnres_core.quantities.intervention import NotApplicable, resolve
from attnres_core.quantities.vocabulary import Family, Site, Sublayer

FOLDERS = ("vanilla_21", *DIALECTS)


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 96, (n,), generator=generator).tolist() for n in (8, 5, 2)]


@pytest.fixture(scope="module")
def reference():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 96, (n,), generator=generator).tolist() for n in (7, 4, 7)]


@pytest.fixture(scope="module", params=FOLDERS)
def model(request, conformance):
    wrap = {"wrap": 3.0, "num_blocks": 3} if request.param == "vanilla_21" else {}
    return ac.load_model(conformance / request.param, **wrap)


def test_the_sweep_equals_a_plain_slow_reference(model, prompts, reference, monkeypatch):
    """All kinds together in one sweep, in chunks whose groups mix them, against one full forward each."""
    naive = Naive(model, reference, monkeypatch)
    every = applicable(model)
    assert len(every) > 25
    wanted = [what.on(ac.TRAINED, metric=metric) for what in every for metric in (ac.DELTA_NLL, ac.KL)]
    columns = ac.measure(model, prompts, wanted, reference=reference, donors=donors_of(prompts, model), chunk=2)
    moved = 0
    for what in every:
        for row, tokens in enumerate(prompts):
            clean = naive.run(tokens, None)[0]
            each = [scores(clean, naive.logits(tokens, what, draw), tokens) for draw in range(what.draws)]
            rise, kl = np.mean(each, axis=0)
            assert columns[what.on(ac.TRAINED)][row] == pytest.approx(rise, abs=1e-5), what
            assert columns[what.on(ac.TRAINED, metric=ac.KL)][row] == pytest.approx(kl, abs=1e-5), what
            moved += abs(rise) > 1e-4
    assert moved > len(every)  # (so that agreement means something)


def test_logits_equal_a_plain_slow_reference(model, prompts, reference, monkeypatch):
    """With padding on the left, too: what stands in for a source follows the tokens, not the columns."""
    naive = Naive(model, reference, monkeypatch)
    width = max(map(len, prompts)) + 2
    ids, mask = torch.full((len(prompts), width), 3), torch.zeros(len(prompts), width, dtype=torch.long)
    for row, tokens in enumerate(prompts):
        ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(tokens), 1
    for what in applicable(model):
        if what.draws > 1 or what.kind.spec.whole or what.via:  # (who reads what is changed depends on no position)
            continue
        found = model.logits(ids, mask, what, reference=reference, donors=donors_of(prompts, model))
        for row, tokens in enumerate(prompts):
            expected = naive.logits(tokens, what)
            assert torch.allclose(found[row, width - len(tokens) :], expected, atol=2e-4), what


def test_records_say_what_was_touched_and_how_much_stayed(model, prompts, reference):
    columns = ac.measure(model, prompts, applicable(model), reference=reference, donors=donors_of(prompts, model))
    for what in columns:
        assert columns.record(what).sites or what.kind.spec.whole
        assert -1e-6 <= columns.record(what).kept_mass_min <= columns.record(what).kept_mass <= 1 + 1e-6


# Properties -----------------------------------------------------------------------------------------------------------

rows = st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=7), min_size=2, max_size=4)
families, sublayers = st.sampled_from(Family), st.sampled_from((Sublayer.ATTN, Sublayer.MLP))
kinds = st.sampled_from(REMOVALS)


def measured(model, prompts, *wanted, **options):
    """Columns, or None where the model has no such site."""
    try:
        return ac.measure(model, prompts, wanted, **options)
    except (NotApplicable, ValueError):
        return None


@settings(max_examples=20)
@given(models, rows, families, sublayers)
def test_keeping_everything_is_the_identity(model, prompts, family, sublayer):
    everything = ac.EMBEDDING & ac.CURRENT & ac.RECENT & ac.OLDER
    columns = measured(model, prompts, ac.keep(everything, sublayer))
    assert columns is None or np.abs(columns[ac.keep(everything, sublayer)]).max() < 1e-5


@settings(max_examples=20)
@given(models, rows, families, sublayers)
def test_zero_is_drop_up_to_the_epsilon_of_the_norm(model, prompts, family, sublayer):
    drop, zero = ac.drop(family, sublayer), ac.zero(family, sublayer)
    columns = measured(model, prompts, drop, zero)
    if columns is not None and columns.record(drop).kept_mass_min > 0.01:
        assert columns[zero] == pytest.approx(columns[drop], abs=1e-3)


@settings(max_examples=20)
@given(models, st.lists(st.integers(0, 12), min_size=2, max_size=7), families, sublayers, st.booleans())
def test_the_mean_over_the_prompt_itself_is_the_identity(model, prompt, family, sublayer, recomputed):
    what = ac.mean(family, sublayer, recomputed=recomputed)
    columns = measured(model, [prompt, prompt], what, reference=[prompt])
    assert columns is None or np.abs(columns[what]).max() < 1e-5


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(0, 999), rows, sublayers, st.floats(0, 10))
def test_average_and_schedule_on_a_wrapped_model_are_the_identity(layers, seed, prompts, sublayer, bias):
    model = wrapped_model(layers, layers, seed, bias)
    same = (ac.average(sublayer), ac.schedule(sublayer, bias=bias), ac.shuffle(sublayer))
    for column in ac.measure(model, [[1, 2, 3], *prompts], same, reference=[[4, 5], [6, 7, 8]]).values():
        assert np.abs(column).max() < 1e-5


@settings(max_examples=20)
@given(models, rows, families, sublayers)
def test_amplifying_by_nothing_is_the_identity_and_by_minus_much_is_drop(model, prompts, family, sublayer):
    same, gone = ac.amplify(family, sublayer, by=0), ac.amplify(family, sublayer, by=-80)
    columns = measured(model, prompts, same, gone, ac.drop(family, sublayer))
    if columns is not None:
        assert np.abs(columns[same]).max() < 1e-5
        assert columns[gone] == pytest.approx(columns[ac.drop(family, sublayer)], abs=1e-4)


@settings(max_examples=20)
@given(models, rows, st.permutations(list(Family)), sublayers, st.data())
def test_the_order_of_composition_does_not_matter(model, prompts, order, sublayer, data):
    """Different kinds on different families of the same sites, acting in either order on one run."""
    made = [data.draw(kinds)(order[0], sublayer), data.draw(kinds)(order[1], sublayer)]
    made = [ac.resample(what.family, sublayer, draws=1) if what.draws > 1 else what for what in made]
    others = [[5, 5, 5, 5, 5, 5, 5], [6, 7, 8]]
    try:
        ids = torch.tensor([prompts[0]])
        expected = model.logits(ids, ablation=made, reference=others)
    except (NotApplicable, ValueError):
        return
    assert torch.equal(expected, model.logits(ids, ablation=made[::-1], reference=others))
    together = [resolve(what, model.sites, model.num_layers) for what in made]
    for acting in (together, together[::-1]):  # as they are given, not sorted before
        overrides = Overrides(
            [acting], [prompts[0]], torch.arange(ids.shape[1])[None], Reference(model.network, others)
        )
        network = model.network
        with torch.inference_mode():
            hidden = network.run(network.begin(ids), network.prepare(ids), overrides=overrides)
            assert torch.allclose(network.unembed(hidden), expected, atol=1e-4)


@settings(max_examples=20)
@given(models, rows, st.randoms(use_true_random=False), st.integers(1, 4), kinds, families, sublayers)
def test_no_kind_depends_on_order_company_or_chunks(model, prompts, shuffler, chunk, kind, family, sublayer):
    """Random choices belong to a prompt, not to its place in a batch."""
    others = [[5, 5, 5, 5, 5, 5, 5], [6, 7, 8], [9, 10]]
    what = kind(family, sublayer)
    wanted = [what, *(make(what) for make in (ac.matched_mass, ac.matched_count)), ac.shuffle(sublayer)]
    columns = measured(model, prompts, *wanted, reference=others)
    if columns is None:
        return
    order = list(range(len(prompts)))
    shuffler.shuffle(order)
    company = [ac.uniform(sublayer), *wanted[::-1], ac.resample(family, sublayer, recomputed=True)]
    moved = ac.measure(model, [[1, 2], *(prompts[i] for i in order)], company, reference=others, chunk=chunk)
    for one in wanted:
        assert moved[one][1:] == pytest.approx(columns[one][order], abs=1e-5)


@settings(max_examples=20)
@given(models, rows, families, sublayers)
def test_a_matched_control_takes_the_same_mass_where_the_others_have_it(model, prompts, family, sublayer):
    for layer in range(model.num_layers):  # one site alone: its weights are the clean run's
        here = ac.drop(family, sublayer, range(layer, layer + 1))
        columns = measured(model, prompts, here, ac.matched_mass(here))
        if columns is None:
            continue
        kept, control = columns.record(here).kept_mass_min, columns.record(ac.matched_mass(here)).kept_mass_min
        if kept > 0.5:  # at every token, the others have as much
            assert control == pytest.approx(kept, abs=1e-5)
            assert columns.record(ac.matched_mass(here)).kept_mass == pytest.approx(
                columns.record(here).kept_mass, abs=1e-5
            )


# By hand, and what is refused ---------------------------------------------------------------------------------------


def test_no_prompt_is_its_own_partner_and_draws_differ(model, reference):
    given_ = Reference(model.network, reference)
    for own, tokens in enumerate(reference):
        partners = [given_.partner(tokens, draw) for draw in range(2)]
        assert own not in partners
        if len(tokens) == 4:  # both others are long enough
            assert len(set(partners)) == 2
    assert {given_.partner([1] * 6, draw) for draw in range(4)} == {0, 2}  # of at least its length
    with pytest.raises(ValueError, match="no other prompt to take"):
        Reference(model.network, reference[:1]).partner(reference[0], 0)


def test_copies_are_one_source(conformance):
    """At a block's first attention the current source is the newest snapshot: taking both leaves none of it."""
    model = ac.load_model(conformance / "open_block_11")
    alone, both = ac.drop(ac.CURRENT, ac.ATTN), ac.drop(ac.CURRENT, ac.ATTN, copies=True)
    before, after = (resolve(what, model.sites, model.num_layers) for what in (alone, both))
    assert before.duplicates
    assert not after.duplicates
    assert all(len(indices) < len(site.sources) for site, indices in after.touched)
    assert {str(s) for s, _ in before.touched} - {str(s) for s, _ in after.touched} == set(before.no_ops)


def test_random_sites_are_elsewhere_and_the_same_for_every_kind(conformance):
    model = ac.load_model(conformance / "open_block_11")
    drawn_sites = []
    for kind in REMOVALS:
        base = kind(ac.CURRENT, ac.MLP, ac.LATE)
        own, control = (resolve(what, model.sites, model.num_layers) for what in (base, ac.random_sites(base)))
        assert len(control.sites) == len(own.sites)
        assert not {site.layer for site, _ in own.touched} & {site.layer for site, _ in control.touched}
        assert all(site.sublayer is ac.MLP for site, _ in control.touched)
        drawn_sites.append(control.sites)
    assert len(set(drawn_sites)) == 1
    draws = {resolve(ac.random_sites(base), model.sites, model.num_layers, draw).sites for draw in range(8)}
    assert len(draws) > 1
    attention = ac.random_sites(ac.drop(ac.CURRENT, ac.ATTN, ac.LATE))
    for draw in range(8):  # where all sources are one tensor nothing could be controlled
        assert "0.attn" not in resolve(attention, model.sites, model.num_layers, draw).sites


def test_random_sources_are_as_many_at_each_site_and_the_same_for_every_kind(conformance):
    model = ac.load_model(conformance / "nanogpt_31")
    base, found = ac.drop(ac.NONRECENT, ac.ALL_SUBLAYERS), []
    own = resolve(base, model.sites, model.num_layers).touched
    for draw in range(20):
        masks = {
            resolve(
                ac.random_sources(dataclasses.replace(base, kind=kind(ac.OLDER, ac.MLP).kind)), *where, draw
            ).touched
            for kind in REMOVALS
            for where in [(model.sites, model.num_layers)]
        }
        (mask,) = masks
        assert [(site, len(taken)) for site, taken in mask] == [(site, len(taken)) for site, taken in own]
        assert not any(site.sources[index] is ac.CURRENT for site, taken in mask for index in taken)
        found.append(mask)
    assert len(set(found)) == 20
    for place, (site, _) in enumerate(own):  # every source that is not the current state has its turn
        seen = {index for mask in found for index in mask[place][1]}
        assert seen == {index for index, family in enumerate(site.sources) if family is not ac.CURRENT}


def test_random_sources_of_all_there_are_are_no_control(conformance):
    model = ac.load_model(conformance / "nanogpt_31")
    whole = ac.random_sources(ac.drop(ac.EMBEDDING & ac.RECENT & ac.OLDER, ac.MLP))
    with pytest.raises(ac.NotApplicable, match="at every site the family is all there is beside the current state"):
        resolve(whole, model.sites, model.num_layers)


def test_nonrecent_is_older_where_the_newest_block_is_a_source_of_its_own(conformance):
    """`open_block` takes its snapshot before a block's first attention reads; `kimi_block` commits its block after."""
    for name, moved in (("open_block_11", 0), ("kimi_block_14", 1), ("open_reset_12", 1)):
        model = ac.load_model(conformance / name)
        masks = (ac.drop(family, ac.ALL_SUBLAYERS) for family in (ac.NONRECENT, ac.OLDER))
        nonrecent, older = (dict(resolve(mask, model.sites, model.num_layers).touched) for mask in masks)
        differ = [site for site in nonrecent if nonrecent[site] != older.get(site, ())]
        assert bool(differ) is bool(moved), name
        assert all(site.starts_block and site.sublayer is ac.ATTN for site in differ)
        for site in differ:
            assert {site.sources[index] for index in nonrecent[site]} <= {ac.RECENT, ac.OLDER}


def test_an_adapted_model_has_no_nonrecent(conformance):
    model = ac.load_model(conformance / "kimi_block_14")
    sites = [dataclasses.replace(site, holds=()) for site in model.sites]
    with pytest.raises(ValueError, match="an adapted model's schedule is not known"):
        resolve(ac.drop(ac.NONRECENT, ac.ALL_SUBLAYERS), sites, model.num_layers)


def test_the_other_sublayer_is_the_other_sublayer(model):
    base = ac.resample(newest(model), ac.MLP, ac.LATE)
    other = resolve(ac.other_sublayer(base), model.sites, model.num_layers)
    assert {site.sublayer for site, _ in other.touched} == {ac.ATTN}
    assert ac.other_sublayer(ac.other_sublayer(base)) == base


def test_a_matched_count_takes_as_many_others(model):
    """At every row as many sources as the family has, or all the others; never the family's own."""
    tokens = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    family = ac.EMBEDDING if newest(model) is ac.CURRENT else ac.RECENT
    what = resolve(ac.matched_count(ac.drop(family, ac.MLP, ac.LATE)), model.sites, model.num_layers)
    overrides = Overrides([what], tokens, torch.arange(4).expand(3, 4))
    for site, indices in what.touched:
        bias = overrides.get(site.key).logit_bias
        assert (bias[list(indices)] == 0).all()
        expected = min(len(indices), len(site.sources) - len(indices))
        assert ((bias == -torch.inf).sum(0) == expected).all()


def test_streams_can_be_ablated_alone():
    sites = [Site(0, Sublayer.ATTN, (Family.EMBEDDING, Family.CURRENT), stream) for stream in "qkv"]
    assert resolve(ac.drop(ac.EMBEDDING, ac.ATTN), sites, 1).sites == ("0.attn.q", "0.attn.k", "0.attn.v")
    assert resolve(ac.drop(ac.EMBEDDING, ac.ATTN, stream="k"), sites, 1).sites == ("0.attn.k",)
    assert resolve(ac.uniform(ac.ATTN, stream="v"), sites, 1).sites == ("0.attn.v",)
    with pytest.raises(NotApplicable):
        resolve(ac.drop(ac.EMBEDDING, ac.ATTN, stream="x"), sites, 1)


def test_to_keep_a_family_is_to_drop_the_others(model):
    for site in model.sites:
        if site.sublayer is ac.MLP and len(set(site.sources)) == 3:
            layer = range(site.layer, site.layer + 1)
            kept = resolve(ac.keep(site.sources[-1], ac.MLP, layer), model.sites, model.num_layers)
            others = {family for family in site.sources if family is not site.sources[-1]}
            joint = ac.drop(others.pop() & others.pop(), ac.MLP, layer)
            assert kept.key == resolve(joint, model.sites, model.num_layers).key


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ac.resample(ac.OLDER, ac.MLP, draws=0), "`draws` is 0; give a whole number, at least 1"),
        (lambda: ac.amplify(ac.OLDER, ac.MLP, by=float("nan")), "`by` is nan; give a finite number"),
        (lambda: ac.schedule(ac.MLP, bias="3"), "`bias` is '3'; give a finite number"),
        (lambda: ac.matched_mass(ac.uniform(ac.MLP)), "a matched control is one of drop, zero, mean, resample"),
        (lambda: ac.matched_mass(ac.zero(ac.OLDER, ac.MLP, recomputed=True)), "nothing can be matched"),
        (lambda: ac.matched_count(ac.matched_mass(ac.drop(ac.OLDER, ac.MLP))), "is a control already"),
        (lambda: ac.other_sublayer(ac.drop(ac.OLDER, ac.FINAL)), "which has no other sublayer"),
        (lambda: ac.drop(ac.OLDER, ac.MLP).on(ac.TRAINED, at="middle"), "`at` is 'middle'; allowed: ALL"),
        (lambda: ac.drop(ac.OLDER, ac.MLP).on(ac.TRAINED, metric="logit_difference", at="last"), "leave `at` out"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([], "`reference` is empty"),
        ([1, 2], "`reference` is no list of lists"),
        ([[1, 2000]], "prompt 0 of `reference` holds token id 2000"),
    ],
)
def test_reference_prompts_that_cannot_be_read_are_refused(conformance, given_, message):
    model = ac.load_model(conformance / "kimi_block_14")
    with pytest.raises(ValueError, match=message):
        model.logits(torch.tensor([[1, 2, 3]]), ablation=ac.mean(ac.CURRENT, ac.MLP), reference=given_)


def test_a_row_of_padding_alone_harms_no_other(model, reference):
    ids, mask = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[1, 1, 1], [0, 0, 0]])
    family = newest(model)
    for what in (ac.matched_mass(ac.drop(family, ac.MLP, ac.LATE)), ac.shuffle(ac.MLP), ac.mean(family, ac.MLP)):
        alone = model.logits(ids[:1], ablation=what, reference=reference)
        assert torch.allclose(model.logits(ids, mask, what, reference=reference)[:1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("ablation", "message"),
    [
        (ac.mean(ac.CURRENT, ac.MLP), "`mean` needs reference prompts; pass reference="),
        (ac.resample(ac.CURRENT, ac.MLP), "averages several runs; give draws=1"),
        ([ac.drop(ac.CURRENT, ac.MLP), ac.zero(ac.CURRENT, ac.MLP)], "is ablated twice"),
        ([ac.drop(ac.CURRENT, ac.MLP), ac.zero(ac.EMBEDDING, ac.MLP)], "together they would leave no source at 0.mlp"),
        (
            ac.matched_mass(ac.drop(ac.CURRENT & ac.EMBEDDING, ac.MLP, ac.EARLY)),
            "finds no other source to take from at",
        ),
        (ac.drop(ac.CURRENT & ac.EMBEDDING, ac.MLP, ac.EARLY), "would leave no source at"),
        ([ac.matched_mass(ac.drop(ac.CURRENT, ac.MLP)), ac.zero(ac.EMBEDDING, ac.MLP)], "acts with others at 0.mlp"),
    ],
)
def test_what_a_model_cannot_do_is_refused(conformance, ablation, message):
    with pytest.raises(ValueError, match=message):
        ac.load_model(conformance / "kimi_block_14").logits(torch.tensor([[1, 2, 3]]), ablation=ablation)
