"""Loading: every tensor expected, present, of the right shape and finite, or a refusal that says which is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoint_copies import DIALECTS, EMBEDDING, IDS, Copy, configure, refusal, rewrite, shard

from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.loading import load_checkpoint, load_model

# The weight files


def test_a_folder_without_weights_is_refused(copy: Copy) -> None:
    folder = copy()
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == ("no model.safetensors", "Save the model with save_pretrained.")


def test_pickled_weights_alone_are_refused_unopened(copy: Copy) -> None:
    folder = copy()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    found, remedy = refusal(folder)
    assert found == "only pickled weights (pytorch_model.bin)"
    assert remedy == (
        "Pickled weights can run code when loaded; convert them with safe_serialization=True where you trust them."
    )


@pytest.mark.parametrize("size", [0, 4, 100, 5000, 300_000])
def test_a_truncated_weight_file_is_refused(copy: Copy, size: int) -> None:
    folder = copy()
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.truncate(size)
    found, remedy = refusal(folder)
    assert found.startswith("unreadable safetensors (")
    assert remedy == "Copy or download it again."


@pytest.mark.parametrize("data", [b"\xff" * 4096, b"\x80\x02}q\x00." * 500, b"<!DOCTYPE html>" * 20])
def test_a_weight_file_of_garbage_is_refused(copy: Copy, data: bytes) -> None:
    folder = copy()
    (folder / "model.safetensors").write_bytes(data)
    assert refusal(folder)[0].startswith("unreadable safetensors (")


def test_a_weight_file_that_is_a_folder_is_refused(copy: Copy) -> None:
    folder = copy()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert refusal(folder)[0].startswith("unreadable safetensors (")


def test_a_weight_file_damaged_after_recognition_is_refused(copy: Copy) -> None:
    checkpoint = inspect_checkpoint(copy())
    checkpoint.files[0].write_bytes(b"garbage" * 9)
    with pytest.raises(UnsupportedCheckpoint, match=r"unreadable safetensors \(.+Copy or download it again\."):
        load_checkpoint(checkpoint)


def test_a_sharded_checkpoint_computes_what_the_single_file_does(copy: Copy) -> None:
    folder = copy()
    single = load_model(folder).logits(IDS)
    assert torch.equal(load_model(shard(folder)).logits(IDS), single)


def test_a_missing_shard_is_named(copy: Copy) -> None:
    folder = shard(copy())
    (folder / "model-2-of-3.safetensors").unlink()
    assert refusal(folder) == ("missing shards model-2-of-3.safetensors", "Copy or download them too.")


@pytest.mark.parametrize("name", ["../x.safetensors", "/tmp/x.safetensors", "sub/x.safetensors"])
def test_a_shard_outside_the_folder_is_refused(copy: Copy, name: str) -> None:
    folder = copy()
    outside = folder / name
    outside.parent.mkdir(exist_ok=True)
    inside = folder / "model.safetensors"
    if name.startswith("/"):
        inside.unlink()
    else:  # there for the taking, and still refused
        inside.rename(outside)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {EMBEDDING: name}}))
    expected = (f"shards outside the folder ({name})", "Shards lie beside their index; save the model again.")
    assert refusal(folder) == expected


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_a_malformed_shard_index_is_refused(copy: Copy, text: str) -> None:
    folder = shard(copy())
    (folder / "model.safetensors.index.json").write_text(text)
    found, remedy = refusal(folder)
    assert found.startswith("malformed shard index (")
    assert remedy == "Save the model again."


def test_a_tensor_in_two_shards_is_refused(copy: Copy) -> None:
    folder = shard(copy())
    first, second = folder / "model-1-of-3.safetensors", folder / "model-2-of-3.safetensors"
    assert EMBEDDING in load_file(first)
    save_file({**load_file(second), EMBEDDING: torch.zeros(96, 32)}, second)
    assert refusal(folder) == (f"{EMBEDDING} is in another shard too", "Save the model again.")


# The tensors


def test_a_missing_tensor_is_named(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.pop("model.layers.3.mlp.up_proj.weight"))
    found, remedy = refusal(folder)
    assert found == "1 missing tensors (model.layers.3.mlp.up_proj.weight)"
    assert remedy == "config.json and the weights must describe one model."


def test_an_unexpected_tensor_is_named(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.update(extra=torch.zeros(3)))
    assert refusal(folder)[0] == "1 unexpected tensors (extra)"


def test_one_missing_recency_bias_is_named(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.pop("model.layers.5.mlp_res_bias"))
    assert refusal(folder)[0] == "1 missing tensors (model.layers.5.mlp_res_bias)"


def test_many_missing_tensors_are_counted_and_the_first_named(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: [tensors.pop(key) for key in list(tensors) if "self_attn" in key])
    found, _ = refusal(folder)
    assert found.startswith("48 missing tensors (model.layers.0.self_attn.k_norm.weight, ")
    assert found.endswith(", ...)")


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
    found, remedy = refusal(folder)
    assert found == "wrong shapes: model.norm.weight is (31,), config.json implies (32,)"
    assert remedy == "Correct config.json or the weights."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_weight_that_is_not_finite_is_refused(copy: Copy, value: float) -> None:
    folder = rewrite(copy(), lambda tensors: tensors["model.layers.7.mlp.up_proj.weight"][3].fill_(value))
    found, remedy = refusal(folder)
    assert found == "NaN or infinite weights in model.layers.7.mlp.up_proj.weight"
    assert remedy == "Use a checkpoint from before the training diverged."


@pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_quantised_tensors_are_refused(copy: Copy, dtype: torch.dtype, name: str) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.update({EMBEDDING: tensors[EMBEDDING].to(dtype)}))
    found, remedy = refusal(folder)
    assert found == f"{EMBEDDING} is stored as {name}"
    assert remedy == "Quantised weights are not read; save them as one of F32, BF16, F16, F64."


def test_a_tied_head_that_differs_from_the_embedding_is_refused(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.update({"lm_head.weight": tensors[EMBEDDING] * 2}))
    found = f"tie_word_embeddings, and an lm_head.weight that differs from {EMBEDDING}"
    assert refusal(folder) == (found, "Correct config.json or the weights.")


def test_a_tied_head_may_be_stored_twice(copy: Copy) -> None:
    folder = copy()
    before = load_model(folder).logits(IDS)
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors[EMBEDDING].clone()}))
    assert torch.equal(load_model(folder).logits(IDS), before)


def test_an_untied_head_is_the_one_that_is_used(copy: Copy) -> None:
    folder = copy()
    before = load_model(folder).logits(IDS)
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors[EMBEDDING] * 2}))
    torch.testing.assert_close(load_model(configure(folder, tie_word_embeddings=False)).logits(IDS), before * 2)


def test_an_untied_head_that_is_missing_is_named(copy: Copy) -> None:
    assert refusal(copy(tie_word_embeddings=False))[0] == "1 missing tensors (lm_head.weight)"


# What comes out


@pytest.mark.parametrize("name", DIALECTS)
def test_every_weight_of_the_file_is_in_the_model(conformance: Path, name: str) -> None:
    model, stored = load_model(conformance / name), load_file(conformance / name / "model.safetensors")
    loaded, names = model.network.state_dict(), model.checkpoint.backbone.names(model.checkpoint.config)
    assert all(torch.equal(loaded[names.ours(key)].reshape(value.shape), value) for key, value in stored.items())


@pytest.mark.parametrize("name", DIALECTS)
def test_the_rotary_tables_follow_their_formula_after_loading(conformance: Path, name: str) -> None:
    network = load_model(conformance / name).network
    width = inspect_checkpoint(conformance / name).size("head_dim")
    frequencies = 10000.0 ** (-torch.arange(0, width, 2) / width)  # rope_theta 10000
    angles = torch.arange(6)[:, None] * frequencies
    cos, sin = network.prepare(IDS).rotary
    torch.testing.assert_close(cos[0], torch.cat([angles, angles], -1).cos())
    torch.testing.assert_close(sin[0], torch.cat([angles, angles], -1).sin())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_lower_precision_loads_and_agrees_with_float32_to_its_resolution(conformance: Path, dtype: str) -> None:
    exact = load_model(conformance / "open_block_11").logits(IDS)
    model = load_model(conformance / "open_block_11", dtype=dtype)
    assert {parameter.dtype for parameter in model.network.parameters()} == {getattr(torch, dtype)}
    error = (model.logits(IDS) - exact).std() / exact.std()
    assert 0 < error < 32 * torch.finfo(getattr(torch, dtype)).eps


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_stored_in_lower_precision_load_as_float32(copy: Copy, stored: torch.dtype) -> None:
    folder = rewrite(copy(), lambda tensors: tensors.update({k: v.to(stored) for k, v in tensors.items()}))
    loaded = load_model(configure(folder, dtype=str(stored).removeprefix("torch."))).network.state_dict()
    expected = load_file(folder / "model.safetensors")
    assert all(loaded[key].dtype is torch.float32 for key in expected)
    assert all(torch.equal(loaded[key], value.float()) for key, value in expected.items())


def test_weights_beyond_the_range_of_float16_are_refused_in_float16(copy: Copy) -> None:
    folder = rewrite(copy(), lambda tensors: tensors["model.norm.weight"].fill_(1e6))
    assert load_model(folder, dtype="bfloat16").logits(IDS).isfinite().all()
    expected = ("weights beyond the range of float16 in model.norm.weight", "Load it in float32 or bfloat16.")
    assert refusal(folder, dtype="float16") == expected


def test_an_unknown_dtype_is_refused(conformance: Path) -> None:
    with pytest.raises(ValueError, match=r"^`dtype` is 'int8'; allowed: float32, bfloat16, float16$"):
        load_model(conformance / "open_block_11", dtype="int8")


@pytest.mark.parametrize("device", ["nonsense", "", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(conformance: Path, device: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)^`device` '.*' cannot be used here \(.+\); give 'cpu' or a device"):
        load_model(conformance / "open_block_11", device=device)
