"""Pairs for interchanges: what a pair is, the shipped sets, and what is left out or refused."""

import json

import pytest
from support.checkpoint_copies import write_tokenizer

from attnres_core.__main__ import main
from attnres_core.prompts import Split, load_prompts, read_tokenizer
from attnres_core.shipped import fixtures, reference
from attnres_core.training import pairs

FOLDER = fixtures() / "prompts"
TOKENIZER = reference("tiny-open-block") / "tokenizer.json"
EACH = pytest.mark.parametrize("task", pairs.TASKS)


@EACH
def test_the_shipped_sets_are_pairs_and_what_their_seed_makes(task):
    found = load_prompts(FOLDER / f"pairs-{task}.jsonl")
    manifest = json.loads((FOLDER / "pairs.json").read_text())
    exploration, confirmation = (found.part(split) for split in Split)
    sizes = {"solved": len(exploration.documents), "of": 96, "confirmation": len(confirmation.documents)}
    assert manifest[task] == {**sizes, "digest": found.digest}
    assert manifest["seed"] == pairs.SEED
    by_id = {prompt.id: prompt for prompt in found.prompts}
    assert len(by_id) == 2 * len(found.documents)
    for document in found.documents:
        one, other = by_id[f"{document}a"], by_id[f"{document}b"]
        assert (one.text, one.answer) == (other.donor, other.foil)
        assert (other.text, other.answer) == (one.donor, one.foil)
        assert one.placebo not in (one.text, one.donor)
    tokenizer = read_tokenizer(TOKENIZER)
    for index, (first, second) in enumerate(pairs.pairs_of(task, tokenizer, 12)):
        made = pairs.rows_of(task, index, Split.EXPLORATION, (first, second))
        for row in made:
            if row["id"] in by_id:
                assert by_id[row["id"]].text == row["text"]
                assert by_id[row["id"]].placebo == row["placebo"]


@EACH
def test_a_pair_is_one_token_apart_and_a_placebo_keeps_the_answer(task):
    found = load_prompts(FOLDER / f"pairs-{task}.jsonl").part(Split.EXPLORATION)
    rows, given = found.token_ids(TOKENIZER), found.pair_ids(TOKENIZER)  # (which refuses what cannot stand in)
    for row, donor, placebo in zip(rows, given.donors, given.placebos, strict=True):
        assert sum(a != b for a, b in zip(row, donor, strict=True)) == 1
        assert sum(a != b for a, b in zip(row, placebo, strict=True)) >= 1
    assert found.answer_ids(TOKENIZER) is not None


def test_more_pairs_begin_with_the_same_ones():
    tokenizer = read_tokenizer(TOKENIZER)
    few, more = (list(pairs.pairs_of("closing", tokenizer, count)) for count in (5, 9))
    assert more[:5] == few
    assert list(pairs.pairs_of("closing", tokenizer, 5, seed=1)) != few


def test_pairs_that_any_model_solves_are_kept_in_both_orders():
    leads = {"p-000a": 1.0, "p-000b": 0.5, "p-001a": 1.0, "p-001b": -0.5}
    assert pairs.solved(leads, "p-000")
    assert not pairs.solved(leads, "p-001")


def test_a_tokenizer_of_odd_words_is_refused(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="has 0 lower-case words of one token; pairs take 50"):
        list(pairs.pairs_of("closing", read_tokenizer(tmp_path / "tokenizer.json"), 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--exploration", "2"], "--exploration 2 --confirmation 256: give 16 pairs at least of each"),
        (["--solved-by", "tiny-open-block", "{micro}"], "have different tokenizers; make pairs for each"),
        (["--solved-by", "{micro}"], "no task is solved: the tokenizer has 0 lower-case words of one token"),
    ],
)
def test_what_makes_no_pairs_is_told(micro, tmp_path, capsys, arguments, message):
    given = [each.format(micro=micro / "trained") for each in arguments]
    with pytest.raises(SystemExit) as ended:
        main(["prompts", "pairs", "--out", str(tmp_path), *given])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
