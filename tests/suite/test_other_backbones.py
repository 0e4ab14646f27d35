"""A whole suite on backbones other than Qwen3: both roles of one backbone, and roles of two."""

import shutil

import pytest
from support.checkpoint_copies import baseline
from support.small_suite import record_of
from transformers import LlamaConfig, LlamaForCausalLM

from conftest import write_tokenizer

CLAIMS = """
from attnres_core import *

@claim(effect=drop(EMBEDDING, MLP).on(TRAINED))
def test_embedding(effect):
    assert effect > -50

@claim(effect=drop(NULL, ATTN).on(TRAINED), mass=mass(NULL, ATTN).on(TRAINED))
def test_null(effect, mass):
    assert effect > -50
    assert mass > 0

@claim(error=closed_form_error(ATTN).on(WRAPPED))
def test_wrapped_routing_is_the_closed_form(error):
    assert error < 1e-5

@claim(effect=schedule(MLP).on(TRAINED))
def test_schedule(effect):
    assert effect > -50

@claim(
    trained=mean(EMBEDDING, MLP).on(TRAINED),
    untrained=mean(EMBEDDING, MLP).on(UNTRAINED),
    stock=drop(CURRENT, MLP).on(STOCK),
)
def test_roles(trained, untrained, stock):
    assert trained - untrained > -50
    assert stock > -50
"""


def vanilla_llama(folder):
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("name", ["nanogpt_static_33", "delta_null_35", "fla_full_43"])
def test_a_suite_decides_claims_on_it(suite, conformance, tmp_path, pytester, name):
    trained = shutil.copytree(conformance / name, tmp_path / "trained")
    vanilla = tmp_path / "vanilla"
    if name == "delta_null_35":
        vanilla_llama(vanilla)
    else:
        baseline(trained, vanilla)
    for folder in (trained, vanilla):
        write_tokenizer(folder)
    result = suite("-n0", f"--attnres-trained={trained}", f"--attnres-vanilla={vanilla}", claims=CLAIMS)
    record = record_of(pytester)
    verdicts = {claim["node_id"].partition("::")[2]: claim["verdict"] for claim in record["claims"]}
    delta = name == "delta_null_35"
    assert verdicts == {
        "test_embedding": "SUPPORTED",
        "test_null": "SUPPORTED" if delta else "NOT APPLICABLE",
        "test_wrapped_routing_is_the_closed_form": "SUPPORTED",
        "test_schedule": "NOT APPLICABLE" if delta else "SUPPORTED",
        "test_roles": "SUPPORTED",
    }, result.stdout.str()
    noise = [statement["noise_floor"] for claim in record["claims"] for statement in claim["statements"]]
    assert max(floor for floor in noise if floor is not None) < 1e-4
    families = {row["family"] for row in record["maps"]["trained"]}
    assert ("null" in families, "current" in families) == (delta, not delta)
