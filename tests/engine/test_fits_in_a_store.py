"""Fitted constants as units of the store: fitted once, before what needs them, and never by two at once."""

import numpy as np
import pytest
from support.small_suite import record_of

import attnres_core as ac
from attnres_core.engine.executors.local import LocalExecutor
from attnres_core.engine.resources import choose_resources
from attnres_core.engine.run_folder import RunFolder
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.networks import fitting
from attnres_core.planning.bundles import bundles_for
from attnres_core.planning.material import Material, fitting_of, reference_of
from attnres_core.prompts import Split

WHAT = ac.optimal(ac.EMBEDDING, ac.MLP, ac.LATE)


@pytest.fixture
def fits(monkeypatch):
    """The starts of all fits that are carried out."""
    found, real = [], fitting.fit

    def counted(network, token_ids, documents, intervention, start, *given):
        found.append(start)
        return real(network, token_ids, documents, intervention, start, *given)

    monkeypatch.setattr(fitting, "fit", counted)
    return found


@pytest.fixture(scope="module")
def prompts(micro):
    return ac.load_prompts(micro / "prompts.jsonl")


@pytest.fixture
def plan(micro, prompts):
    """The material of a run, and what it measures of `WHAT` for a claim on confirmation."""
    checkpoint = inspect_checkpoint(micro / "trained")
    parts = {split: prompts.part(split) for split in Split}
    given = reference_of(prompts), fitting_of(prompts)
    material = Material({ac.TRAINED: checkpoint}, (), parts, "cpu", "float32", *given)
    return material, bundles_for([(Split.CONFIRMATION, WHAT.on(ac.TRAINED))], material)


def executor(material, root, run="run"):
    """As another process of the run would make it."""
    store = Store(root)
    folder = RunFolder(store.root, run, store.writing).open()
    return LocalExecutor(
        material.checkpoints, store, folder, choose_resources("cpu", "float32", 2, material.checkpoints.values())
    )


def test_constants_are_fitted_once_and_serve_both_splits(micro, prompts, tmp_path, fits):
    model, explored = ac.load_model(micro / "trained"), prompts.part("exploration")
    stored = ac.measure(model, explored, [WHAT], store=tmp_path / "store")
    assert fits == ["zero", "mean"]
    again = ac.measure(model, explored, [WHAT, ac.drop(ac.EMBEDDING, ac.MLP, ac.LATE)], store=tmp_path / "store")
    assert fits == ["zero", "mean"]
    assert np.array_equal(stored[WHAT], again[WHAT])
    assert ac.measure(model, explored, [WHAT])[WHAT] == pytest.approx(stored[WHAT], abs=1e-6)


def test_both_splits_and_the_plain_path_need_the_same_fits(plan):
    _, bundles = plan
    fitted = [bundle for bundle in bundles if bundle.start]
    assert [bundle.start for bundle in fitted] == ["zero", "mean"]
    assert bundles[:2] == fitted  # before what needs them
    assert all(bundle.fits == tuple(fitted) for bundle in bundles[2:] if bundle.interventions)
    assert {bundle.plain for bundle in bundles[2:]} == {True, False}


def test_who_finds_a_fit_under_way_waits_for_it(plan, tmp_path, fits):
    """A second process of the run while the first one fits: it fits nothing, and measures nothing that needs it."""
    material, bundles = plan
    fit, needing = bundles[0], bundles[-1]
    with executor(material, tmp_path) as first, executor(material, tmp_path) as second:
        worker = second._slot()
        with first.store.held(f"chunk-{fit.model[:32]}-{fit.chunk[:32]}"):
            assert not second._measure_if_free(fit, worker)
            assert not second._measure_if_free(needing, worker)
        assert fits == []
        assert first.carry_out(bundles) == {}
        assert fits == ["zero", "mean"]
        assert second.carry_out(bundles) == {}
        assert fits == ["zero", "mean"]


def test_what_cannot_be_fitted_is_told_of_all_that_needs_it(plan, tmp_path, monkeypatch):
    def fails(*given):
        raise ValueError("it has no gradients")

    material, bundles = plan
    monkeypatch.setattr(fitting, "fit", fails)
    with executor(material, tmp_path) as own:
        lost = own.carry_out(bundles)
    assert set(lost) == {bundle for bundle in bundles if bundle.start or bundle.fits}
    assert all("optimal" in why and "it has no gradients" in why for why in lost.values())


UNDER = """
from attnres_core import EMBEDDING, LATE, MLP, TRAINED, claim, drop, optimal

@claim(effect=drop(EMBEDDING, MLP, LATE).on(TRAINED), under=[drop, optimal])
def test_under_both(effect):
    assert effect > -9
"""


def test_a_claim_is_decided_under_fitted_constants(suite, pytester):
    suite("-n", "0", claims=UNDER)
    record = record_of(pytester)
    (claim,) = record["claims"]
    assert [entry["kind"] for entry in claim["under"]] == ["drop", "optimal"]
    assert (claim["verdict"], record["run"]["bundles_measured"]) == ("SUPPORTED", 2 * (3 + 2) + 2)
    assert claim["under"][1]["estimate"] < claim["under"][0]["estimate"]
    assert 0 <= claim["beyond"] <= 1
