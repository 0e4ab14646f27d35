"""Recognition and loading: a checkpoint is read for what it is or refused with a reason, and never guessed at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from attnres_core.models.checkpoint import SUPPORTED, UnsupportedCheckpoint, inspect_checkpoint
from attnres_core.models.loading import load_checkpoint, load_model

DIALECTS = {
    "open_block_11": "open_block",
    "open_full_13": "open_full",
    "open_reset_12": "open_reset",
    "kimi_block_14": "kimi_block",
}
EMBEDDING = "model.embed_tokens.weight"
IDS = torch.arange(12).reshape(2, 6)
Copy = Callable[..., Path]


@pytest.fixture
def copy(tmp_path: Path, conformance: Path) -> Copy:
    """Copies a checkpoint, changing config fields (None removes one)."""

    def copied(name: str = "open_block_11", **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(conformance / name / file, folder)
        return configure(folder, **changes)

    return copied


def configure(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None or key not in changes}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def shard(folder: Path) -> Path:
    """Splits the single file into three shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-{index}-of-3.safetensors" for index in (1, 2, 3)]
    weight_map = {key: names[position % 3] for position, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key, where in weight_map.items() if where == name}, folder / name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def refusal(path: Path | str, **options: Any) -> tuple[str, str]:
    """What was found, and the remedy; the message names the place and what is supported in between."""
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_model(path, **options)
    where, _, rest = str(caught.value).partition(": ")
    assert where.startswith(str(path))
    found, supported, remedy = rest.partition(f". Supported: {SUPPORTED}. ")
    assert supported
    return found, remedy


# Where the checkpoint is


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    expected = ("there is no such folder", "Give a save_pretrained folder or a hub id.")
    assert refusal(tmp_path / "none") == expected


@pytest.mark.parametrize("path", ["./none", "none", "a/b/c", "~nobody-of-this-name/x", "a\0b"])
def test_a_path_that_can_be_no_hub_id_is_not_looked_up(path: str) -> None:
    assert refusal(path)[0] == "there is no such folder"


def test_a_hub_id_that_cannot_be_reached_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read at import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found, remedy = refusal("nobody/nothing")
    assert found.startswith("no such folder, and the model hub did not give it (LocalEntryNotFoundError: ")
    assert remedy == "Check the id and the network; offline, download it first and give the folder."


def test_a_malformed_hub_id_is_refused() -> None:
    found, _ = refusal("a b/c d")
    assert found.startswith("no such folder, and the model hub did not give it (HFValidationError: ")


# The config


def test_a_folder_without_a_config_is_refused(copy: Copy) -> None:
    folder = copy()
    (folder / "config.json").unlink()
    assert refusal(folder) == ("no config.json", "Save the model with save_pretrained.")


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_a_malformed_config_is_refused(copy: Copy, text: str) -> None:
    folder = copy()
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    found, remedy = refusal(folder)
    assert found.startswith("malformed JSON (")
    assert remedy == "Save the model again."


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("7", "int"), ("null", "NoneType"), ('"x"', "str")])
def test_a_config_that_is_no_object_is_refused(copy: Copy, text: str, kind: str) -> None:
    folder = copy()
    (folder / "config.json").write_text(text)
    assert refusal(folder) == (f"a {kind}, not an object", "Save the model again.")


def test_a_config_that_is_a_folder_is_refused(copy: Copy) -> None:
    folder = copy()
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert refusal(folder)[0].startswith("unreadable ([Errno 21] Is a directory: ")


@pytest.mark.parametrize("kind", ["llama", "inkling2_text", None, 7])
def test_an_unknown_model_type_is_refused(copy: Copy, kind: object) -> None:
    assert refusal(copy(model_type=kind)) == (f"model_type {kind!r}", "Other architectures need an adapter.")


JUNK = (None, "x", -1, 0, 0.5, [], {}, [[1]], [{}], 10**9, True)
FIELDS = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim")
FIELDS += ("intermediate_size", "max_position_embeddings", "hidden_act", "rope_parameters", "rms_norm_eps", "dtype")
FIELDS += ("tie_word_embeddings", "layer_types", "attention_bias", "attention_dropout", "sliding_window", "model_type")
FIELDS += ("attnres_mode", "attnres_num_blocks", "attnres_gate_type", "attnres_use_null_source")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_junk_in_a_config_escapes_as_another_error(copy: Copy, field: str) -> None:
    folder = copy()
    config = json.loads((folder / "config.json").read_text())
    for junk in JUNK:
        (folder / "config.json").write_text(json.dumps({**config, field: junk}))
        try:
            load_model(folder)
        except UnsupportedCheckpoint as error:
            assert "config" in str(error) or field in str(error)  # noqa: PT017 (some junk is harmless)


