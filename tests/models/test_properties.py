"""Properties over random geometries, models and prompts: bands, families, renormalising, padding, batching."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.every_kind import applicable, donors_of
from support.random_models import dialects, every_model, inkling2_models, models, prompts, random_model, wrapped_models

import attnres_core as ac
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import sites_of
from attnres_core.models.networks.reference_states import Reference
from attnres_core.prompts import Pairs
from attnres_core.quantities.intervention import SHAM, NotApplicable, drawn, resolve
from attnres_core.quantities.vocabulary import Band, Family, Sublayer

families, sublayers = st.sampled_from(Family), st.sampled_from((Sublayer.ATTN, Sublayer.MLP))


def drop_that_applies(model, data):
    """Some drop that this model has sites for."""
    choices = []
    for family in Family:
        for sublayer in (Sublayer.ATTN, Sublayer.MLP):
            for band in Band:
                try:
                    resolve(ac.drop(family, sublayer, band), model.sites, model.num_layers)
                except NotApplicable:
                    continue
                choices.append(ac.drop(family, sublayer, band))
    return data.draw(st.sampled_from(choices)) if choices else None


@given(st.integers(1, 200))
def test_bands_partition_the_layers_and_earlier_ones_take_the_extra(layers):
    bands = [list(band.layers(layers)) for band in (Band.EARLY, Band.MID, Band.LATE)]
    assert [layer for band in bands for layer in band] == list(Band.ALL.layers(layers)) == list(range(layers))
    sizes = [len(band) for band in bands]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[2] <= 1


@given(dialects)
def test_families_partition_the_sources_of_every_site(dialect):
    for site in sites_of(dialect):
        if len(site.sources) == 1:
            assert site.sources == (None,)
            continue
        assert (site.sources[0], site.sources[-1]) == (Family.EMBEDDING, Family.CURRENT)
        inner = site.sources[1:-1]
        assert inner == (Family.OLDER,) * (len(inner) - 1) + (Family.RECENT,) * min(1, len(inner))


@given(dialects, families, sublayers, st.sampled_from(Band))
def test_an_intervention_drops_a_family_and_only_that(dialect, family, sublayer, band):
    sites = sites_of(dialect)
    addressed = [s for s in sites if s.sublayer is sublayer and s.layer in band.layers(dialect.num_layers)]
    try:
        found = dict(resolve(ac.drop(family, sublayer, band), sites, dialect.num_layers).touched)
    except NotApplicable:
        assert not any(family in site.sources for site in addressed)
        return
    assert found.keys() == {site for site in addressed if family in site.sources}
    for site, indices in found.items():
        assert [site.sources[index] for index in indices] == [family] * site.sources.count(family)
    layers = [i.first_layer for i in resolve(ac.drop(family, sublayer, band), sites, dialect.num_layers).by_layer()]
    assert layers == sorted({site.layer for site in found})


@settings(max_examples=25)
@given(models, prompts, st.data())
def test_weights_sum_to_one_and_a_drop_renormalises_what_is_kept(model, rows, data):
    drop = drop_that_applies(model, data)
    if drop is None:
        return
    ids = torch.tensor([row[:2] for row in rows])
    natural, ablated = model.depth_weights(ids), model.depth_weights(ids, ablation=drop)
    dropped = dict(resolve(drop, model.sites, model.num_layers).touched)
    first = next(iter(dropped))
    for site, weights in ablated.items():
        assert weights.sum(0) == pytest.approx(1, abs=1e-5)
        for index in dropped.get(site, ()):
            assert weights[index].abs().max() == 0
    kept = [index for index in range(len(first.sources)) if index not in dropped[first]]  # only there are inputs clean
    expected = natural[first][kept] / natural[first][kept].sum(0)
    assert torch.allclose(ablated[first][kept], expected, atol=1e-4)


@settings(max_examples=25)
@given(every_model, prompts, st.booleans(), st.data())
def test_padding_on_either_side_changes_no_real_position(model, rows, left, data):
    drop = drop_that_applies(model, data)
    width = max(map(len, rows)) + data.draw(st.integers(0, 3))
    ids = torch.full((len(rows), width), 5)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, where], mask[index, where] = torch.tensor(row), 1
    padded, weights = model.logits(ids, mask, drop), model.depth_weights(ids, mask, drop)
    for index, row in enumerate(rows):
        alone = torch.tensor([row])
        real = mask[index].bool()
        assert torch.allclose(padded[index, real], model.logits(alone, ablation=drop)[0], atol=1e-4)
        for site, own in model.depth_weights(alone, ablation=drop).items():
            assert torch.allclose(weights[site][:, index, real], own[:, 0], atol=1e-5)


@settings(max_examples=25)
@given(models, prompts, st.randoms(use_true_random=False), st.integers(1, 4), st.data())
def test_columns_do_not_depend_on_order_company_or_chunks(model, rows, shuffler, chunk, data):
    drop = drop_that_applies(model, data)
    wanted = [w for w in (drop, ac.entropy(ac.MLP)) if w is not None]
    try:
        columns = ac.measure(model, rows, wanted)
    except NotApplicable:  # a model of one source everywhere has no entropy
        return
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    others = [[1, 2, 3], *[rows[index] for index in order]]
    company = [*wanted, ac.drop(ac.EMBEDDING, ac.MLP), ac.drop(ac.CURRENT, ac.MLP)]
    moved = ac.measure(model, others, company, chunk=chunk)
    for what in wanted:
        assert moved[what][1:] == pytest.approx(columns[what][order], abs=1e-5)


@settings(max_examples=25)
@given(models, prompts, st.data())
def test_the_sweep_gives_what_two_plain_runs_give(model, rows, data):
    drop = drop_that_applies(model, data)
    if drop is None:
        return
    column = ac.measure(model, rows, [drop])[drop]
    for row, effect in zip(rows, column, strict=True):
        nll = []
        for ablation in (None, drop):
            logits = model.logits(torch.tensor([row]), ablation=ablation)[0, :-1].double()
            nll.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:])).item())
        assert effect == pytest.approx(nll[1] - nll[0], abs=2e-5)


def reference_of(model):
    """Reference prompts; what would be fitted to them is a constant row of numbers."""
    reference = Reference(model.network, [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 1]])
    width = reference.final.shape[-1]
    reference.fitted = lambda intervention: torch.linspace(-1, 1, width).repeat(len(intervention.filled), 1)
    return reference


@pytest.mark.parametrize(
    ("some", "examples"),
    [(every_model, 200), (wrapped_models, 50), (inkling2_models, 30)],
    ids=["every schedule on every backbone", "wrapped", "inkling2"],
)
def test_the_fast_path_is_the_plain_path(some, examples):
    """Any kinds of ablation together, in batches of any size, prompts of any lengths: every field of every unit."""

    @settings(max_examples=examples)
    @given(some, prompts, st.data(), st.sampled_from((1, 12, 4096)))
    def same(model, rows, data, batch_tokens):
        every = applicable(model)
        if not every:
            return
        found = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=8, unique=True))
        wanted = [one for what in found for one in drawn(what, model.sites, model.num_layers)]
        reference = reference_of(model)
        pairs = Pairs(donors_of(rows, model))
        fast = sweep_chunk(model, rows, [*wanted, SHAM], batch_tokens, reference, pairs=pairs)
        plain = plain_chunk(model, rows, wanted, reference, pairs=pairs)
        assert fast.keys() - plain.keys() == {SHAM.key}
        for key, unit in plain.items():
            assert unit.keys() <= fast[key].keys()
            for field, values in unit.items():
                assert fast[key][field] == pytest.approx(values, rel=1e-5, abs=1e-5, nan_ok=True), (key, field)

    same()


@settings(max_examples=40)
@given(every_model, prompts, st.data())
def test_an_ablation_that_every_later_read_sees_is_the_total(model, rows, data):
    """Of every kind but those that are on a path already, or ablate the read-out, which nothing reads."""
    every = [what for what in applicable(model) if not what.via and not what.kind.spec.whole]
    every = [what for what in every if what.sublayer is not Sublayer.ALL_SITES]
    if not every:
        return
    total = data.draw(st.sampled_from(every))
    along = dataclasses.replace(total, via=ac.reads(ac.ANY, ac.ALL_SITES))
    try:
        columns = ac.measure(model, rows, [total, along], reference=[[1, 2, 3], [4, 5]], donors=donors_of(rows, model))
    except (ValueError, NotApplicable):  # (a reference prompt of too few tokens; nothing reads what is written)
        return
    assert columns[along] == pytest.approx(columns[total], abs=2e-5)


@settings(max_examples=15)
@given(
    st.builds(lambda layers, seed: random_model(OpenBlock(layers, layers), seed), st.integers(2, 4), st.integers(0, 99))
)
def test_dropping_what_has_no_weight_changes_nothing(model):
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name.endswith("_res_bias"):
                parameter.fill_(60.0)  # all weight on the current source
    drops = [ac.drop(ac.EMBEDDING, ac.MLP), ac.drop(ac.RECENT, ac.MLP), ac.drop(ac.EMBEDDING, ac.ATTN)]
    columns = ac.measure(model, [[1, 2, 3, 4]], drops)
    for drop in drops:
        assert np.abs(columns[drop]).max() < 1e-5
        assert columns.record(drop).kept_mass > 1 - 1e-6


def test_the_random_models_route_far_from_uniformly():
    """So that the properties above are about something."""
    model = random_model(dataclasses.replace(KimiBlock(4, 2)), 0)
    peak = [
        weights.amax(0).mean() * len(site.sources)
        for site, weights in model.depth_weights(torch.tensor([[1, 2, 3]])).items()
    ]
    assert max(peak) > 1.5
