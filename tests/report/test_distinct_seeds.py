"""What is passed off as seeds of a recipe: each attempt is made with real runs, and refused."""

import json
import shutil

import pytest
import torch
from support.checkpoint_copies import rewrite
from test_across_seeds import entry, record, statement

from attnres_core.__main__ import main
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.checkpoints.sketching import weights_sketch
from attnres_core.report.across_seeds import as_json, as_markdown, decide_recipe
from attnres_core.report.distinct_seeds import check_weights

CLAIM = """
from attnres_core import ATTN, CURRENT, EARLY, TRAINED, claim, drop

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_effect(effect):
    assert effect > -5
"""


@pytest.fixture
def seeds(micro, tmp_path):
    """Five checkpoints that a change makes of one."""

    def made(change):
        folders = [tmp_path / f"seed-{seed}" for seed in range(5)]
        for seed, folder in enumerate(folders):
            torch.manual_seed(seed)
            rewrite(shutil.copytree(micro / "trained", folder), change)
        return folders

    return made


def jitter(tensors):
    for name, tensor in tensors.items():
        tensors[name] = tensor + 1e-4 * torch.randn_like(tensor)


def draw(tensors):
    for name, tensor in tensors.items():
        if tensor.dim() > 1:
            tensors[name] = tensor.std() * torch.randn_like(tensor)


def test_five_copies_with_a_little_noise_are_refused_as_seeds(suite, pytester, seeds, capsys):
    """Copies of a checkpoint, each 1e-4 beside it, are measured and given to the command."""
    suite("-n0", "--attnres-register", claims=CLAIM)
    for seed, trained in enumerate(seeds(jitter)):
        given = (f"--attnres-trained={trained}", f"--attnres-report=records/{seed}.html")
        suite("-n0", *given, claims=CLAIM).assert_outcomes(passed=1)
    files = [pytester.path / f"records/{seed}.json" for seed in range(5)]
    assert (
        len({json.loads(file.read_text())["claims"][0]["estimate"] for file in files}) == 5
    )  # none looks like another
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["recipe", "decide", *map(str, files)])
    assert "0 and 1 have related weights (cosine 1.00" in capsys.readouterr().err


def test_five_draws_of_the_weights_are_taken_as_seeds(tmp_path, seeds):
    files = [tmp_path / f"{seed}.json" for seed in range(5)]
    for seed, (file, folder) in enumerate(zip(files, seeds(draw), strict=True)):
        own = record(seed, entry(statement(0.1 + seed / 100)))
        own["models"]["trained"]["sketch"] = weights_sketch(inspect_checkpoint(folder))
        file.write_text(json.dumps(own))
    recipe = decide_recipe(files)
    assert recipe.unchecked == ()
    assert "not checked" not in as_markdown(recipe)


def test_records_without_a_sketch_are_told(tmp_path):
    files = [tmp_path / f"{seed}.json" for seed in range(5)]
    for seed, file in enumerate(files):
        file.write_text(json.dumps(record(seed, entry(statement(0.1 + seed / 100)))))
    recipe = decide_recipe(files)
    assert recipe.unchecked == tuple("01234")
    assert "was not checked by weights for 0, 1, 2, 3, 4" in as_markdown(recipe)
    assert as_json(recipe)["unchecked"] == list("01234")


def test_a_damaged_sketch_is_an_error():
    records = [record(seed) for seed in range(2)]
    for own in records:
        own["models"]["trained"]["sketch"] = "AAAA"
    with pytest.raises(ValueError, match="a sketch of 24 signs"):
        check_weights(records, ["a", "b"])
