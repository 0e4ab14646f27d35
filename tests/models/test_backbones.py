"""Backbones and schedules are separate: each backbone computes what its own library does, under any schedule."""

import dataclasses
import functools
import json
import operator

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoint_copies import IDS, baseline, configure, refusal, rewrite
from support.random_models import BACKBONES, SCHEDULES, random_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import Weights, inspect_checkpoint
from attnres_core.models.dialects.delta import Delta
from attnres_core.models.loading import load_checkpoint
from attnres_core.testing import check_adapter

SIZES = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
VARIANTS = {
    "grouped heads": {},
    "own head size": {"head_dim": 16},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "llama3 positions": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
}


def save(folder, network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(params=VARIANTS)
def llama(request, tmp_path):
    """A vanilla Llama of the library's own class, and its folder."""
    network = LlamaForCausalLM(LlamaConfig(**{**SIZES, "tie_word_embeddings": False, **VARIANTS[request.param]})).eval()
    return network, save(tmp_path / "llama", network)


def test_a_wrapped_llama_is_the_library_s(llama):
    network, folder = llama
    model = ac.load_model(folder, wrap=20.0, num_blocks=2)
    assert (model.dialect, model.checkpoint.architecture) == ("wrapped", "Llama backbone, wrapped schedule")
    ids, mask = torch.arange(24).reshape(2, 12), torch.ones(2, 12, dtype=torch.long)
    mask[1, :4] = 0
    with torch.inference_mode():
        expected = network(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
    assert (model.logits(ids, mask) - expected)[mask.bool()].abs().max() < 1e-4
    assert model.checkpoint.context == 64


# A baseline of each backbone, saved as its own code saves it: its routing left out.


def plain(model, ids):
    """A residual stream of the model's own sublayers: no depth source is read."""
    network = model.network
    with torch.inference_mode():
        state, inputs = network.model.embed_tokens(ids), network.prepare(ids)
        for layer in range(model.num_layers):
            for sublayer in (ac.ATTN, ac.MLP):
                state = state + network.write(layer, sublayer, [state], inputs).state
        return network.unembed(network.normalise(state))


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("nanogpt_31", "nanoGPT backbone, wrapped schedule"),
        ("fla_transformer_42", "FLA transformer backbone, wrapped schedule"),
    ],
)
def test_a_baseline_of_any_backbone_can_be_wrapped(conformance, tmp_path, name, architecture):
    folder = baseline(conformance / name, tmp_path / "baseline")
    model = ac.load_model(folder, wrap=20.0, num_blocks=2)
    assert (model.dialect, model.checkpoint.architecture) == ("wrapped", architecture)
    assert (model.logits(IDS) - plain(model, IDS)).abs().max() < 1e-4
    stock = load_checkpoint(dataclasses.replace(inspect_checkpoint(folder, 3.0, 2), weights=Weights.STOCK))
    assert (stock.logits(IDS) - model.logits(IDS)).abs().max() > 1e-3  # (random pseudo-queries read something else)
    assert (
        refusal(folder)[1]
        == "Give `wrap`, a recency bias such as 10.0; in a suite, name this one with --attnres-vanilla."
    )


# Schedules on a backbone whose checkpoints say which


@pytest.mark.parametrize("name", ["open_block_11", "open_full_13", "open_reset_12", "kimi_block_14", "delta_null_35"])
def test_a_llama_checkpoint_of_a_schedule_computes_what_its_layers_do(conformance, tmp_path, name):
    """Qwen3's attention without norms of queries and keys is Llama's: the same weights, read as the other backbone."""
    folder = tmp_path / name
    folder.mkdir()
    tensors = load_file(conformance / name / "model.safetensors")
    for key, value in tensors.items():
        if key.endswith(("q_norm.weight", "k_norm.weight")):
            value.fill_(1.0)
    kept = {key: value for key, value in tensors.items() if "q_norm" not in key and "k_norm" not in key}
    save_file(kept, folder / "model.safetensors")
    config = json.loads((conformance / name / "config.json").read_text()) | {"model_type": "llama_attnres"}
    (folder / "config.json").write_text(json.dumps(config))
    model, qwen3 = ac.load_model(folder), ac.load_model(conformance / name)
    assert model.checkpoint.architecture == f"Llama backbone, {qwen3.dialect} schedule"
    assert model.sites == qwen3.sites
    for layer in qwen3.network.model.layers:  # (what norms of queries and keys do is taken out)
        layer.self_attn.q_norm = layer.self_attn.k_norm = torch.nn.Identity()
    assert torch.allclose(model.logits(IDS), qwen3.logits(IDS), atol=1e-5)


