"""Pairs of sentences, good and bad: what is read off their losses, what is refused, and the pairs that ship."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_suite import record_of, verdicts

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.exploration.violations import stated
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.prompts import PromptSet, Sentences, Split, load_prompts
from attnres_core.shipped import fixtures, reference
from attnres_core.suite.run_prompts import named_set, read_run_prompts
from attnres_core.training import sentences as making

DROP = ac.drop(ac.CURRENT, ac.MLP)
LEAD, ACCURACY = (DROP.on(ac.TRAINED, metric=metric) for metric in (ac.SENTENCE_LEAD, ac.SENTENCE_ACCURACY))
CLEAN = ac.sentence_accuracy()
PAIRS = (("w5 w6 w7 w8", "w5 w6 w9"), ("w3 w4", "w3 w60 w2"), ("w1 w2 w3 w4 w5", "w1 w2 w4 w4 w5"))


def rows(pairs=PAIRS):
    return [
        {"id": f"p{index} {which}", "document": f"p{index}", "sentence": which, "text": text, "split": "exploration"}
        for index, pair in enumerate(pairs)
        for which, text in zip(("good", "bad"), pair, strict=True)
    ]


@pytest.fixture
def written(tmp_path):
    def write(given):
        file = tmp_path / "sentences.jsonl"
        file.write_text("\n".join(map(json.dumps, given)))
        return file

    return write


@pytest.fixture(scope="module")
def model(micro):
    return ac.load_model(micro / "trained")


# By hand --------------------------------------------------------------------------------------------------------------


def test_a_lead_is_the_difference_of_summed_losses():
    """Good: 2 predictions of 3 nats; bad: 4 of 2 nats. So ln p is -6 and -8, and the good one leads by 2."""
    pairs = Sentences(np.array([True, False, False, True]), np.array([2, 4, 1, 5]))
    leads = pairs.leads(np.array([3.0, 2.0, 7.0, 2.0]))
    assert leads.tolist() == [2, 2, -3, -3]  # second pair: -(5 * 2) + 1 * 7
    assert pairs.head(2).leads(np.array([3.0, 2.0])).tolist() == [2, 2]


LOSSES = st.lists(st.tuples(*[st.floats(0, 20)] * 2, *[st.integers(1, 60)] * 2, st.booleans()), min_size=1, max_size=9)


@given(LOSSES)
def test_leads_turn_with_the_pair_and_are_sums(found):
    losses = np.array([loss for one, other, *_ in found for loss in (one, other)])
    counts = np.array([count for *_, one, other, _ in found for count in (one, other)])
    good = np.array([which for *_, first in found for which in (first, not first)])
    leads = Sentences(good, counts).leads(losses)
    assert np.allclose(Sentences(~good, counts).leads(losses), -leads)
    assert np.allclose(leads[::2], leads[1::2])
    for place, (one, other, a, b, first) in enumerate(found):
        expected = (b * other - a * one) * (1 if first else -1)
        assert math.isclose(leads[2 * place], expected, abs_tol=1e-9)


def test_metrics_are_those_of_whole_runs(model, written):
    """The plain way: logits of each sentence by itself, log-probabilities summed."""
    prompts = load_prompts(written(rows()))
    columns = ac.measure(model, prompts, [LEAD, ACCURACY, CLEAN, DROP])

    def log_p(text, what):
        ids = torch.tensor([[int(word[1:]) for word in text.split()]])
        found = model.logits(ids, ablation=what)[0, :-1].double().log_softmax(-1)
        return found.gather(1, ids[0, 1:, None]).sum().item()

    by_document = {f"p{index}": pair for index, pair in enumerate(PAIRS)}
    for row, prompt in enumerate(prompts.prompts):
        good, bad = by_document[prompt.document]
        clean, ablated = (log_p(good, what) - log_p(bad, what) for what in (None, DROP))
        assert columns[LEAD][row] == pytest.approx(clean - ablated, abs=1e-4)
        assert columns[ACCURACY][row] == 100 * ((clean > 0) - (ablated > 0))
        assert columns[CLEAN][row] == 100 * (clean > 0)
    assert np.abs(columns[LEAD]).min() > 0.01


def test_a_pair_turned_round_has_the_opposite_lead(model, written):
    one = ac.measure(model, load_prompts(written(rows())), [LEAD])[LEAD]
    turned = rows([pair[::-1] for pair in PAIRS])
    other = ac.measure(model, load_prompts(written(turned)), [LEAD])[LEAD]
    assert sorted(one) == pytest.approx(sorted(-other), abs=1e-5)


def test_draws_are_scored_one_by_one_and_averaged(model, written):
    """Accuracy is no mean of leads: two masks that spoil a pair each cost 100, and half of them 50."""
    drawn = ac.random_sources(ac.drop(ac.OLDER & ac.RECENT, ac.ALL_SUBLAYERS), draws=4)
    wanted = drawn.on(ac.TRAINED, metric=ac.SENTENCE_ACCURACY)
    column = ac.measure(model, load_prompts(written(rows())), [wanted])[wanted]
    assert set(column % 25) == {0}


def test_the_two_sentences_are_told_apart_by_the_digest(written):
    before, after = (load_prompts(written(rows(pairs))) for pairs in (PAIRS, [pair[::-1] for pair in PAIRS]))
    assert before.digest != after.digest


# What is no pair ------------------------------------------------------------------------------------------------------

GOOD, BAD = rows()[:2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([GOOD], "document 'p0' has 1 good and 0 bad sentences; a pair is one of each"),
        ([GOOD, BAD | {"sentence": "good"}], "document 'p0' has 2 good and 0 bad sentences"),
        ([GOOD, BAD, BAD | {"id": "p1"}], "document 'p0' has 1 good and 2 bad sentences"),
        ([GOOD, BAD | {"text": GOOD["text"]}], "the good and the bad sentence of document 'p0' are one text"),
        ([GOOD, BAD | {"sentence": "worse"}], "line 2: `sentence` is 'worse'; allowed: good, bad"),
        ([GOOD, BAD | {"answer": "w1"}], "a `sentence` beside `answer`; a sentence is compared whole"),
        ([GOOD, BAD | {"variant": "x"}], "a `sentence` beside `variant`"),
        (
            [GOOD, BAD, {"id": "x", "text": "w1 w2", "split": "exploration"}],
            "some prompts have `sentence` and some have none",
        ),
    ],
)
def test_files_that_hold_no_pairs(written, given, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(written(given))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("w1 w2", "w2 w2"), "their first tokens differ, and nothing predicts a first token"),
        (("w1 " * 65, "w1 w2"), "65 tokens; sentences are read whole, within 64: shorten them"),
        (("w1 x", "w1 y"), "the tokenizer reads both as the same tokens; give sentences that differ"),
    ],
)
def test_pairs_that_cannot_be_compared(model, written, pair, message):
    with pytest.raises(ValueError, match=message):
        ac.measure(model, load_prompts(written(rows([pair]))), [LEAD])


def test_half_a_pair_is_refused(micro, written):
    prompts = load_prompts(written(rows()))
    half = PromptSet("half", prompts.prompts[:3])
    with pytest.raises(ValueError, match="is read without the other of its pair; read one prompt more"):
        half.sentences(micro / "trained/tokenizer.json")


WANTED = {"lead": LEAD, "accuracy": ACCURACY, "clean": CLEAN}


@pytest.mark.parametrize("wanted", WANTED)  # (by name: a quantity for a parameter would make the test a claim)
def test_prompts_that_are_no_sentences_are_named(model, micro, wanted):
    wanted = WANTED[wanted]
    for prompts in ([[1, 2, 3]], load_prompts(micro / "prompts.jsonl").part("exploration", 4)):
        with pytest.raises(ValueError, match="needs pairs of prompts, one with `sentence` good and one bad"):
            ac.measure(model, prompts, [wanted])


def test_words_that_make_no_sense_of_pairs_are_refused():
    with pytest.raises(ValueError, match="sentence_lead is of whole sentences: leave `at` out"):
        DROP.on(ac.TRAINED, metric=ac.SENTENCE_LEAD, at=ac.LAST)
    with pytest.raises(ValueError, match="is of pairs; give one of single prompts, such as DELTA_NLL"):
        ac.mass_and_effect("slope").on(ac.TRAINED, metric="sentence_accuracy")
    with pytest.raises(ValueError, match=r"`summary` is sentence_accuracy\(\); give entropy"):
        ac.summary_and_loss("slope", CLEAN)
    for quantity in (ACCURACY, CLEAN.on(ac.TRAINED)):
        with pytest.raises(ValueError, match="is no number of a single prompt"):
            stated(quantity)


# In a run -------------------------------------------------------------------------------------------------------------

CLAIMS = """
from attnres_core import (ALL_SUBLAYERS, CURRENT, MLP, RECENT, SENTENCE_ACCURACY, SENTENCE_LEAD, TRAINED, claim, drop,
    random_sources, resample, sentence_accuracy)

