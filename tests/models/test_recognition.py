"""Recognition: a checkpoint is read for what it is or refused with a reason, and never guessed at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.checkpoint_copies import DIALECTS, Copy, configure, refusal, rewrite

from attnres_core.models.checkpoints.checkpoint import earlier_step, inspect_checkpoint, kept_steps
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.loading import load_model

# Where the checkpoint is


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    expected = ("there is no such folder", "Give a save_pretrained folder or a hub id.")
    assert refusal(tmp_path / "none") == expected


@pytest.mark.parametrize("path", ["./none", "none", "a/b/c", "~nobody-of-this-name/x", "a\0b"])
def test_a_path_that_can_be_no_hub_id_is_not_looked_up(path: str) -> None:
    assert refusal(path)[0] == "there is no such folder"


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


ADAPT = "Other architectures need an adapter: --attnres-adapter package.module:function, ac.adapt, docs/adapters.md."


@pytest.mark.parametrize("kind", ["mistral", "kimi_linear", None, 7])
@pytest.mark.parametrize(
    ("name", "near"),
    [("open_block_11", "qwen3"), ("nanogpt_32", "nanogpt"), ("fla_full_43", "transformer"), ("delta_34", "qwen3")],
)
def test_an_unknown_model_type_is_refused_and_the_nearest_named(copy: Copy, kind: object, name: str, near: str) -> None:
    folder = configure(copy(name), model_type=kind, attnres_block_size=None, attn_res_block_size=None)
    if near == "transformer":
        rewrite(
            folder, lambda tensors: tensors.pop("model.res_proj.weight")
        )  # (by which FLA's other families are known)
    assert refusal(folder) == (
        f"model_type {kind!r}, with tensors named as those of model_type {near!r} are",
        f"Where its layers compute what {near}'s do, save it as such a model. {ADAPT}",
    )


def test_an_unknown_model_type_with_unknown_tensors_is_refused(copy: Copy) -> None:
    folder = rewrite(copy(model_type="rwkv7"), lambda tensors: [tensors.pop(key) for key in list(tensors)[1:]])
    assert refusal(folder) == ("model_type 'rwkv7'", ADAPT)


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


@pytest.mark.parametrize("name", ["nanogpt_31", "fla_transformer_42", "delta_null_35"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_junk_in_another_backbone_s_config_escapes_as_another_error(copy: Copy, name: str) -> None:
    folder = copy(name)
    config = json.loads((folder / "config.json").read_text())
    for field in config:
        for junk in (None, "x", -1, 0.5, []):
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
        ("delta_34", "delta_block_v", "no recency bias and no final read-out"),
        ("delta_34", "full_v", "no recency bias and no final read-out"),
        ("block_v_39", "delta_v", "no recency bias and a final read-out"),
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
        "read-out no; open_reset: mode block, bias yes, read-out yes; kimi_block: mode block, bias no, read-out yes; "
        "block_v: mode block_v, bias no, read-out yes; delta: mode delta, bias no, read-out no; delta_v: mode delta_v, "
        "bias no, read-out no; delta_block: mode delta_block, bias no, read-out no)."
    )


def test_another_gate_type_is_refused(copy: Copy) -> None:
    expected = ("attnres_gate_type 'sigmoid'", "Only the gate type 'bias', which is no gate, is read.")
    assert refusal(copy(attnres_gate_type="sigmoid")) == expected


def test_a_null_source_where_no_code_has_one_is_refused(copy: Copy) -> None:
    found, remedy = refusal(copy("kimi_block_14", attnres_use_null_source=True))
    assert found == "attnres_mode 'block', attnres_use_null_source True"
    assert remedy == "A null source (true) is read in delta, delta_v, delta_block."


def test_an_attnres_config_over_vanilla_weights_is_refused(copy: Copy) -> None:
    folder = copy("vanilla_21", model_type="qwen3_attnres", attnres_mode="block", attnres_num_blocks=3)
    assert refusal(folder)[0] == "model_type 'qwen3_attnres' but no routing tensors (*_res_proj.weight)"


def test_a_vanilla_config_over_attnres_weights_is_refused(copy: Copy) -> None:
    found, remedy = refusal(copy(model_type="qwen3"), wrap=10.0, num_blocks=4)
    expected = "model_type 'qwen3' (vanilla) beside routing tensors such as model.layers.0.attn_res_bias"
    assert (found, remedy) == (expected, "Correct config.json or the weights.")


def test_routing_fields_in_a_vanilla_config_are_refused(copy: Copy) -> None:
    found, remedy = refusal(copy("vanilla_21", attnres_mode="full"), wrap=10.0, num_blocks=3)
    expected = "model_type 'qwen3' (vanilla) beside attnres_mode in config.json"
    assert (found, remedy) == (expected, "Correct config.json.")


@pytest.mark.parametrize("field", ["rms_norm_eps", "initializer_range"])
@pytest.mark.parametrize("value", [-1.0, 0, float("nan"), "small"])
def test_a_norm_or_range_that_is_no_small_positive_number_is_refused(copy: Copy, field: str, value: Any) -> None:
    found, _ = refusal(copy(**{field: value}))
    assert found == f"config.json has {field} = {value!r}"


def test_a_vanilla_checkpoint_asks_for_wrap(copy: Copy) -> None:
    assert refusal(copy("vanilla_21")) == (
        "a vanilla Qwen3",
        "Give `wrap`, a recency bias such as 10.0; in a suite, name this one with --attnres-vanilla.",
    )


def test_a_vanilla_checkpoint_asks_for_num_blocks(copy: Copy) -> None:
    expected = ("a vanilla Qwen3 and no `num_blocks`", "Give the number of blocks.")
    assert refusal(copy("vanilla_21"), wrap=10.0) == expected


@pytest.mark.parametrize("num_blocks", [0, -1, 7, 2.0, "2", True])
def test_a_wrapped_block_count_is_a_whole_number_up_to_the_layers(copy: Copy, num_blocks: Any) -> None:
    expected = (f"`num_blocks` {num_blocks!r} for 6 layers", "Give a whole number from 1 to 6.")
    assert refusal(copy("vanilla_21"), wrap=10.0, num_blocks=num_blocks) == expected


@pytest.mark.parametrize("wrap", [float("nan"), float("inf"), "10", True, 10**400, 1e39])
def test_a_recency_bias_is_a_finite_number(copy: Copy, wrap: Any) -> None:
    expected = (f"`wrap` {wrap!r}", "Give a number up to 100, such as 10.0.")
    assert refusal(copy("vanilla_21"), wrap=wrap, num_blocks=3) == expected


@pytest.mark.parametrize("name", DIALECTS)
def test_an_attnres_checkpoint_cannot_be_wrapped(copy: Copy, name: str) -> None:
    expected = (
        "an AttnRes checkpoint, and `wrap`",
        "Only a vanilla checkpoint can be wrapped; in a suite, --attnres-vanilla names it.",
    )
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


# Kept steps


def test_kept_steps_are_the_folders_named_for_them_in_order(copy: Copy) -> None:
    folder = copy()
    whole = inspect_checkpoint(folder)
    for step in (1000, 200):
        shutil.copytree(folder, folder / f"checkpoint-{step}", ignore=shutil.ignore_patterns("checkpoint-*"))
    (folder / "checkpoint-x").mkdir()
    assert list(kept_steps(whole)) == [200, 1000]
    earlier = earlier_step(whole, kept_steps(whole)[200])
    assert earlier.name == "open_block_11/checkpoint-200"
    assert earlier.tokenizer_file == folder / "tokenizer.json"
    (folder / "checkpoint-200/tokenizer.json").touch()
    earlier = earlier_step(whole, kept_steps(whole)[200])
    assert earlier.tokenizer_file == folder / "checkpoint-200/tokenizer.json"


def test_a_kept_step_of_another_architecture_is_refused(copy: Copy) -> None:
    folder = copy()
    other = copy("kimi_block_14")
    other.rename(folder / "checkpoint-7")
    with pytest.raises(UnsupportedCheckpoint, match=r"another architecture than .* Keep only steps of the same run"):
        earlier_step(inspect_checkpoint(folder), folder / "checkpoint-7")
