"""`measure` from a notebook: threads, a bar, and the store that pytest uses."""

import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_suite import ONE, record_of

import attnres_core as ac
from attnres_core.engine import measuring
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.loading import load_checkpoint

EFFECT = ac.drop("current", "mlp")


@pytest.fixture
def model(micro):
    return ac.load_model(micro / "trained")


@pytest.fixture
def explored(micro):
    return ac.load_prompts(micro / "prompts.jsonl").part("exploration")


def test_a_narrow_model_is_measured_on_one_thread_and_the_callers_threads_come_back(model, explored, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    used = []
    real = measuring.InMemory.units
    monkeypatch.setattr(
        measuring.InMemory,
        "units",
        lambda self, *given, **o: used.append(torch.get_num_threads()) or real(self, *given, **o),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ac.measure(model, explored, [EFFECT])
        assert set(used) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_long_work_shows_a_bar_and_short_work_none(model, explored, monkeypatch, capfd):
    ac.measure(model, explored, [EFFECT])
    assert capfd.readouterr().err == ""
    real = measuring.tqdm
    monkeypatch.setattr(measuring, "tqdm", lambda **given: real(**{**given, "delay": 0, "mininterval": 0}))
    ac.measure(model, explored, [EFFECT])
    assert "measuring" in capfd.readouterr().err
    ac.measure(model, explored, [EFFECT], progress=False)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("place", range(4))
def test_through_a_store_the_columns_are_those_of_memory(model, explored, tmp_path, place):
    asked = (EFFECT, EFFECT.on("trained"), ac.mass("current", "mlp").on("trained"), ac.resample("older", "attn"))
    what = asked[place]
    stored = ac.measure(model, explored, [what], store=tmp_path)
    plain = ac.measure(model, explored, [what])
    np.testing.assert_allclose(stored[what], plain[what], atol=1e-6)
    assert stored.record(what).sites == plain.record(what).sites
    assert not list((tmp_path / "runs").iterdir())


def test_what_a_run_of_pytest_measured_is_not_measured_again(suite, pytester, micro, model, monkeypatch):
    prompts = ac.load_prompts(micro / "prompts.jsonl")
    suite("-n", "0", claims=ONE)
    store = pytester.path / ".attnres"
    monkeypatch.setattr("attnres_core.engine.worker.Worker.measure", lambda *given: pytest.fail("measured again"))
    column = ac.measure(model, prompts.part("exploration"), [EFFECT], store=store)[EFFECT]
    assert np.isclose(column.mean(), record_of(pytester)["claims"][0]["estimate"])


def test_what_is_measured_serves_a_run_of_pytest(suite, pytester, micro, model):
    prompts = ac.load_prompts(micro / "prompts.jsonl")
    ac.measure(model, prompts.part("exploration"), [EFFECT], store=pytester.path / ".attnres")
    suite("-n", "0", claims=ONE)
    run = record_of(pytester)["run"]
    assert (run["bundles_measured"], run["bundles_reused"]) == (2, 3)  # only the plain path was not measured yet


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2, 3]], "`store` keeps columns over prompt sets; give `load_prompts"),
        ("whole", r"`store` keeps splits apart; give `prompts.part\(\"exploration\"\)`"),
    ],
)
def test_what_a_store_cannot_keep_is_refused(model, micro, tmp_path, monkeypatch, prompts, message):
    monkeypatch.chdir(tmp_path)
    given = ac.load_prompts(micro / "prompts.jsonl") if prompts == "whole" else prompts
    with pytest.raises(ValueError, match=message):
        ac.measure(model, given, [EFFECT], store=tmp_path / "store", confirmation=True)


def test_a_store_keeps_nothing_of_a_checkpoint_that_was_written_again(micro, explored, tmp_path):
    folder = shutil.copytree(micro / "trained", tmp_path / "last")
    model = ac.load_model(folder)
    os.utime(folder / "model.safetensors", ns=(1, 1))  # (as training on writes it)
    with pytest.raises(ValueError, match=r"whose files or weights changed since the model was loaded; load it again"):
        ac.measure(model, explored, [EFFECT], store=tmp_path / "store")


def test_a_store_keeps_nothing_of_weights_that_were_changed_in_place(model, explored, tmp_path):
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    with pytest.raises(ValueError, match=r"whose files or weights changed since the model was loaded; load it again"):
        ac.measure(model, explored, [EFFECT], store=tmp_path / "store")
    assert np.isfinite(ac.measure(model, explored, [EFFECT])[EFFECT]).all()


def test_weights_that_change_between_recognition_and_loading_are_refused(micro, tmp_path):
    folder = shutil.copytree(micro / "trained", tmp_path / "last")
    checkpoint = inspect_checkpoint(folder)
    assert checkpoint.weights_digest
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="weights that changed since the checkpoint was recognised"):
        load_checkpoint(checkpoint)
