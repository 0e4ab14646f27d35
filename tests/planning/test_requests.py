"""A request on a model: resolved once, to what it touches and reads, or to why it comes to nothing."""

import pytest

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.planning import material as materials
from attnres_core.planning.material import Material
from attnres_core.planning.requests import ROUTING, resolved
from attnres_core.prompts import Split, load_prompts
from attnres_core.quantities.intervention import NotApplicable
from attnres_core.quantities.vocabulary import Role


@pytest.fixture(scope="module")
def checkpoint(conformance):
    return inspect_checkpoint(conformance / "open_block_11")


def test_an_ablation_resolves_to_its_interventions_and_their_units(checkpoint):
    asked = resolved(ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY, per_site=True), checkpoint)
    assert asked.resolved
    assert [each.sites for each in asked.interventions] == [("0.mlp",), ("1.mlp",), ("2.mlp",)]
    assert asked.keys == {each.key for each in asked.interventions}
    assert asked.field == "delta_nll"
    assert asked.check() is asked


def test_a_summary_reads_the_clean_run_at_the_sites_that_have_a_choice(checkpoint):
    asked = resolved(ac.mass(ac.CURRENT, ac.ATTN), checkpoint)
    assert asked.keys == {ROUTING}
    assert asked.interventions == ()
    assert all(len(read.site.sources) > 1 for read in asked.reads)
    assert [read.site for read in asked.reads] == [checkpoint.sites[read.row] for read in asked.reads]
    assert all([read.site.sources[i] for i in read.members] == [ac.CURRENT] for read in asked.reads)


def test_an_association_reads_and_drops_the_same_cells_in_the_same_order(checkpoint):
    asked = resolved(ac.mass_and_effect("spearman", ac.MLP), checkpoint)
    assert len(asked.reads) == len(asked.interventions) == len(asked.keys)
    for read, intervention in zip(asked.reads, asked.interventions, strict=True):
        assert intervention.touched == ((read.site, read.members),)


def test_what_the_model_lacks_is_not_applicable_and_what_makes_no_sense_an_error(checkpoint):
    lacking = resolved(ac.drop(ac.OLDER, ac.ATTN, ac.EARLY), checkpoint)
    beyond = resolved(ac.drop(ac.EMBEDDING, ac.MLP, range(90, 91)), checkpoint)
    assert not lacking.resolved
    assert not beyond.resolved
    assert lacking.keys == beyond.keys == frozenset()
    with pytest.raises(NotApplicable, match="has a source of the family `older`"):
        lacking.check()
    with pytest.raises(ValueError, match="this model has layers 0 to 7"):
        beyond.check()
    with pytest.raises(ValueError, match="cannot be measured"):
        resolved("drop", checkpoint)


def test_what_cannot_change_anything_is_a_no_op(checkpoint):
    """At the first attention all sources are the embedding."""
    assert resolved(ac.drop(ac.CURRENT, ac.ATTN, range(0, 1)), checkpoint).no_op == "0.attn"
    assert resolved(ac.drop(ac.CURRENT, ac.ATTN, range(0, 2)), checkpoint).no_op == ""
    assert resolved(ac.drop(ac.CURRENT, ac.ATTN, range(2, 3)), checkpoint).no_op == ""  # (two of three are one tensor)
    assert resolved(ac.drop(ac.EMBEDDING, ac.MLP), checkpoint).no_op == ""


def test_a_run_resolves_each_quantity_once(checkpoint, micro, monkeypatch):
    calls = []
    genuine = materials.resolved
    monkeypatch.setattr(materials, "resolved", lambda *given: calls.append(given) or genuine(*given))
    prompts = load_prompts(micro / "prompts.jsonl")
    material = Material(
        {Role.TRAINED: checkpoint}, (), {split: prompts.part(split) for split in Split}, "cpu", "float32"
    )
    quantity = ac.drop(ac.EMBEDDING, ac.MLP).on(ac.TRAINED)
    assert material.resolved(quantity) is material.resolved(ac.drop("embedding", "mlp").on("trained"))
    assert len(calls) == 1
    missing = material.resolved(ac.drop(ac.EMBEDDING, ac.MLP).on(ac.at_step(7)))
    assert missing.not_applicable == "the trained checkpoint's folder holds no `step-7`; it holds: none"