def test_a_llama_of_a_schedule_is_saved_and_loaded_again(tmp_path):
    model = random_model(Delta(3, 2, null_source=True), 0, "llama")
    model.network.config.update({"attnres_mode": "delta", "attnres_num_blocks": 2, "attnres_use_null_source": True})
    model.network.save_pretrained(tmp_path / "llama")
    loaded = ac.load_model(tmp_path / "llama")
    assert loaded.checkpoint.architecture == "Llama backbone, delta schedule"
    ids = torch.arange(8).reshape(2, 4)
    assert torch.equal(loaded.logits(ids), model.logits(ids))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda kind: kind.name)
def test_every_schedule_on_every_backbone_does_what_measuring_takes_for_granted(backbone, schedule):
    check_adapter(random_model(schedule(4, 2), 3, backbone))


@pytest.mark.parametrize("name", ["delta_null_35", "delta_block_null_37", "delta_v_38"])
def test_a_site_that_lost_every_source_reads_the_running_state(conformance, name):
    """With all sources dropped everywhere a delta model is the plain model of the same weights."""
    model = ac.load_model(conformance / name)
    families = dict.fromkeys(family for site in model.sites for family in site.sources)
    everything = functools.reduce(operator.and_, families)
    found = model.logits(IDS, ablation=[ac.drop(everything, ac.ATTN), ac.drop(everything, ac.MLP)])
    assert torch.allclose(found, plain(model, IDS), atol=1e-5)
    weights = model.depth_weights(IDS, ablation=ac.drop(everything, ac.MLP))
    assert all(float(own.abs().max()) == 0 for site, own in weights.items() if site.sublayer is ac.MLP)


def test_what_has_a_null_source_can_lose_it_and_be_asked_for_its_mass(conformance):
    model = ac.load_model(conformance / "delta_null_35")
    prompts = [[1, 2, 3, 4], [5, 6, 7]]
    wanted = [ac.drop(ac.NULL, ac.ATTN), ac.mass(ac.NULL, ac.ATTN), ac.mean(ac.NULL, ac.ATTN)]
    columns = ac.measure(model, prompts, wanted)
    assert abs(columns[wanted[0]]).min() > 1e-3
    assert 0 < columns[wanted[1]].min() < columns[wanted[1]].max() < 1
    assert abs(columns[wanted[2]]).max() < 1e-5  # (it is the same for every token)


def test_an_unread_stream_is_a_structural_no_op(conformance):
    model = ac.load_model(conformance / "block_v_39")
    what = ac.drop(ac.CURRENT, ac.ATTN, stream="v")
    columns = ac.measure(model, [[1, 2, 3]], [what])
    assert float(abs(columns[what]).max()) == 0
    record = columns.record(what)
    assert record.no_ops == record.sites != ()
    assert record.input_change > 1e-3  # (what is read there does change)


def test_the_schedule_is_not_applicable_where_the_state_is_no_source(conformance):
    with pytest.raises(ac.NotApplicable, match="the current state is no source of any site of this checkpoint"):
        ac.measure(ac.load_model(conformance / "delta_34"), [[1, 2]], [ac.schedule(ac.MLP)])


# What is refused, and why


@pytest.mark.parametrize(
    ("name", "changes", "found", "remedy"),
    [
        ("nanogpt_31", {"bidirectional": True}, "bidirectional: a masked, no causal language model", "Only causal"),
        ("nanogpt_31", {"use_rope": False}, "a nanoGPT with use_rope False", "Read is the one with use_rmsnorm true"),
        ("nanogpt_31", {"attn_res_block_size": 3}, "attn_res_block_size 3 for 8 layers", "Give an even number of subl"),
        ("nanogpt_31", {"attn_res_block_size": 6}, "attn_res_block_size 6 for 8 layers", "Give an even number of subl"),
        ("nanogpt_31", {"swiglu_mult": "x"}, "config.json has swiglu_mult = 'x'", "Give a positive number."),
        ("nanogpt_31", {"n_head": 5}, "n_embd 24 and n_head 5", "Each head has an even share of the width"),
        ("nanogpt_31", {"n_layer": 7}, "n_layer 7 in config.json, and tensors of 8 layers", "Correct config.json or"),
        ("fla_transformer_42", {"attnres_block_size": 3}, "attnres_block_size 3 in config.json", "FLA has blocks of 1"),
        ("fla_transformer_42", {"attnres_block_size": 0}, "config.json has attnres_block_size = 0", "Give a positive"),
        (
            "fla_transformer_42",
            {"qk_norm": True},
            "a FLA checkpoint (attnres_block_size, qk_norm True)",
            "FLA models need the pack",
        ),
        ("delta_34", {"attnres_use_null_source": "x"}, "attnres_mode 'delta', attnres_use_null_source 'x'", "A null s"),
    ],
)
def test_what_is_not_read_is_named_with_a_remedy(copy, name, changes, found, remedy):
    told, given = refusal(copy(name, **changes))
    assert told == found
    assert given.startswith(remedy)


