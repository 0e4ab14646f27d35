"""Training: the text is split without leaks, three models start alike, and a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4HyperConnection

from attnres_core.__main__ import main
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.models.loading import load_model
from attnres_core.models.networks.nanogpt import NanoGPTForCausalLM
from attnres_core.models.networks.qwen3 import Qwen3AttnResForCausalLM
from attnres_core.training import babylm_shape, train
from attnres_core.training.corpus import HELD_OUT_SHARE, SHINGLE, Corpus, Document, shingles, split_documents

ROOT = Path(__file__).parents[2]
RECIPE = train.Recipe(steps=6, batch=2, length=8, warmup=2, precision="float32")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models in small: 2 layers in 2 blocks, 16 words; tiny-nanogpt 4 in 2, since its blocks have 2."""
    shape = {
        "vocab_size": 16,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "intermediate_size": 16,
    }
    config = train.base_config() | shape
    monkeypatch.setattr(train, "base_config", lambda: dict(config))
    monkeypatch.setattr(train, "NUM_BLOCKS", 2)
    monkeypatch.setattr(train, "VOCABULARY", 16)
    monkeypatch.setattr(babylm_shape, "WIDTH", 24)
    monkeypatch.setattr(babylm_shape, "LAYERS", 4)


def documents(count: int, length: int = 12, vocabulary: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, vocabulary, length) for _ in range(count)]


# The corpus


def document(text: str) -> Document:
    return Document(f"package:module.py:{hashlib.sha256(text.encode()).hexdigest()[:6]}", "package", text)


def words(start: int, count: int) -> str:
    return " ".join(f"word{index}" for index in range(start, start + count))


def placed(text: str, *, held_out: bool) -> Document:
    """A document of this text whose hash puts it into the wanted split; blank lines at its end steer the hash."""
    for blanks in itertools.count():
        found = document(text + "\n" * blanks)
        if (int(found.digest[:8], 16) < int(HELD_OUT_SHARE * 16**8)) is held_out:
            return found
    raise AssertionError


def texts(split: Sequence[Document]) -> set[str]:
    return {found.text.strip() for found in split}


def test_a_documents_digest_is_its_texts() -> None:
    assert Document("a", "b", "text").digest == Document("c", "d", "text").digest == hashlib.sha256(b"text").hexdigest()


def test_shingles_are_the_runs_of_eight_words() -> None:
    assert len(shingles(words(0, SHINGLE + 3))) == 4
    assert shingles(words(0, 9)) & shingles(words(1, 9)) == shingles(words(1, 8))


def test_shingles_ignore_case_and_line_breaks() -> None:
    assert shingles("One two\n  three") == shingles("one TWO three")


def test_a_text_shorter_than_a_shingle_is_one_shingle() -> None:
    assert len(shingles("one two three")) == 1


def test_documents_of_one_text_collapse_to_the_first() -> None:
    first, second = Document("first", "p", words(0, 30)), Document("second", "p", words(0, 30))
    corpus = split_documents([first, second])
    assert [*corpus.train, *corpus.held_out] == [first]


def test_a_documents_split_is_decided_by_its_text() -> None:
    training, held_out = placed(words(0, 30), held_out=False), placed(words(100, 30), held_out=True)
    assert split_documents([held_out, training]) == Corpus((training,), (held_out,))


def test_about_the_wanted_share_is_held_out() -> None:
    corpus = split_documents(document(words(100 * index, 20)) for index in range(2000))
    assert abs(len(corpus.held_out) / 2000 - HELD_OUT_SHARE) < 0.02


def test_the_order_of_the_documents_changes_nothing() -> None:
    some = [document(words(index * 7, 20)) for index in range(200)]
    assert split_documents(some) == split_documents(reversed(some))


def test_a_training_document_that_repeats_a_held_out_one_is_removed() -> None:
    held_out = placed(words(0, 40), held_out=True)
    repeat = placed(words(0, 38) + " two others", held_out=False)
    other = placed(words(100, 40), held_out=False)
    corpus = split_documents([held_out, repeat, other])
    assert corpus == Corpus((other,), (held_out,))


