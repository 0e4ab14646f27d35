"""Prompts with answers and foils: their metrics, positions, what a file may hold, and the shipped ones."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.checkpoint_copies import write_tokenizer

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.prompts import Split, load_prompts
from attnres_core.shipped import fixtures, reference
from attnres_core.suite.run_prompts import read_run_prompts
from attnres_core.training import structured

DROP = ac.drop(ac.CURRENT, ac.MLP)
METRICS = (ac.LOGIT_DIFFERENCE, ac.ANSWER_PROBABILITY)


@pytest.fixture
def asked(tmp_path):
    def write(*rows, **common):
        file = tmp_path / "asked.jsonl"
        rows = [{"id": f"p{index}", "text": "w1 w2 w3", **common, **row} for index, row in enumerate(rows)]
        file.write_text("\n".join(map(json.dumps, rows)))
        return file

    return write


@pytest.fixture
def model(micro):
    return ac.load_model(micro / "trained")


def test_answer_metrics_by_two_plain_runs(model, asked):
    rows = [{"text": "w5 w6 w7 w8", "answer": "w9", "foil": "w1"}, {"text": "w3 w4", "answer": "w2", "foil": "w60"}]
    columns = ac.measure(model, load_prompts(asked(*rows)), [DROP.on(ac.TRAINED, metric=metric) for metric in METRICS])
    order = [prompt.text for prompt in load_prompts(asked(*rows)).prompts]
    for ids, answer, foil in (([5, 6, 7, 8], 9, 1), ([3, 4], 2, 60)):
        row = order.index(" ".join(f"w{token}" for token in ids))
        clean, ablated = (model.logits(torch.tensor([ids]), ablation=what)[0, -1] for what in (None, DROP))
        lead = (clean[answer] - clean[foil]) - (ablated[answer] - ablated[foil])
        lost = clean.softmax(-1)[answer] - ablated.softmax(-1)[answer]
        assert columns[DROP.on(ac.TRAINED, metric=METRICS[0])][row] == pytest.approx(lead.item(), abs=1e-5)
        assert columns[DROP.on(ac.TRAINED, metric=METRICS[1])][row] == pytest.approx(lost.item(), abs=1e-6)


def test_positions_by_two_plain_runs(model):
    rows = [[5, 6, 7, 8, 9], [1, 2, 3], [4, 3, 2, 1, 2, 3, 4, 5]]
    wanted = [DROP.on(ac.TRAINED, metric=m, at=at) for m in ("delta_nll", "kl") for at in (ac.FIRST_THIRD, ac.LAST)]
    columns = ac.measure(model, rows, wanted)
    for row, ids in enumerate(rows):
        logits = (model.logits(torch.tensor([ids]), ablation=what)[0, :-1].double() for what in (None, DROP))
        before, after = (each.log_softmax(-1) for each in logits)
        rise = (before - after).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        kl = (before.exp() * (before - after)).sum(-1)
        third = -(-len(rise) // 3)
        expected = [rise[:third].mean(), rise[-1], kl[:third].mean(), kl[-1]]
        assert [columns[what][row] for what in wanted] == pytest.approx([float(x) for x in expected], abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_prompts_without_answers_are_named(model, metric, asked):
    wanted = [DROP.on(ac.TRAINED, metric=metric)]
    with pytest.raises(ValueError, match=f"{metric} needs prompts that have an `answer`"):
        ac.measure(model, [[1, 2, 3]], wanted)
    unfoiled = load_prompts(asked({"answer": "w9"}))
    if metric is ac.LOGIT_DIFFERENCE:
        with pytest.raises(ValueError, match="an `answer` and a `foil`"):
            ac.measure(model, unfoiled, wanted)
    else:
        assert np.isfinite(ac.measure(model, unfoiled, wanted)[wanted[0]]).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"answer": "w1"}, {}], "some prompts have `answer` and some have none"),
        ([{"answer": "w1", "foil": "w2"}, {"answer": "w1"}], "some prompts have `foil` and some have none"),
        ([{"foil": "w2"}], "a `foil` without an `answer`"),
        ([{"answer": ""}], "`answer` is ''; give a non-empty string"),
    ],
)
def test_files_that_cannot_be_read(asked, rows, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(asked(*rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "w4", "foil": "w4 w5"}, "answer 'w4' and foil 'w4 w5' begin with the same token"),
        ({"text": "w1 " * 65, "answer": "w4"}, "has 65 tokens; the answer must follow within the 64 that are read"),
    ],
)
def test_prompts_that_cannot_be_asked(model, asked, row, message):
    with pytest.raises(ValueError, match=message):
        ac.measure(model, load_prompts(asked(row)), [DROP.on(ac.TRAINED, metric=ac.ANSWER_PROBABILITY)])


def test_a_claim_about_answers(suite, pytester, micro, tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(80):
        words = [f"w{token}" for token in rng.choice(96, 10, replace=False)]
        split = "exploration" if index % 2 else "confirmation"
        row = {"id": f"p{index}", "text": " ".join(words[:8]), "answer": words[8], "foil": words[9], "split": split}
        rows.append(json.dumps(row))
    (tmp_path / "asked.jsonl").write_text("\n".join(rows))
    claims = """
