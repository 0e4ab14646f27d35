"""A checkpoint's sketch: what leaves it, and what changes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.checkpoint_copies import rewrite, shard

from attnres_core.models.checkpoints import sketching
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.checkpoints.sketching import weights_sketch
from attnres_core.report.distinct_seeds import RELATED
from attnres_core.statistics.sign_sketches import cosine

FIXTURES = Path(__file__).parents[2] / "fixtures" / "checkpoints"


def sketch_of(folder, **given):
    return weights_sketch(inspect_checkpoint(folder, **given))


def change_all(folder, change):
    """Change every tensor of a copy: `change(name, tensor)`."""

    def all_of(tensors):
        for name, tensor in tensors.items():
            tensors[name] = change(name, tensor).contiguous()

    return rewrite(folder, all_of)


def redrawn(name, tensor):
    return torch.randn_like(tensor) * 0.02 if tensor.dim() > 1 else tensor


def jittered(name, tensor):
    return tensor + 1e-4 * torch.randn_like(tensor)


def test_another_draw_of_the_weights_has_no_cosine(copy, micro):
    torch.manual_seed(0)
    assert abs(cosine(sketch_of(change_all(copy(), redrawn)), sketch_of(micro / "trained"))) < RELATED


@pytest.mark.parametrize(
    "change",
    [
        jittered,
        lambda name, tensor: 3 * tensor,
        lambda name, tensor: tensor + (5 if tensor.dim() > 1 else 0),  # a mean that all have in common
        lambda name, tensor: tensor.half(),
        lambda name, tensor: tensor.bfloat16(),
        lambda name, tensor: tensor.double(),
    ],
    ids=["jitter", "scale", "mean", "float16", "bfloat16", "float64"],
)
def test_a_copy_s_sketch_is_the_original_s(copy, micro, change):
    torch.manual_seed(0)
    assert cosine(sketch_of(change_all(copy(), change)), sketch_of(micro / "trained")) > 0.99


def test_shards_are_one_checkpoint(copy, micro):
    assert sketch_of(shard(copy())) == sketch_of(micro / "trained")


def test_what_every_training_has_in_common_does_not_count(copy, micro):
    """Gains near one, and a mean of each column, as embeddings and the taps of convolutions have it."""
    torch.manual_seed(0)
    columns = 5 * torch.randn(1000)

    def common(name, tensor):
        drawn = redrawn(name, tensor)
        return drawn + columns[: tensor.shape[-1]] if tensor.dim() > 1 and tensor.shape[0] > 1 else drawn

    one, other = (sketch_of(change_all(copy(name), common)) for name in ("open_block_11", "open_full_13"))
    assert abs(cosine(one, other)) < RELATED


def test_large_tensors_are_read_in_part(copy, micro, monkeypatch):
    """Evenly spaced rows are enough; NaN and constants count nothing."""
    monkeypatch.setattr(sketching, "LARGEST", 512)
    part = sketch_of(micro / "trained")
    torch.manual_seed(0)
    assert cosine(sketch_of(change_all(copy(), jittered)), part) > 0.99
    monkeypatch.undo()
    assert cosine(sketch_of(micro / "trained"), part) < 0.9  # (of more weights)

    def broken(name, tensor):
        return torch.full_like(tensor, float("nan") if "embed" in name else 1.0)

    assert len(sketch_of(change_all(copy("open_full_13"), broken))) == len(part)


def test_reference_checkpoints_of_one_initialisation_and_steps_of_one_run_are_related():
    """Their cosines lie on the other side of the gap than those of seeds (docs/deciding.md)."""
    folder = FIXTURES / "tiny-open-block"
    found = sketch_of(folder)
    for step in (0, 200, 1000):
        assert cosine(sketch_of(folder / f"checkpoint-{step}"), found) > 0.15
    assert RELATED < cosine(sketch_of(FIXTURES / "tiny-kimi-block"), found) < 0.1
    vanilla = sketch_of(FIXTURES / "tiny-vanilla", wrap=10.0, num_blocks=4)
    assert RELATED < cosine(vanilla, found) < 0.1


def test_the_sketch_is_of_the_stored_weights(micro):
    """Against the tensors as safetensors reads them."""
    tensors = load_file(micro / "trained/model.safetensors")
    read = dict(sketching._stored(micro / "trained/model.safetensors"))
    assert read
    for name, tensor in read.items():
        assert np.array_equal(tensor, tensors[name].numpy())
    assert {name for name, tensor in tensors.items() if tensor.dim() > 1 and tensor.shape[0] > 1} == set(read)