def test_a_held_out_document_inside_a_long_training_document_is_removed() -> None:
    short = placed(words(10, 20), held_out=True)
    long = placed(words(0, 400), held_out=False)  # shares 3 % of its own shingles: stays
    assert split_documents([short, long]) == Corpus((long,), ())


def test_held_out_documents_do_not_repeat_each_other() -> None:
    pair = [placed(words(0, 40), held_out=True), placed(words(0, 39) + " other", held_out=True)]
    kept = min(pair, key=lambda found: found.digest)
    assert split_documents(pair).held_out == (kept,)


def test_a_shared_sentence_is_no_near_duplicate() -> None:
    held_out = placed(words(0, 40), held_out=True)
    training = placed(words(0, 10) + " " + words(200, 30), held_out=False)
    corpus = split_documents([held_out, training])
    assert (texts(corpus.train), texts(corpus.held_out)) == (texts([training]), texts([held_out]))


def test_the_corpus_digest_tells_the_splits_apart() -> None:
    one, other = document("one"), document("other")
    digests = {Corpus((one,), (other,)).digest, Corpus((other,), (one,)).digest, Corpus((one, other), ()).digest}
    assert len(digests) == 3


# Batches


def first_batches(recipe: train.Recipe, count: int = 9) -> Tensor:
    return torch.stack(list(itertools.islice(train.batches(documents(12), recipe), count)))


def test_batches_are_the_same_every_time() -> None:
    assert torch.equal(first_batches(RECIPE), first_batches(RECIPE))


def test_another_seed_gives_another_order() -> None:
    assert not torch.equal(first_batches(RECIPE), first_batches(replace(RECIPE, seed=1)))


def test_a_batch_holds_one_token_more_than_is_read() -> None:
    assert first_batches(RECIPE).shape == (9, RECIPE.batch, RECIPE.length + 1)


def test_an_epoch_shows_every_window_once() -> None:
    # 12 documents of 9 distinct tokens are 12 windows: 6 batches of 2.
    some = [np.arange(9) + 9 * index for index in range(12)]
    epoch = torch.cat(list(itertools.islice(train.batches(some, RECIPE), 6)))
    assert sorted(epoch.flatten().tolist()) == list(range(108))


@pytest.mark.usefixtures("small")
def test_every_model_is_fed_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: dict[str, list[list[list[int]]]] = {}
    plain = train.logits_of
    for name in (*train.NAMES, train.NANOGPT):
        fed[name] = []

        def watch(model: nn.Module, ids: Tensor, seen: list[list[list[int]]] = fed[name]) -> Tensor:
            seen.append(ids.tolist())
            return plain(model, ids)

        monkeypatch.setattr(train, "logits_of", watch)
        train.train_one(name, documents(12), RECIPE, device="cpu", scratch=tmp_path, compiled=False)
    assert len(fed["tiny-vanilla"]) == RECIPE.steps
    assert all(each == fed["tiny-vanilla"] for each in fed.values())


# Baselines and summaries


def test_the_ngram_baselines_match_a_calculation_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "VOCABULARY", 3)
    found = train.ngram_nll([np.array([0, 1, 0, 1])], [np.array([0, 1, 2]), np.array([2, 0])])
    # Unigram counts with one added: 3, 3, 1 of 7. Bigrams: 0 1 twice, 1 0 once; 2 was never a context.
    zero, one, two = 3 / 7, 3 / 7, 1 / 7
    unigram = -np.log([one, two, zero]).mean()
    after_zero = (2 - 0.75) / 2 + 0.75 * 1 / 2 * one  # 0 -> 1: count 2 of 2, one kind of successor
    after_one = 0 + 0.75 * 1 / 1 * two  # 1 -> 2: never seen after 1
    after_two = zero  # 2 -> 0: no such context, so the unigram
    bigram = -np.log([after_zero, after_one, after_two]).mean()
    assert found == pytest.approx({"unigram": unigram, "bigram": bigram})