def test_missing_tensors_are_named_as_the_file_has_them(copy):
    folder = rewrite(copy("nanogpt_31"), lambda tensors: tensors.pop("transformer.h.3.mlp.c_val.weight"))
    assert refusal(folder)[0] == "1 missing tensors (transformer.h.3.mlp.c_val.weight)"
    folder = rewrite(copy("fla_full_43"), lambda tensors: tensors.update({"model.res_norm.weight": torch.ones(31)}))
    assert refusal(folder)[0] == "wrong shapes: model.res_norm.weight is (31,), config.json implies (32,)"


def test_two_tensors_in_one_place_are_refused(copy):
    folder = rewrite(
        copy("fla_full_43"),
        lambda tensors: tensors.update({"model.embed_tokens.weight": tensors["model.embeddings.weight"].clone()}),
    )
    assert refusal(folder)[0] == "two tensors in the place of model.embeddings.weight"


def test_sizes_that_a_config_leaves_out_are_its_code_s_own(copy):
    """FLA's MLP: 2/3 of four times the width, up to a multiple of 256; as many key heads as heads."""
    folder = configure(copy("fla_full_43"), intermediate_size=None)
    config = json.loads((folder / "config.json").read_text()) | {"intermediate_size": None, "hidden_ratio": None}
    (folder / "config.json").write_text(json.dumps(config))
    found = inspect_checkpoint(folder)
    assert (found.size("intermediate_size"), found.size("num_key_value_heads")) == (256, 4)
    assert inspect_checkpoint(copy("nanogpt_31", swiglu_mult=None)).size("intermediate_size") == 64


def test_heads_of_their_own_are_read_where_the_config_says_so(copy):
    """An unembedding that is not the embedding, in a nanoGPT; one that is, in an FLA transformer."""
    folder = copy("nanogpt_31")
    tied = ac.load_model(folder).logits(IDS)
    assert refusal(configure(folder, tie_word_embeddings=False))[0] == "1 missing tensors (lm_head.weight)"
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"] * 2}))
    torch.testing.assert_close(ac.load_model(folder).logits(IDS), tied * 2)
    fla = rewrite(copy("fla_full_43"), lambda tensors: tensors.pop("lm_head.weight", None))
    network = ac.load_model(configure(fla, tie_word_embeddings=True)).network
    assert network.lm_head.weight is network.model.embed_tokens.weight


def test_a_number_of_blocks_that_a_schedule_does_not_use_may_be_its_code_s_default(copy):
    """The public code's is 8, whatever the number of layers."""
    assert ac.load_model(copy("delta_34", attnres_num_blocks=8)).logits(IDS).isfinite().all()
    assert refusal(copy("delta_block_36", attnres_num_blocks=8))[0] == "attnres_num_blocks 8 for 6 layers"


def test_a_static_arm_read_as_a_dynamic_one_is_refused(copy):
    folder = configure(copy("nanogpt_static_33"), use_static_attn_res=False)
    assert refusal(folder)[0].startswith("17 missing tensors (attn_res_normf.weight, ")


@pytest.mark.parametrize("name", ["nanogpt_31", "nanogpt_static_33", "fla_full_43", "delta_null_35", "delta_v_38"])
def test_an_untrained_model_of_any_kind_routes_uniformly(conformance, name):
    model = load_checkpoint(dataclasses.replace(inspect_checkpoint(conformance / name), weights=Weights.UNTRAINED))
    for site, weights in model.depth_weights(IDS).items():
        assert torch.allclose(weights, torch.tensor(1 / len(site.sources)), atol=1e-6)


def test_a_vanilla_qwen3_is_still_the_library_s(tmp_path):
    network = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8, tie_word_embeddings=False)).eval()
    model = ac.load_model(save(tmp_path / "qwen3", network), wrap=20.0, num_blocks=2)
    with torch.inference_mode():
        assert (model.logits(IDS) - network(input_ids=IDS).logits).abs().max() < 1e-4
