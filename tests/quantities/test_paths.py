"""Ablations on a path: their exact zero, what a reader's sources hold, and what is refused."""

import dataclasses

import pytest
import torch

import attnres_core as ac
from attnres_core.claims.statements import ClaimError
from attnres_core.claims.tracing import trace
from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.delta_block import DeltaBlock
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import sites_of
from attnres_core.quantities.intervention import NotApplicable, resolve
from attnres_core.quantities.vocabulary import Sublayer

A, M = Sublayer.ATTN, Sublayer.MLP


@pytest.fixture(scope="module", params=["open_block_11", "kimi_block_14"])
def model(request, conformance):
    return ac.load_model(conformance / request.param)


@pytest.mark.parametrize("what", [ac.interchange(ac.EMBEDDING, ac.MLP), ac.interchange(ac.ANY, ac.MLP, part=ac.STATES)])
def test_the_read_out_moves_by_exactly_nothing_where_nothing_is_written(model, what):
    """Embeddings differ at the first token alone, so that no other token's early MLP writes anything else.

    With every state taken from the donor, later tokens differ through attention: the direct effect is there.
    """
    ids, donors = torch.tensor([[1, 5, 9, 4]]), [[2, 5, 9, 4]]
    direct = dataclasses.replace(what, via=ac.reads(ac.ANY, ac.FINAL))
    moved = model.logits(ids, ablation=direct, donors=donors) - model.logits(ids)
    assert moved[0, 0].abs().max() > 1e-3
    assert (moved[0, 1:].abs().max() == 0) == (what.family is ac.EMBEDDING)


def test_a_placebo_and_a_drop_take_the_same_path(model):
    """The direct effect on the read-out is not the total, and what is left is no rounding."""
    ids = torch.tensor([[1, 5, 9, 4]])
    drop = ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY)
    total, direct = (
        model.logits(ids, ablation=each) - model.logits(ids)
        for each in (drop, dataclasses.replace(drop, via=ac.reads(ac.ANY, ac.FINAL)))
    )
    assert direct.abs().max() > 1e-3
    assert (total - direct).abs().max() > 1e-3


# What sources hold ----------------------------------------------------------------------------------------------------


def held(dialect, site):
    (found,) = (each for each in sites_of(dialect) if str(each) == site)
    return [sorted(writers) for writers in found.holds]


def layers(*numbers):
    return [(layer, sublayer) for layer in numbers for sublayer in (A, M)]


@pytest.mark.parametrize(
    ("dialect", "site", "expected"),
    [
        (OpenBlock(4, 2), "3.mlp", [[], layers(0, 1), [*layers(0, 1, 2), (3, A)]]),  # nested
        (KimiBlock(4, 2), "3.mlp", [[], layers(0, 1), [*layers(2), (3, A)]]),  # disjoint
        (KimiBlock(4, 2), "4.final", [[], layers(0, 1), layers(2, 3)]),
        (Delta(2, 1), "1.attn", [[], [(0, A)], [(0, M)], layers(0)]),  # last the running state
        (Delta(2, 1, null_source=True), "0.mlp", [[], [], [(0, A)], [(0, A)]]),
        # x; s_1 - x; s_2 - (s_1 - x): all of blocks 1 and 2 less block 1; and the running state
        (DeltaBlock(3, 3), "2.mlp", [[], layers(0), layers(1), [*layers(0, 1), (2, A)]]),
    ],
)
def test_what_each_source_of_a_site_is_made_of(dialect, site, expected):
    assert held(dialect, site) == [sorted(writers) for writers in expected]