MASK = drop(RECENT, ALL_SUBLAYERS)
RANDOM = random_sources(MASK, draws=2)

@claim(loss=drop(CURRENT, MLP).on(TRAINED))
def test_loss(loss):
    assert loss > -9

@claim(lost=MASK.on(TRAINED), random=RANDOM.on(TRAINED), under=[drop, resample])
def test_excess_loss(lost, random):
    assert abs(lost - random) < 9
"""
MORE = """
@claim(clean=sentence_accuracy().on(TRAINED))
def test_clean(clean):
    assert clean > 2

@claim(lost=drop(CURRENT, MLP).on(TRAINED, metric=SENTENCE_ACCURACY))
def test_accuracy(lost):
    assert lost < 90

@claim(lost=drop(CURRENT, MLP).on(TRAINED, metric=SENTENCE_LEAD))
def test_lead(lost):
    assert abs(lost) < 90

@claim(lost=MASK.on(TRAINED, metric=SENTENCE_LEAD), random=RANDOM.on(TRAINED, metric=SENTENCE_LEAD),
       under=[drop, resample])
def test_excess(lost, random):
    assert abs(lost - random) < 90
"""


@pytest.mark.usefixtures("_quiet")
def test_a_store_of_losses_answers_claims_about_sentences(suite, pytester, model, written):
    """By document, and nothing is measured for them; they say what `measure` says."""
    rng, made = np.random.default_rng(0), []
    for index in range(64):
        start = " ".join(f"w{token}" for token in rng.integers(0, 96, 6))
        named = {"document": f"d{index}", "split": ("exploration", "confirmation")[index % 2]}
        for row in rows([(f"{start} w{index}", f"{start} w{(index + 7) % 96}")]):
            made.append(row | named | {"id": f"d{index} {row['sentence']}"})
    file = written(made)
    options = ("-n0", "-q", f"--attnres-prompts={file}", "--attnres-store=store")
    suite(*options, claims=CLAIMS)
    suite(*options, claims=CLAIMS + MORE)
    assert record_of(pytester)["run"]["bundles_measured"] == 0
    found = verdicts(pytester)
    words = {name: entry["verdict"] for name, entry in found.items()}
    assert words == dict.fromkeys(found, "SUPPORTED") | {"test_accuracy": "INCONCLUSIVE"}  # few pairs change
    units = {name: entry["statements"][0]["unit"] for name, entry in found.items()}
    assert (units["test_accuracy"], units["test_lead"], units["test_clean"]) == ("pp", "nats", "% of pairs")
    columns = ac.measure(model, load_prompts(file).part("exploration"), [LEAD, ACCURACY, CLEAN])
    for name, what in (("test_lead", LEAD), ("test_accuracy", ACCURACY), ("test_clean", CLEAN)):
        assert found[name]["n"] == 32
        assert found[name]["statements"][0]["estimate"] == pytest.approx(columns[what].mean(), abs=1e-4)
        assert found[name]["statements"][0]["noise_floor"] < 1e-3


# What ships -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phenomenon", making.PHENOMENA)
def test_the_shipped_sentences_are_what_their_seed_makes(phenomenon):
    file, tokenizer = (
        fixtures() / f"prompts/sentences-{phenomenon}.jsonl",
        reference("tiny-open-block") / "tokenizer.json",
    )
    found, manifest = load_prompts(file), json.loads((fixtures() / "prompts/sentences.json").read_text())
    assert manifest[phenomenon]["digest"] == found.digest
    assert {split: len(found.part(split).documents) for split in Split} == {"exploration": 128, "confirmation": 256}
    texts = {(prompt.document, prompt.sentence): prompt.text for prompt in found.prompts}
    made = making.pairs_of(phenomenon, making.read_tokenizer(tokenizer), 20)
    assert [texts[f"{phenomenon}-{index:03d}", "good"] for index in range(20)] == [good for good, _ in made]
    assert found.sentences(tokenizer) is not None


@pytest.mark.parametrize("phenomenon", making.PHENOMENA)
def test_no_sentence_stands_twice_and_pairs_differ_in_one_point(phenomenon):
    prompts = load_prompts(fixtures() / f"prompts/sentences-{phenomenon}.jsonl").prompts
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    for one, other in zip(prompts[::2], prompts[1::2], strict=True):
        words = [prompt.text.rstrip(".?").split() for prompt in (one, other)]
        if phenomenon == "islands":  # the same words in another order, less a second noun or an `and`
            assert sorted(words[0])[:3] == sorted(words[1])[:3] or set(words[0]) == set(words[1])
        elif phenomenon != "quantifiers":
            assert sum(a != b for a, b in zip(*words, strict=True)) == 1


def test_a_shorter_list_of_a_seed_is_the_beginning_of_a_longer_one():
    tokenizer = making.read_tokenizer(reference("tiny-open-block") / "tokenizer.json")
    few, many = ([*making.pairs_of("binding", tokenizer, count)] for count in (5, 9))
    assert many[:5] == few
    assert [*making.pairs_of("binding", tokenizer, 5, seed=1)] != few


def test_shipped_sentences_that_do_not_fit_a_tokenizer_are_not_applicable(micro):
    file, remedy = named_set("sentences-anaphor", None, micro)
    found = read_run_prompts(file, inspect_checkpoint(micro / "trained"), remedy=remedy)
    assert "the tokenizer reads both as the same tokens" in found.unfit
    assert "`python -m attnres_core prompts sentences --checkpoint PATH --out DIR` makes one for yours" in found.unfit


def test_a_tokenizer_that_knows_no_word_makes_no_pairs(micro):
    with pytest.raises(ValueError, match="anaphor: of 1600 pairs drawn, 0 are new and can be compared; 16 are wanted"):
        [*making.pairs_of("anaphor", making.read_tokenizer(micro / "trained/tokenizer.json"), 16)]


def test_the_command_writes_a_file_a_phenomenon_and_their_manifest(tmp_path, capsys):
    command = ["prompts", "sentences", "--out", str(tmp_path)]
    main([*command, "--exploration", "16", "--confirmation", "17"])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{tmp_path}/sentences-anaphor.jsonl: 16 pairs to explore, 17 to confirm (anaphor agreement)"
    assert len(told) == len(making.PHENOMENA)
    found = load_prompts(tmp_path / "sentences-islands.jsonl")
    assert [len(found.part(split).documents) for split in Split] == [16, 17]
    manifest = json.loads((tmp_path / "sentences.json").read_text())
    assert manifest["islands"]["follows"] == "BLiMP: island effects"
    assert manifest["command"] == "python -m attnres_core prompts sentences --checkpoint tiny-open-block"
    with pytest.raises(SystemExit):
        main([*command, "--exploration", "15"])
    assert "--exploration 15 --confirmation 256: give 16 pairs at least of each" in capsys.readouterr().err