def test_the_bigram_baseline_is_a_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "VOCABULARY", 5)
    text = documents(4, 20, 4)  # word 4 is never seen
    for before in range(5):
        chances = [np.exp(-train.ngram_nll(text, [np.array([before, after])])["bigram"]) for after in range(5)]
        assert sum(chances) == pytest.approx(1)


def test_documents_of_equal_length_are_summarised_by_the_plain_mean_and_t_interval() -> None:
    nll = np.array([2.0, 3.0, 4.0, 7.0])  # mean 4, standard error sqrt(14/3)/2, t(0.975, 3) = 3.182446
    found = train.summarise_nll(np.stack([nll * 10, np.full(4, 10.0)], 1))
    half = 3.182446 * np.sqrt(14 / 3) / 2
    assert found == pytest.approx({"mean": 4.0, "low": 4 - half, "high": 4 + half, "documents": 4}, rel=1e-6)


def test_a_longer_document_weighs_more() -> None:
    assert train.summarise_nll(np.array([[2.0, 1.0], [3.0, 3.0]]))["mean"] == pytest.approx(5 / 4)


@pytest.mark.usefixtures("small")
def test_a_documents_nll_does_not_depend_on_its_batch() -> None:
    model = train.build_model("tiny-open-block", 0)
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 16, length) for length in (5, 11, 2, 8)]
    together = train.document_nll(model, some, "cpu")
    alone = np.concatenate([train.document_nll(model, [ids], "cpu") for ids in some])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert together[:, 1].tolist() == [4, 10, 1, 7]


# The models


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["tiny-open-block", "tiny-kimi-block"])
def test_the_weights_that_models_share_start_equal(name: str) -> None:
    vanilla, routed = (train.build_model(which, 7).state_dict() for which in ("tiny-vanilla", name))
    assert all(torch.equal(routed[key], value) for key, value in vanilla.items())
    assert {key for key in routed.keys() - vanilla.keys() if "_res_" not in key} == set()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "count"), [("tiny-open-block", 4), ("tiny-kimi-block", 5), ("tiny-nanogpt", 9)])
def test_pseudo_queries_start_at_exactly_zero(name: str, count: int) -> None:
    queries = [p for key, p in train.build_model(name, 7).named_parameters() if key.endswith("_res_proj.weight")]
    assert len(queries) == count  # two a layer, and the final read-out
    assert all(not query.any() for query in queries)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [*train.NAMES, *train.RECIPES])
def test_embedding_and_head_are_tied(name: str) -> None:
    model = train.build_model(name, 7)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.usefixtures("small")
def test_routing_is_uniform_before_training() -> None:
    model = train.build_model("tiny-open-block", 7)
    assert isinstance(model, Qwen3AttnResForCausalLM)
    ids, weights = torch.arange(12).reshape(2, 6), []
    model.run(model.begin(ids), model.prepare(ids), observe=lambda key, sources, read: weights.append(read.weights))
    assert [len(each) for each in weights] == [2, 2, 3, 3]  # two blocks: embedding, (first block,) current
    for each in weights:
        torch.testing.assert_close(each, torch.full_like(each, 1 / len(each)))


@pytest.mark.usefixtures("small")
def test_parallel_streams_hardly_mix_before_training() -> None:
    """A stream keeps e^4 / (e^4 + 3) = .95 of itself, give or take what its own numbers add to the logits."""
    model = train.build_model(train.HYPER_CONNECTED, 7)
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: Any, result: tuple[Tensor, Tensor, Tensor]) -> None:
        kept.append(result[1].diagonal(dim1=-2, dim2=-1))

    sites = [module for module in model.modules() if isinstance(module, DeepseekV4HyperConnection)]
    assert len(sites) == 18  # two a layer
    for module in sites:
        module.register_forward_hook(keep)
    with torch.inference_mode():
        model(torch.arange(12).reshape(2, 6))
    assert torch.stack(kept).mean() == pytest.approx(math.exp(4) / (math.exp(4) + 3), abs=0.02)
    assert torch.stack(kept).min() > 0.8