from attnres_core import CURRENT, LOGIT_DIFFERENCE, MLP, TRAINED, claim, drop

@claim(lost=drop(CURRENT, MLP).on(TRAINED, metric=LOGIT_DIFFERENCE))
def test_lost(lost):
    assert abs(lost) < 50
"""
    suite("-n0", "-q", f"--attnres-prompts={tmp_path / 'asked.jsonl'}", claims=claims)
    (entry,) = json.loads((pytester.path / "reports" / "latest.json").read_text())["claims"]
    assert entry["verdict"] == "SUPPORTED"
    assert entry["statements"][0]["unit"] == "logits"


# The shipped sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", structured.KINDS)
def test_the_shipped_sets_are_what_their_seed_makes(kind):
    found = load_prompts(fixtures() / "prompts" / f"{kind}.jsonl")
    manifest = json.loads((fixtures() / "prompts" / "structured.json").read_text())
    assert manifest["seed"] == structured.SEED
    assert manifest[kind] == {"prompts": 256, "exploration": 128, "confirmation": 128, "digest": found.digest}
    tokenizer = reference("tiny-open-block") / "tokenizer.json"
    made = structured.prompts_of(kind, structured.Tokenizer.from_file(str(tokenizer)), 20)
    shipped = {prompt.text: (prompt.answer, prompt.foil) for prompt in found.prompts}
    for asked in made:
        assert shipped[asked.text] == (asked.answer, asked.foil)
    assert found.answer_ids(tokenizer) is not None


def test_answers_are_right():
    for prompt in load_prompts(fixtures() / "prompts" / "induction.jsonl").prompts:
        words = prompt.text.split()
        assert words[words.index(words[-1]) + 1] == prompt.answer.strip() != prompt.foil.strip()
        assert prompt.foil.strip() in words[:12]
    for prompt in load_prompts(fixtures() / "prompts" / "recall.jsonl").prompts:
        *lines, key = prompt.text.split("\n")
        pairs = dict(line.split(": ") for line in lines)
        assert pairs[key.rstrip(":")] == prompt.answer.strip() != prompt.foil.strip()
        assert prompt.foil.strip() in pairs.values()
    for prompt in load_prompts(fixtures() / "prompts" / "closing.jsonl").prompts:
        opened = [character for character in prompt.text if character in '([{`"']
        closes = {"(": ")", "[": "]", "{": "}", "`": "`", '"': '"'}
        assert [closes[character] for character in opened] == [prompt.foil, prompt.answer]


def test_a_tokenizer_of_odd_words_is_refused(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="has 0 lower-case words of one token"):
        structured.main(tmp_path / "tokenizer.json", tmp_path, "")
    with pytest.raises(ValueError, match="there is no tokenizer; give a checkpoint's folder"):
        structured.main(tmp_path / "none.json", tmp_path, "")


@pytest.mark.parametrize("word", ["answer", "foil"])
def test_a_word_beyond_the_models_vocabulary_is_told_before_anything_is_loaded(micro, tmp_path, word):
    words = {"answer": "w3", "foil": "w4", word: "w90"}
    file = tmp_path / "asked.jsonl"
    rows = [{"id": split, "text": f"w1 w2 w1 w{n}", "split": split, **words} for n, split in enumerate(Split, 5)]
    file.write_text("\n".join(map(json.dumps, rows)))
    checkpoint = inspect_checkpoint(micro / "trained")
    prompts = read_run_prompts(file, checkpoint)
    prompts.check([checkpoint])
    smaller = SimpleNamespace(tokenizer_file=checkpoint.tokenizer_file, context=checkpoint.context, vocabulary=50)
    with pytest.raises(ValueError, match=r"prompt '\w+' has an answer or foil with token id \d+; ids run from 0 to 49"):
        prompts.check([smaller])
