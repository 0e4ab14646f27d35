"""A whole suite on backbones other than Qwen3: both roles of one backbone, and roles of two."""

import shutil

import pytest
from support.checkpoint_copies import baseline, write_tokenizer
from support.small_suite import record_of
from transformers import LlamaConfig, LlamaForCausalLM

from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.delta_v import DeltaV
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import sites_of
from attnres_core.report.html.routing_chart import routing_heatmap

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


@pytest.mark.parametrize(
    ("schedule", "columns"),
    [
        (OpenBlock(4, 4), ["emb.", "1", "2", "3", "current"]),
        (KimiBlock(2, 1), ["emb.", "current"]),
        (Delta(2, 1, null_source=True), ["null", "emb.", "1", "2", "3"]),
        (DeltaV(2, 1), ["1", "2", "3"]),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_the_page_names_each_source_for_what_it_is(schedule, columns):
    sites = sites_of(schedule)
    entry = {
        "sites": [str(site) for site in sites],
        "sources": [[family and family.value for family in site.sources] for site in sites],
        "mass": [[1 / len(site.sources)] * len(site.sources) for site in sites],
        "entropy": [0.0] * len(sites),
        "peak": [1.0] * len(sites),
    }
    figure = routing_heatmap({"trained": entry})
    domains = [layer["encoding"]["x"]["scale"]["domain"] for panel in figure.spec["concat"] for layer in panel["layer"]]
    assert all(domain == columns for domain in domains)
    listed = dict(zip(entry["sites"], (row[2] for row in figure.rows), strict=True))
    last = sites[-1]
    assert [part.split()[0] for part in listed[str(last)].split(", ")] == columns[: len(last.sources)]