@pytest.mark.usefixtures("small")
def test_another_seed_gives_other_weights() -> None:
    one, other = (train.build_model("tiny-vanilla", seed).state_dict() for seed in (1, 2))
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_the_learning_rate_warms_up_linearly_then_falls_to_a_tenth() -> None:
    recipe = train.Recipe(steps=300, warmup=100, learning_rate=1.0)
    rates = [train.learning_rate(step, recipe) for step in range(301)]
    assert rates[:100] == pytest.approx([(step + 1) / 100 for step in range(100)])
    assert rates[100] == pytest.approx(1.0)
    assert rates[200] == pytest.approx(0.55)  # halfway down the cosine
    assert rates[300] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[100:]))


@pytest.mark.usefixtures("small")
def test_only_matrices_decay() -> None:
    model = train.build_model("tiny-open-block", 7)
    decaying, still = train.make_optimizer(model, RECIPE).param_groups
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    assert {parameter.dim() for parameter in decaying["params"]} == {2}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in still["params"]}
    assert all("norm" in name or "_res_" in name for name in undecayed)
    assert len(decaying["params"]) + len(undecayed) == len(names)


# Training


@pytest.mark.parametrize("name", [*train.NAMES, train.NANOGPT])
@pytest.mark.usefixtures("small")
def test_a_model_is_compiled_as_one_graph(name: str) -> None:
    """With a break in it every function is compiled by itself, and a step takes twice as long."""
    ids = torch.zeros(2, 8, dtype=torch.long)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(train.build_model(name, 1))(ids)
    assert explained.graph_break_count == 0, explained.break_reasons


class Stopped(Exception):
    """What a test stops a run with."""


def train_to_the_end(
    name: str, scratch: Path, recipe: train.Recipe = RECIPE
) -> tuple[nn.Module, list[dict[str, float]]]:
    scratch.mkdir(exist_ok=True)
    return train.train_one(name, documents(12), recipe, device="cpu", scratch=scratch, compiled=False, save_every=3)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [*train.NAMES, train.NANOGPT])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, _ = train_to_the_end(name, tmp_path / "straight")
    plain = train.batches

    def breaking(some: Sequence[np.ndarray], recipe: train.Recipe) -> Iterator[Tensor]:
        yield from itertools.islice(plain(some, recipe), 4)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(train, "batches", breaking)
        with pytest.raises(Stopped):  # after step 4; step 3 was saved
            train_to_the_end(name, tmp_path / "stopped")
    resumed, _ = train_to_the_end(name, tmp_path / "stopped")
    expected = straight.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


@pytest.mark.usefixtures("small")
def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, curve = train_to_the_end("tiny-vanilla", tmp_path)
    monkeypatch.setattr(train, "logits_of", None)  # a step would fail
    again, same = train_to_the_end("tiny-vanilla", tmp_path)
    assert same == curve
    assert torch.equal(first.model.norm.weight, again.model.norm.weight)


@pytest.mark.usefixtures("small")
def test_the_state_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    train_to_the_end("tiny-vanilla", tmp_path, replace(RECIPE, learning_rate=1e-3))
    after, _ = train_to_the_end("tiny-vanilla", tmp_path)
    fresh, _ = train_to_the_end("tiny-vanilla", tmp_path / "fresh")
    assert torch.equal(after.model.embed_tokens.weight, fresh.model.embed_tokens.weight)


@pytest.mark.usefixtures("small")
def test_the_state_of_another_text_is_not_resumed(tmp_path: Path) -> None:
    others = [ids[::-1].copy() for ids in documents(12)]
    train.train_one("tiny-vanilla", others, RECIPE, device="cpu", scratch=tmp_path, compiled=False)
    after, _ = train_to_the_end("tiny-vanilla", tmp_path)
    fresh, _ = train_to_the_end("tiny-vanilla", tmp_path / "fresh")
    assert torch.equal(after.model.embed_tokens.weight, fresh.model.embed_tokens.weight)


def test_a_kept_step_that_a_resumed_run_has_passed_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    check = train.refuse_passed(tmp_path, [0, 2, 4, 8])
    check(0)
    with pytest.raises(train.PassedStep, match=r"--keep 0 4: the run that is resumed is at step 4 .* --scratch"):
        check(4)