def test_an_intervention_names_what_reads_it_and_whom_it_concerns():
    """Of the early MLPs (layers 0, 1), attention 1 reads the first alone; its older sources hold nothing yet."""
    sites = sites_of(KimiBlock(6, 3))
    along = resolve(ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY, via=ac.reads(ac.ANY, ac.ATTN, ac.EARLY)), sites, 6)
    assert along.sites == ("0.mlp",)
    assert [(str(site), indices) for site, indices in along.via] == [("1.attn", (1,))]
    older = resolve(ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY, via=ac.reads(ac.OLDER, ac.ATTN, ac.LATE)), sites, 6)
    assert (older.sites, [str(site) for site, _ in older.via]) == (
        ("0.mlp", "1.mlp"),
        ["5.attn"],
    )  # (4.attn: block 2 is open)
    assert '"via":{"5.attn":[1]}' in older.key


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ac.drop(ac.OLDER, ac.ATTN, via=ac.MLP),
            "`via` is <Sublayer.MLP: 'mlp'>; give FINAL, the read-out, or",
        ),
        (lambda: ac.reads(ac.EMBEDDING, ac.ATTN), "`family` is embedding: no sublayer writes it"),
        (lambda: ac.reads(ac.EMBEDDING & ac.NULL, ac.ATTN), "`family` is embedding & null: no sublayer writes it"),
        (lambda: ac.reads("all", ac.ATTN), "`family` is 'all'; allowed: EMBEDDING"),
        (lambda: ac.reads(ac.ANY, ac.FINAL, ac.LATE), "`layers` is late; the read-out .FINAL. is one site"),
    ],
)
def test_paths_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (
            ac.drop(ac.CURRENT, ac.MLP, ac.LATE, via=ac.reads(ac.ANY, ac.ATTN, ac.EARLY)),
            ValueError,
            r"the reads of `reads\(any, attn, early\)` all come before \d.mlp writes; name later readers",
        ),
        (
            ac.drop(ac.CURRENT, ac.MLP, ac.MID, via=ac.reads(ac.RECENT, ac.ALL_SITES, range(3, 4))),
            NotApplicable,
            "no source that `reads.recent, all_sites, layers 3-3.` names on this checkpoint holds what the ablated",
        ),
        (ac.interchange(ac.ANY, ac.ALL_SITES, via=ac.FINAL), ValueError, "ablates the read-out, which nothing reads"),
        (ac.drop(ac.CURRENT, ac.MLP, via=ac.reads(ac.NULL & ac.CURRENT, ac.FINAL)), None, ""),
    ],
)
def test_paths_that_lead_nowhere_on_a_model(what, error, message):
    sites = sites_of(KimiBlock(4, 2))
    if error is None:
        assert [str(site) for site, _ in resolve(what, sites, 4).via] == ["4.final"]
        return
    with pytest.raises(error, match=message):
        resolve(what, sites, 4)


def test_a_path_takes_no_company_and_no_adapted_model(model):
    ids = torch.tensor([[1, 2]])
    both = [ac.drop(ac.EMBEDDING, ac.MLP, via=ac.FINAL), ac.drop(ac.EMBEDDING, ac.ATTN, ac.LATE)]
    with pytest.raises(ValueError, match="an ablation with `via` acts alone"):
        model.logits(ids, ablation=both)
    unknown = tuple(dataclasses.replace(site, holds=()) for site in model.sites)  # (as an adapter describes them)
    with pytest.raises(ValueError, match="an adapted model runs as a whole, so that no sublayer's output is at hand"):
        resolve(both[0], unknown, model.num_layers)


def test_words_of_paths():
    told = [ac.drop(ac.OLDER, ac.ATTN, ac.LATE, via=via) for via in (ac.FINAL, "final", ac.reads(ac.ANY, ac.FINAL))]
    assert set(map(str, told)) == {"drop(older, attn, late, via final)"}
    along = ac.interchange(ac.EMBEDDING, ac.MLP, ac.EARLY, via=ac.reads(ac.OLDER, ac.ATTN, ac.LATE))
    assert str(along) == "interchange(embedding, mlp, early, states, via reads(older, attn, late))"


def shares(part, total):
    assert part - 0.5 * total > 0


def mediated(part, total):
    assert total - part > 0.1


@pytest.mark.parametrize("metric", [ac.DELTA_NLL, ac.KL, ac.ANSWER_PROBABILITY, ac.LOGIT_DIFFERENCE])
def test_shares_of_a_path_are_told_in_logits_alone(metric):
    """A mediated effect, which is a difference, in any unit."""
    told = [ac.drop(ac.OLDER, ac.ATTN, ac.LATE, via=via).on(ac.TRAINED, metric=metric) for via in (ac.FINAL, None)]
    quantities = dict(zip(("part", "total"), told, strict=True))
    assert len(trace(mediated, quantities, {})) == 1
    if metric is ac.LOGIT_DIFFERENCE:
        assert len(trace(shares, quantities, {})) == 1
        return
    with pytest.raises(
        ClaimError, match=r"states a share of an effect that acts along a path; .* use metric=LOGIT_DIF"
    ):
        trace(shares, quantities, {})
