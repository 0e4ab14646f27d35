"""`inkling2` checkpoints are recognised from config and headers, and loaded strictly."""

import dataclasses
import json

import pytest
import torch
from support.checkpoint_copies import configure, refusal, rewrite, shard
from support.inkling2_models import VOCABULARY, inkling2_library, save_inkling2
from transformers.models.inkling2.configuration_inkling2 import Inkling2TextConfig

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import Weights, inspect_checkpoint
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.loading import load_checkpoint

IDS = torch.arange(12).reshape(2, 6)


@pytest.fixture
def folder(tmp_path):
    """Seven layers, three a block, of both kinds of attention."""
    return save_inkling2(tmp_path / "own", inkling2_library("hybrid"))


def test_a_checkpoint_is_recognised_without_its_tensors_being_read(folder):
    checkpoint = inspect_checkpoint(folder)
    assert checkpoint.dialect.name == "inkling2"
    assert (checkpoint.num_layers, checkpoint.dialect.num_blocks, checkpoint.dialect.layers_per_block) == (7, 3, 3)
    assert checkpoint.dialect.full_attention == (1, 4, 6)
    assert [str(site) for site in checkpoint.sites][:6] == [
        "0.mlp",
        "1.attn.q",
        "1.attn.k",
        "1.attn.v",
        "1.mlp",
        "2.attn",
    ]
    assert checkpoint.context == 64


def test_families_follow_the_block_schedule(folder):
    by_name = {str(site): site.sources for site in inspect_checkpoint(folder).sites}
    assert by_name["0.mlp"] == (ac.EMBEDDING, ac.CURRENT)
    assert by_name["3.attn"] == (ac.EMBEDDING, ac.CURRENT)  # read before the finished block is committed
    assert by_name["3.mlp"] == (ac.EMBEDDING, ac.RECENT, ac.CURRENT)
    assert by_name["6.attn.k"] == (ac.EMBEDDING, ac.RECENT, ac.CURRENT)
    assert by_name["7.final"] == (ac.EMBEDDING, ac.OLDER, ac.RECENT, ac.CURRENT)
    assert not any(site.copies for site in inspect_checkpoint(folder).sites)


def test_the_names_that_save_pretrained_writes_are_read(folder, tmp_path):
    inkling2_library("hybrid").save_pretrained(tmp_path / "saved")
    saved, own = ac.load_model(tmp_path / "saved"), ac.load_model(folder)
    assert saved.sites == own.sites
    assert_same(saved, own)


def test_shards_are_read(folder):
    whole = ac.load_model(folder)
    assert_same(ac.load_model(shard(folder)), whole)


def assert_same(one, other):
    """Every weight to the bit; logits but for what kernels make of where in memory the weights lie."""
    weights, others = one.network.state_dict(), other.network.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert torch.allclose(one.logits(IDS), other.logits(IDS), atol=1e-6)


def test_loading_says_nothing(folder, capfd):
    ac.load_model(folder)
    assert capfd.readouterr() == ("", "")


def test_logits_are_those_of_real_tokens(folder):
    model = ac.load_model(folder)
    assert model.logits(IDS).shape[-1] == VOCABULARY
    with pytest.raises(ValueError, match=f"ids run from 0 to {VOCABULARY - 1}"):
        model.logits(torch.tensor([[VOCABULARY]]))


def test_a_missing_tensor_is_named(folder):
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    assert refusal(folder)[0] == "1 missing tensors (model.norm.weight)"


def test_an_unexpected_tensor_is_named(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.extra.weight": torch.zeros(2)}))
    assert refusal(folder)[0] == "1 unexpected tensors (model.extra.weight)"


def test_a_tensor_of_the_wrong_shape_is_named(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.zeros(5)}))
    assert refusal(folder)[0] == "wrong shapes: model.norm.weight is (5,), config.json implies (16,)"


def test_a_weight_that_is_no_number_is_named(folder):
    rewrite(folder, lambda tensors: tensors["lm_head.weight"][0].fill_(torch.nan))
    assert refusal(folder)[0] == "NaN or infinite weights in lm_head.weight"


def test_a_weight_beyond_the_dtype_is_named(folder):
    rewrite(folder, lambda tensors: tensors["lm_head.weight"][0].fill_(1e30))
    assert refusal(folder, dtype="float16")[0] == "weights beyond the range of float16 in lm_head.weight"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"layer_types": ["hybrid_sliding"] * 7}, "{'model.layers.1.attention_input.query': (3, 16)}, where"),
        ({"layer_types": ["hybrid"] * 7}, "{'model.layers.2.attention_input.query': (16,)}, where"),
        ({"layer_types": ["full_attention"] * 7}, "layer types full_attention"),
        ({"layer_types": ["hybrid"] * 3}, "layer_types ['hybrid', 'hybrid', 'hybrid'] for 7 layers"),
        ({"num_hidden_layers": 6}, "num_hidden_layers 6 in config.json, and tensors of 7 layers"),
        ({"hidden_size": 8}, "{'model.final_input.query': (16,)}, where config.json implies (8,)"),
        ({"n_layers_per_attn_res_block": 0}, "config.json has n_layers_per_attn_res_block = 0"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
        ({"moe_intermediate_size": 32}, "wrong shapes: model.layers.0.mlp.experts.gate_up_proj"),
        ({"model_type": "inkling2"}, "model_type 'inkling2', an image-and-text model"),
    ],
)
def test_a_config_that_contradicts_the_tensors_is_refused(folder, changes, found):
    assert refusal(configure(folder, **changes))[0].startswith(found)


def test_a_missing_pseudo_query_is_found_in_the_headers(folder):
    rewrite(folder, lambda tensors: tensors.pop("model.layers.3.mlp_input.query"))
    with pytest.raises(UnsupportedCheckpoint, match=r"no model.layers.3.mlp_input.query, where config.json implies"):
        inspect_checkpoint(folder)


def test_it_cannot_be_wrapped_and_has_its_own_number_of_blocks(folder):
    assert refusal(folder, wrap=3.0)[0] == "an AttnRes checkpoint, and `wrap`"
    assert refusal(folder, num_blocks=4)[0].endswith("so 3 blocks, and `num_blocks` 4")
    assert ac.load_model(folder, num_blocks=3).dialect == "inkling2"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Inkling2TextConfig)])
@pytest.mark.filterwarnings("ignore")
def test_no_junk_in_a_config_escapes_as_another_error(folder, field):
    config = json.loads((folder / "config.json").read_text())
    for junk in (None, "x", -1, 0, 0.5, [], {}, [[1]], True):
        (folder / "config.json").write_text(json.dumps({**config, field: junk}))
        try:
            ac.load_model(folder)
        except UnsupportedCheckpoint as error:
            assert "config" in str(error) or field in str(error)  # noqa: PT017 (some junk is harmless)


def test_untrained_is_seeded_and_reads_uniformly(folder):
    checkpoint = dataclasses.replace(inspect_checkpoint(folder), weights=Weights.UNTRAINED)
    first, second = load_checkpoint(checkpoint), load_checkpoint(checkpoint)
    assert torch.equal(first.logits(IDS), second.logits(IDS))
    for site, weights in first.depth_weights(IDS).items():
        assert torch.allclose(weights, torch.tensor(1 / len(site.sources))), site
    assert not torch.equal(first.logits(IDS), ac.load_model(folder).logits(IDS))