@pytest.mark.usefixtures("small")
def test_seeds_stop_and_go_on_side_by_side(tmp_path: Path) -> None:
    for seed in (1, 2):
        train_to_the_end("tiny-vanilla", tmp_path, replace(RECIPE, seed=seed))
    assert {file.name.rsplit("-", 1)[0] for file in tmp_path.glob("*.pt")} == {"tiny-vanilla-1", "tiny-vanilla-2"}


@pytest.mark.usefixtures("small")
def test_a_manifest_ends_with_the_digest_of_the_weights_beside_it(tmp_path: Path) -> None:
    """A record of a run holds the same digest, so that a manifest tells which seed was measured."""
    for name in ("tiny-open-block", "tiny-vanilla", "tiny-nanogpt"):
        tokenizer = Tokenizer(models.WordLevel({train.END: 0}, unk_token=train.END))
        train.save(train.build_model(name, seed=1), tokenizer, {"name": name}, tmp_path / name)
        wrapped = {"wrap": 10.0, "num_blocks": 2} if name == "tiny-vanilla" else {}
        found = json.loads((tmp_path / name / "manifest.json").read_text())
        assert found == {"name": name, "weights": inspect_checkpoint(tmp_path / name, **wrapped).weights_digest}


@pytest.mark.usefixtures("small")
def test_the_stand_in_is_written_as_the_published_models_are(tmp_path: Path) -> None:
    """Names, config and shapes of a vector of theirs; read back, the same function."""
    model = train.build_model("tiny-nanogpt", 7)
    assert isinstance(model, NanoGPTForCausalLM)
    for parameter in model.parameters():  # (queries of zero would hide a swapped name)
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    babylm_shape.write(model, tmp_path)
    theirs = ROOT / "fixtures/conformance/nanogpt_31"
    stored, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path, theirs))
    assert {name for name in expected if not name.startswith(tuple(f"transformer.h.{i}." for i in range(4, 8)))} == set(
        stored
    )
    assert all(stored[name].dim() == expected[name].dim() for name in stored)
    config, published = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path, theirs))
    own = {"vocab_size", "n_embd", "n_layer", "block_size"}
    assert {key: value for key, value in config.items() if key not in own and published.get(key) != value} == {}
    ids, again = torch.arange(12).reshape(2, 6), load_model(tmp_path)
    torch.testing.assert_close(again.logits(ids), model(ids).float())
    assert (again.dialect, again.checkpoint.num_layers) == ("kimi_block", 4)


def test_the_stand_in_has_the_published_depth() -> None:
    config = babylm_shape.config(train.VOCABULARY)
    assert (config["n_layer"], 2 * config["n_layer"] // config["attn_res_block_size"]) == (16, 8)


def test_the_shipped_checkpoints_are_not_overwritten_by_another_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is read or trained."""
    with pytest.raises(SystemExit):
        main(["train", "tiny-open-block", "--seed", "5", "--out", str(ROOT / "fixtures" / "checkpoints")])
    told = " ".join(capsys.readouterr().err.split())
    assert "tiny-open-block holds a checkpoint of another recipe (seed 20261122); give another --out" in told


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [*train.NAMES, train.NANOGPT])
def test_training_learns_a_constant_text(name: str, tmp_path: Path) -> None:
    some = [np.full(9, 5)] * 4
    recipe = replace(RECIPE, steps=30, learning_rate=0.03)
    before = train.document_nll(train.build_model(name, recipe.seed), some, "cpu")
    model, _ = train.train_one(name, some, recipe, device="cpu", scratch=tmp_path, compiled=False)
    after = train.document_nll(model, some, "cpu")
    assert train.summarise_nll(after)["mean"] < 0.5 * train.summarise_nll(before)["mean"]


@pytest.mark.usefixtures("small")
def test_a_diverged_run_stops_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match=r"^tiny-vanilla-20261122: the loss is nan at step \d; lower the learning rate$"
    ):
        train_to_the_end("tiny-vanilla", tmp_path, replace(RECIPE, learning_rate=float("inf")))
