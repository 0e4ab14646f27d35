"""What ships: the reference checkpoints learned something, and the reference prompts are what their manifest says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.loading import load_model
from attnres_core.models.model import AttnResModel
from attnres_core.prompts import WINDOW, PromptSet, Split, load_prompts
from attnres_core.shipped import fixtures, reference, reference_prompts, resolved
from attnres_core.training.corpus import PACKAGES
from attnres_core.training.train import RECIPES, Recipe
from attnres_core.training.unseen import UNSEEN

FOLDERS = sorted((fixtures() / "checkpoints").glob("*/"))
EVERY = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
DIALECTS = {
    "tiny-open-block": ("open_block", 12),
    "tiny-vanilla": ("wrapped", 12),
    "tiny-kimi-block": ("kimi_block", 12),
    "tiny-nanogpt": ("kimi_block", 16),
    "tiny-hyper-connections": ("hyper_connections", 9),
}
MAX_BYTES = 12_000_000
CLEARLY = 0.2  # nats per token


def load(folder: Path) -> AttnResModel:
    vanilla = json.loads((folder / "config.json").read_text())["model_type"] == "qwen3"
    return load_model(folder, **({"wrap": 10.0, "num_blocks": 4} if vanilla else {}))


def manifest(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "manifest.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def prompts() -> PromptSet:
    return load_prompts(reference_prompts())


def test_there_is_a_trained_reference_checkpoint() -> None:
    assert "tiny-open-block" in [folder.name for folder in FOLDERS]


@EVERY
def test_a_reference_checkpoint_is_of_the_dialect_its_name_says(folder: Path) -> None:
    model = load(folder)
    assert (model.dialect, model.num_layers) == DIALECTS[folder.name]


@EVERY
def test_a_reference_checkpoint_is_found_by_name(folder: Path) -> None:
    assert reference(folder.name) == folder


@EVERY
def test_a_reference_checkpoint_is_clearly_better_than_bigrams(folder: Path) -> None:
    found = manifest(folder)
    assert found["held_out_nll"]["high"] < found["baseline_nll"]["bigram"] - CLEARLY


@EVERY
def test_a_reference_checkpoint_reads_held_out_prompts_better_than_bigrams(folder: Path, prompts: PromptSet) -> None:
    ids = torch.tensor(PromptSet("few", prompts.prompts[:16]).token_ids(folder / "tokenizer.json"))
    logits = load(folder).logits(ids[:, :-1])
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    assert nll < manifest(folder)["baseline_nll"]["bigram"] - CLEARLY


@EVERY
def test_a_reference_checkpoint_is_small(folder: Path) -> None:
    assert (folder / "model.safetensors").stat().st_size <= MAX_BYTES


@EVERY
def test_a_manifest_names_its_checkpoint_and_how_it_was_made(folder: Path) -> None:
    found = manifest(folder)
    assert found["name"] == folder.name
    assert found["command"].startswith("python -m attnres_core train")
    assert found["parameters"] == sum(parameter.numel() for parameter in load(folder).network.parameters()) or (
        folder.name == "tiny-vanilla"  # wrapping adds the routing's parameters
    )


def test_reference_checkpoints_were_trained_alike() -> None:
    """All on one text; two of other shapes for fewer steps."""
    for folder in FOLDERS:
        found, recipe = manifest(folder), RECIPES.get(folder.name, Recipe())
        assert (found["recipe"], found["tokens"]) == (asdict(recipe), recipe.steps * recipe.batch * recipe.length)
    text = [(manifest(folder)["data"]["digest"], manifest(folder)["baseline_nll"]) for folder in FOLDERS]
    assert all(each == text[0] for each in text)


def test_reference_checkpoints_share_one_tokenizer() -> None:
    assert len({(folder / "tokenizer.json").read_bytes() for folder in FOLDERS}) == 1


def test_a_misspelt_reference_is_answered_with_the_known_names(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # (nothing was fetched)
    others = (
        config.parent.name for part in ("larger", "retrofits") for config in fixtures().glob(f"{part}/*/config.json")
    )
    known = ", ".join(sorted([*(folder.name for folder in FOLDERS), *others]))
    with pytest.raises(ValueError, match="no reference checkpoint") as caught:
        reference("tiny-open-blok")
    assert str(caught.value) == f"no reference checkpoint 'tiny-open-blok'; there are: {known}"
    with pytest.raises(ValueError, match="or give a folder that exists, or a hub id such as"):
        resolved("tiny-open-blok")


def test_misspelt_reference_prompts_are_answered_with_the_known_names() -> None:
    assert reference_prompts() == reference_prompts("docstrings")
    with pytest.raises(ValueError, match="no reference prompts 'docstring'; there are: closing, docstrings, headers, "):
        reference_prompts("docstring")


def test_the_prompts_are_256_a_split_one_per_document(prompts: PromptSet) -> None:
    assert Counter(prompt.split for prompt in prompts.prompts) == dict.fromkeys(Split, 256)
    assert len({prompt.document for prompt in prompts.prompts}) == len(prompts) == 512


def test_no_two_prompts_have_one_text(prompts: PromptSet) -> None:
    assert len({prompt.text for prompt in prompts.prompts}) == 512


def test_the_prompts_are_those_of_their_manifest(prompts: PromptSet) -> None:
    found = json.loads((reference_prompts().parent / "manifest.json").read_text())
    assert found["digest"] == prompts.digest
    assert found["prompts"] == len(prompts)
    assert found["splits"] == {split.value: len(prompts.part(split)) for split in Split}
    assert found["strata"] == Counter(prompt.stratum for prompt in prompts.prompts)


def test_the_prompts_come_from_the_corpus_that_was_held_out_in_training() -> None:
    found = json.loads((reference_prompts().parent / "manifest.json").read_text())
    assert {manifest(folder)["data"]["digest"] for folder in FOLDERS} == {found["corpus_digest"]}


def test_unseen_prompts_come_from_packages_outside_the_corpus() -> None:
    unseen, varied = (load_prompts(reference_prompts(name)) for name in ("unseen", "variants"))
    for prompts in (unseen, varied):
        found = json.loads((reference_prompts().parent / f"{prompts.name}.json").read_text())
        assert (found["digest"], found["prompts"]) == (prompts.digest, len(prompts))
        assert set(prompts.strata) == set(UNSEEN)
    assert not set(UNSEEN) & set(PACKAGES)
    assert not set(unseen.documents) & set(varied.documents)
    assert {prompt.variant for prompt in varied.prompts} == {"as written", "rewrapped", "lower case", "indented"}


def test_every_prompt_fills_the_window(prompts: PromptSet) -> None:
    assert {len(row) for row in prompts.token_ids(reference("tiny-open-block") / "tokenizer.json")} == {WINDOW}


def test_a_shipped_checkpoint_is_loaded_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_model("tiny-open-block").checkpoint.folder == reference("tiny-open-block")
    (tmp_path / "tiny-open-block").mkdir()  # a folder of that name is meant, where there is one
    with pytest.raises(UnsupportedCheckpoint):
        load_model("tiny-open-block")
