"""A stored unit that lacks a field is measured for that field alone; what a store holds is never measured again."""

import dataclasses
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import attnres_core as ac
from attnres_core.engine.executors import open_executor
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.resources import Resources, need_of
from attnres_core.engine.store import Store, _sha256
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.planning.bundles import bundles_for
from attnres_core.planning.material import Material
from attnres_core.planning.requests import ROUTING
from attnres_core.prompts import PromptSet, Split, load_prompts
from attnres_core.quantities.intervention import SHAM
from attnres_core.quantities.vocabulary import Role

DROP = ac.drop(ac.CURRENT, ac.MLP, ac.LATE)
MEAN = ac.mean(ac.EMBEDDING, ac.MLP, ac.LATE)
EFFECTS = [DROP.on(ac.TRAINED, metric=ac.KL), DROP.on(ac.TRAINED, at=ac.LAST), MEAN.on(ac.TRAINED)]
ASKED = [(Split.EXPLORATION, quantity) for quantity in (*EFFECTS, ac.mass(ac.CURRENT, ac.MLP).on(ac.TRAINED))]


@pytest.fixture(scope="module")
def material(micro):
    prompts = load_prompts(micro / "prompts.jsonl")
    parts = {split: prompts.part(split) for split in Split}
    checkpoint = inspect_checkpoint(micro / "trained")
    return Material({Role.TRAINED: checkpoint}, (), parts, "cpu", "float32", parts[Split.EXPLORATION].prompts)


def run(material, root, name, asked=ASKED):
    """Measure what is lacking; returns how many files of units were written."""
    store, checkpoint = Store(root), material.checkpoint(Role.TRAINED)
    before = set(root.glob("units/*/*/*"))
    resources = Resources("cpu", "float32", ("cpu",), need_of(checkpoint, "float32"))
    with open_executor("local", material.checkpoints, store, name, resources) as executor:
        assert executor.carry_out(bundles_for(asked, material)) == {}
    return len(set(root.glob("units/*/*/*.safetensors")) - before)


@pytest.fixture(scope="module")
def measured(material, tmp_path_factory):
    root = tmp_path_factory.mktemp("measured") / "store"
    assert run(material, root, "first") > 0
    return root


@pytest.fixture
def root(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "store")


def test_the_worst_prompt_of_a_document_is_not_averaged_away(material, tmp_path):
    """Else a document that holds all prompts would hide the one that deviates."""
    split, quantity = Split.EXPLORATION, ac.spread(ac.MLP).on(ac.TRAINED)
    apart = material.prompts[split]
    together = PromptSet("one", tuple(dataclasses.replace(prompt, document="d") for prompt in apart.prompts))
    one = dataclasses.replace(material, prompts={**material.prompts, split: together})
    run(one, tmp_path, "worst", [(split, quantity)])
    found = Measurements(Store(tmp_path), one)
    assert found.column(quantity, split) == found.by_prompt(quantity, split).max()
    assert np.ptp(found.by_prompt(quantity, split)) > 0


def strip(root, lost):
    """Rewrite a store as if some fields had not been known when it was made; returns how many files changed."""
    changed = 0
    for file in list(root.glob("units/*/*/*.safetensors")):
        arrays = load_file(file)
        kept = {name: array for name, array in arrays.items() if not lost(*name.rsplit("|", 1))}
        if len(kept) < len(arrays):
            changed += 1
            save_file(kept, file)
            file.rename(file.with_stem(_sha256(file.read_bytes())))
    return changed


def fields(root):
    """Every field of every unit of the store, by the folder of its chunk."""
    found = {}
    for folder in root.glob("units/*/*/"):
        for file in folder.glob("*.safetensors"):
            for name, array in load_file(file).items():
                assert (folder.name, folder.parent.name, name) not in found, "stored twice"
                found[folder.name, folder.parent.name, name] = array
    return found


def test_a_store_that_holds_all_is_left_as_it_is(material, root):
    before = {file: file.stat().st_mtime_ns for file in root.glob("units/*/*/*.safetensors")}
    assert run(material, root, "again") == 0
    assert {file: file.stat().st_mtime_ns for file in root.glob("units/*/*/*.safetensors")} == before


@pytest.mark.parametrize(
    ("unit", "field"),
    [(None, "kl"), (None, "delta_nll@last"), (None, "trace"), (ROUTING, "entropy"), (SHAM.key, "delta_nll")],
)
def test_what_lacks_a_field_is_measured_for_that_field_alone(material, root, unit, field):
    whole = fields(root)
    others = (ROUTING, SHAM.key)
    assert strip(root, lambda key, name: name == field and (key == unit if unit else key not in others))
    kept = fields(root)
    assert run(material, root, "again") > 0
    again = fields(root)
    added = again.keys() - kept.keys()
    assert {name.rsplit("|", 1)[1] for *_, name in added} == {field}
    assert added <= whole.keys()
    for name in added:
        assert np.allclose(again[name], whole[name], rtol=1e-5, atol=1e-6)
    quantity, store = EFFECTS[0], Store(root)
    columns = [Measurements(each, material).column(quantity, Split.EXPLORATION) for each in (store, Store(root))]
    assert np.array_equal(*columns)
    assert run(material, root, "once more") == 0


def test_a_field_that_nobody_asks_for_is_not_missed(material, root):
    """Units that were measured before a metric was known: runs that do not ask for it measure nothing."""
    assert strip(root, lambda key, name: name.startswith("kl@") or name == "delta_nll@first_third")
    assert run(material, root, "again") == 0


def test_prompts_without_answers_are_not_measured_for_them(material, root):
    asked = [(Split.EXPLORATION, DROP.on(ac.TRAINED, metric=ac.LOGIT_DIFFERENCE)), *ASKED]
    assert run(material, root, "answers", asked) == 0