def test_a_config_field_of_the_wrong_type_is_named(copy: Copy) -> None:
    found, remedy = refusal(copy(tie_word_embeddings="x"))
    assert found.startswith("a config.json that describes no Qwen3 model (")
    assert "'tie_word_embeddings' expected bool, got str" in found
    assert remedy == "Correct config.json."


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "attnres_num_blocks"])
def test_a_size_that_is_no_positive_number_is_named(copy: Copy, field: str) -> None:
    assert refusal(copy(**{field: -4})) == (f"config.json has {field} = -4", "Give a positive whole number.")


def test_sliding_attention_is_refused_rather_than_read_as_full(copy: Copy) -> None:
    layers = ["full_attention"] * 7 + ["sliding_attention"]
    expected = ("layer types sliding_attention", "Only full attention is read.")
    assert refusal(copy(layer_types=layers)) == expected


def test_sliding_attention_by_the_older_switch_is_refused_too(copy: Copy) -> None:
    folder = copy(layer_types=None, use_sliding_window=True, sliding_window=4, max_window_layers=0)
    assert refusal(folder) == ("use_sliding_window", "Only full attention is read.")


def test_a_quantised_checkpoint_is_refused(copy: Copy) -> None:
    folder = copy(quantization_config={"quant_method": "fp8"})
    assert refusal(folder) == ("quantised weights", "Save the model in float32, bfloat16 or float16.")


# What kind it is


@pytest.mark.parametrize(("name", "dialect"), DIALECTS.items())
def test_each_dialect_is_recognised(conformance: Path, name: str, dialect: str) -> None:
    assert inspect_checkpoint(conformance / name).dialect.name == dialect


def test_a_vanilla_checkpoint_to_wrap_is_recognised(conformance: Path) -> None:
    found = inspect_checkpoint(conformance / "vanilla_21", wrap=10.0, num_blocks=3)
    assert (found.dialect.name, found.wrap, found.dialect.num_blocks) == ("wrapped", 10.0, 3)


@pytest.mark.parametrize(
    ("name", "mode", "features"),
    [
        ("kimi_block_14", "full", "no recency bias and a final read-out"),
        ("open_reset_12", "full", "a recency bias and a final read-out"),
        ("open_block_11", "delta", "a recency bias and no final read-out"),
        ("open_block_11", None, "a recency bias and no final read-out"),
    ],
)
def test_an_attnres_mode_that_contradicts_the_tensors_is_refused(
    copy: Copy, name: str, mode: str | None, features: str
) -> None:
    found, remedy = refusal(copy(name, attnres_mode=mode))
    assert found == f"config.json says attnres_mode {str(mode)!r}; the tensors have {features}"
    assert remedy == (
        "No dialect is like that (open_block: mode block, bias yes, read-out no; open_full: mode full, bias yes, "
        "read-out no; open_reset: mode block, bias yes, read-out yes; kimi_block: mode block, bias no, read-out yes)."
    )


def test_another_gate_type_is_refused(copy: Copy) -> None:
    expected = ("attnres_gate_type 'sigmoid', attnres_use_null_source None", "Only the gate type 'bias' without")
    found, remedy = refusal(copy(attnres_gate_type="sigmoid"))
    assert (found, remedy[: len(expected[1])]) == expected


def test_a_null_source_is_refused(copy: Copy) -> None:
    found, remedy = refusal(copy("kimi_block_14", attnres_use_null_source=True))
    assert found == "attnres_gate_type 'bias', attnres_use_null_source True"
    assert remedy == "Only the gate type 'bias' without a null source is read."


def test_an_attnres_config_over_vanilla_weights_is_refused(copy: Copy) -> None:
    folder = copy("vanilla_21", model_type="qwen3_attnres", attnres_mode="block", attnres_num_blocks=3)
    assert refusal(folder)[0] == "model_type 'qwen3_attnres' but no routing tensors (*_res_proj.weight)"


def test_a_vanilla_config_over_attnres_weights_is_refused(copy: Copy) -> None:
    found, remedy = refusal(copy(model_type="qwen3"), wrap=10.0, num_blocks=4)
    expected = "model_type 'qwen3' (vanilla) beside routing tensors such as model.layers.0.attn_res_bias"
    assert (found, remedy) == (expected, "Correct config.json or the weights.")


def test_a_vanilla_checkpoint_asks_for_wrap(copy: Copy) -> None:
    assert refusal(copy("vanilla_21")) == ("a vanilla Qwen3", "Give `wrap`, a recency bias such as 10.0.")


