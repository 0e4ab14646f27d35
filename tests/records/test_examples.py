"""The examples that a claim shows: the right prompts, and token traces that add up to their effects."""

import json
import shutil

import numpy as np
import pytest
import torch
from support.small_suite import record_of, verdicts

import attnres_core as ac
from attnres_core.prompts import Prompt, PromptSet, Split, load_prompts

CLAIMS = """
from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, TRAINED, claim, drop, mass, resample

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_drop(effect):
    assert effect > 5

@claim(one=drop(CURRENT, MLP, LATE, per_site=True).on(TRAINED), other=resample(CURRENT, MLP, LATE).on(TRAINED))
def test_contrast(one, other):
    assert one - 2 * other > 0

@claim(effect=drop(CURRENT, MLP, LATE).on(TRAINED, metric="kl"))
def test_kl(effect):
    assert effect > 0

@claim(weight=mass(CURRENT, ATTN).on(TRAINED))
def test_mass(weight):
    assert weight > 0.1
"""
ONE = ac.drop(ac.CURRENT, ac.MLP, ac.LATE, per_site=True).on(ac.TRAINED)
OTHER = ac.resample(ac.CURRENT, ac.MLP, ac.LATE).on(ac.TRAINED)
DROP = ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY)
pytestmark = pytest.mark.usefixtures("_quiet")


@pytest.fixture
def record(suite, pytester):
    suite(claims=CLAIMS).assert_outcomes(passed=2, failed=2)
    return record_of(pytester)


@pytest.fixture
def material(micro):
    prompts = load_prompts(micro / "prompts.jsonl").part(Split.EXPLORATION)  # nothing is registered
    return ac.load_model(micro / "trained"), prompts


def test_examples_are_the_largest_and_smallest_effects(record, pytester, material):
    model, prompts = material
    columns = ac.measure(model, prompts, [DROP, ONE, OTHER])
    wanted = {"test_drop": columns[DROP], "test_contrast": columns[ONE] - 2 * columns[OTHER]}
    for name, column in wanted.items():
        order = np.argsort(-column)
        names = [prompts.prompts[place].id for place in [*order[:5], *order[-5:]]]
        found = verdicts(pytester)[name]["examples"]
        assert [example["prompt"] for example in found] == names
        assert [example["effect"] for example in found] == pytest.approx(
            [column[place] for place in [*order[:5], *order[-5:]]], abs=1e-5
        )


def test_traces_add_up_to_the_effects(record, pytester):
    for name in ("test_drop", "test_contrast"):
        for example in verdicts(pytester)[name]["examples"]:
            tokens = record["examples"][example["prompt"]]["tokens"]
            assert len(example["trace"]) == len(tokens) - 1
            assert np.mean(example["trace"]) / 1000 == pytest.approx(example["effect"], abs=6e-4)


def test_a_trace_is_each_tokens_rise_in_loss(record, pytester, material):
    model, prompts = material
    example = verdicts(pytester)["test_drop"]["examples"][0]
    texts = {prompt.id: prompt for prompt in prompts.prompts}
    ids = torch.tensor(
        prompts.token_ids(model.checkpoint.tokenizer_file)[prompts.prompts.index(texts[example["prompt"]])]
    )
    losses = [
        torch.nn.functional.cross_entropy(model.logits(ids[None], ablation=what)[0, :-1], ids[1:], reduction="none")
        for what in (DROP, None)
    ]
    rises = 1000 * (losses[0] - losses[1])
    assert example["trace"] == pytest.approx(rises.tolist(), abs=0.6)


def test_only_a_rise_in_loss_is_traced(record, pytester):
    for name in ("test_kl", "test_mass"):
        examples = verdicts(pytester)[name]["examples"]
        assert len(examples) == 10
        assert all(example["trace"] is None for example in examples)


def test_tokens_are_the_prompts_own_text(record, material):
    _, prompts = material
    texts = {prompt.id: prompt.text for prompt in prompts.prompts}
    for name, shown in record["examples"].items():
        assert "".join(shown["tokens"]) == texts[name].replace(" ", "")  # (this tokenizer's words leave spaces out)


def test_with_few_prompts_none_is_shown_twice(suite, pytester):
    suite("--attnres-n-prompts=8", claims=CLAIMS)
    examples = verdicts(pytester)["test_drop"]["examples"]
    assert len({example["prompt"] for example in examples}) == len(examples) == 8


def test_a_claim_shows_its_code_its_distribution_and_its_limits_by_each_method(record, pytester):
    entry = verdicts(pytester)["test_drop"]
    assert entry["source"].startswith("@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))\ndef test_drop")
    (stratum,) = entry["by_stratum"]
    assert stratum["n"] == 40
    assert stratum["values"] == sorted(stratum["values"])
    (statement,) = entry["statements"]
    methods = statement["methods"]
    assert methods.keys() == {"bootstrap-t", "Student's t"}
    floor = statement["noise_floor"]
    assert statement["low"] == pytest.approx(min(low for low, _ in methods.values()) - floor, rel=1e-6)
    assert statement["high"] == pytest.approx(max(high for _, high in methods.values()) + floor, rel=1e-6)


def test_maps_hold_masses_of_every_model_and_effects_where_single_drops_were_measured(record):
    trained = {(row["site"], row["family"]): row for row in record["maps"]["trained"]}
    measured = {place for place, row in trained.items() if "delta_nll" in row}
    late = {site for site, family in measured if family == "current"}
    assert late  # those of the claim that drops site by site
    assert all(site.endswith(".mlp") for site in late)
    assert len(measured) < len(trained)
    assert all(0 <= row["mass"] <= 1 for row in trained.values())


def test_pieces_of_characters_that_several_tokens_share_are_told_once():
    prompts = PromptSet(
        "odd", (Prompt("p", "h\u00e9llo \u65e5\u672c \U0001f642\U0001f642 end", "d", "s", Split.EXPLORATION),)
    )
    tokenizer = ac.reference("tiny-open-block") / "tokenizer.json"
    (pieces,), (ids,) = prompts.token_texts(tokenizer), prompts.token_ids(tokenizer)
    assert "".join(pieces) == prompts.prompts[0].text
    assert len(pieces) == len(ids)
    assert "" in pieces  # the later bytes of one character


def test_effects_at_some_positions_and_of_other_tokenizers_are_not_traced(suite, pytester, micro, tmp_path):
    """The values are shown all the same, and no token is told to have changed."""
    other = shutil.copytree(micro / "vanilla", tmp_path / "vanilla")
    words = json.loads((other / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    words["model"]["vocab"] = {word: (index + 1) % len(vocabulary) for word, index in vocabulary.items()}
    (other / "tokenizer.json").write_text(json.dumps(words))
    claims = (
        CLAIMS.replace('metric="kl"', 'at="last"')
        + """
from attnres_core import WRAPPED

@claim(one=drop(CURRENT, MLP, LATE).on(TRAINED), other=drop(CURRENT, MLP, LATE).on(WRAPPED))
def test_two_tokenizers(one, other):
    assert one - other > -9
"""
    )
    suite(f"--attnres-vanilla={other}", claims=claims)
    found = verdicts(pytester)
    for name in ("test_kl", "test_two_tokenizers"):
        assert found[name]["verdict"] != "ERROR"
        assert [example["trace"] for example in found[name]["examples"]] == [None] * 10
    assert found["test_drop"]["examples"][0]["trace"] is not None