def test_a_vanilla_checkpoint_asks_for_num_blocks(copy: Copy) -> None:
    expected = ("a vanilla Qwen3 and no `num_blocks`", "Give the number of blocks.")
    assert refusal(copy("vanilla_21"), wrap=10.0) == expected


@pytest.mark.parametrize("num_blocks", [0, -1, 7, 2.0, "2", True])
def test_a_wrapped_block_count_is_a_whole_number_up_to_the_layers(copy: Copy, num_blocks: Any) -> None:
    expected = (f"`num_blocks` {num_blocks!r} for 6 layers", "Give a whole number from 1 to 6.")
    assert refusal(copy("vanilla_21"), wrap=10.0, num_blocks=num_blocks) == expected


@pytest.mark.parametrize("wrap", [float("nan"), float("inf"), "10", True])
def test_a_recency_bias_is_a_finite_number(copy: Copy, wrap: Any) -> None:
    expected = (f"`wrap` {wrap!r}", "Give a finite number, such as 10.0.")
    assert refusal(copy("vanilla_21"), wrap=wrap, num_blocks=3) == expected


@pytest.mark.parametrize("name", DIALECTS)
def test_an_attnres_checkpoint_cannot_be_wrapped(copy: Copy, name: str) -> None:
    expected = ("an AttnRes checkpoint, and `wrap`", "Only a vanilla Qwen3 can be wrapped.")
    assert refusal(copy(name), wrap=10.0) == expected


def test_a_block_count_that_contradicts_the_checkpoint_is_refused(copy: Copy) -> None:
    found, remedy = refusal(copy(), num_blocks=2)
    assert found == "attnres_num_blocks 4 in config.json, and `num_blocks` 2"
    assert remedy == "Leave `num_blocks` out: the checkpoint's own count is part of it."


def test_the_checkpoints_own_block_count_may_be_repeated(copy: Copy) -> None:
    assert inspect_checkpoint(copy(), num_blocks=4).dialect.num_blocks == 4


def test_more_blocks_than_layers_are_refused(copy: Copy) -> None:
    assert refusal(copy(attnres_num_blocks=9)) == ("attnres_num_blocks 9 for 8 layers", "Correct config.json.")


@pytest.mark.parametrize("layers", [7, 9, 10**9])
def test_a_layer_count_that_contradicts_the_tensors_is_refused(copy: Copy, layers: int) -> None:
    found, remedy = refusal(copy(num_hidden_layers=layers, layer_types=None))
    assert found == f"num_hidden_layers {layers} in config.json, and tensors of 8 layers"
    assert remedy == "Correct config.json or the weights."


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
    loaded = load_model(conformance / name).network.state_dict()
    assert all(
        torch.equal(loaded[key], value) for key, value in load_file(conformance / name / "model.safetensors").items()
    )


@pytest.mark.parametrize("name", DIALECTS)
def test_the_rotary_tables_follow_their_formula_after_loading(conformance: Path, name: str) -> None:
    network = load_model(conformance / name).network
    frequencies = 10000.0 ** (-torch.arange(0, 8, 2) / 8)  # head_dim 8, rope_theta 10000
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


# Digests


def test_a_copy_has_the_originals_digest(copy: Copy, conformance: Path) -> None:
    assert inspect_checkpoint(copy()).digest == inspect_checkpoint(conformance / "open_block_11").digest


def test_one_changed_weight_changes_the_digest(copy: Copy) -> None:
    folder = copy()
    before = inspect_checkpoint(folder).digest
    rewrite(folder, lambda tensors: tensors["model.norm.weight"][:1].mul_(1.0001))
    assert inspect_checkpoint(folder).digest != before


def test_a_changed_config_changes_the_digest(copy: Copy) -> None:
    folder = copy()
    before = inspect_checkpoint(folder).digest
    assert inspect_checkpoint(configure(folder, rms_norm_eps=1e-5)).digest != before


def test_wrappings_that_differ_have_different_digests(conformance: Path) -> None:
    wrappings = [(10.0, 3), (3.0, 3), (10.0, 2)]
    digests = {inspect_checkpoint(conformance / "vanilla_21", wrap, blocks).digest for wrap, blocks in wrappings}
    assert len(digests) == 3


def test_a_whole_recency_bias_is_the_same_wrapping_as_its_float(conformance: Path) -> None:
    folder = conformance / "vanilla_21"
    assert inspect_checkpoint(folder, 10, 3).digest == inspect_checkpoint(folder, 10.0, 3).digest
