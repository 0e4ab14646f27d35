"""Texts and data sets become a prompt file: what is read, what is left out, and where documents go."""

import json
import re

import datasets
import pytest

from attnres_core.__main__ import main
from attnres_core.commands import prompt_from
from attnres_core.prompts import WINDOW, Split, load_prompts, read_tokenizer, split_of
from attnres_core.registration.prompt_digests import check_distinct
from attnres_core.shipped import reference

TOKENIZER = reference("tiny-open-block") / "tokenizer.json"
TEXTS = [f"The function number {n} returns the sum of its two arguments and the list of {n} names." for n in range(40)]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def make(tmp_path, capsys):
    """Makes `out.jsonl`, and returns its prompts and what was said."""

    def make(*given):
        (tmp_path / "out.jsonl").unlink(missing_ok=True)
        main(["prompts", "from", *map(str, given), "-o", "out.jsonl"])
        return load_prompts(tmp_path / "out.jsonl"), capsys.readouterr().out

    return make


@pytest.fixture
def refused(capsys):
    def refused(*given):
        with pytest.raises(SystemExit) as caught:
            main(["prompts", *map(str, given)])
        assert caught.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1].partition("error: ")[2]

    return refused


def saved(tmp_path, how):
    """The same rows as a data set of each local kind; what names it."""
    rows = {"body": TEXTS, "book": [f"book {n // 2}" for n in range(40)], "shelf": ["one"] * 20 + ["two"] * 20}
    data = datasets.Dataset.from_dict(rows)
    if how == "json":
        data.to_json(tmp_path / "data.jsonl")
        return "data.jsonl"
    if how == "csv":
        data.to_csv(tmp_path / "data.csv")
        return "data.csv"
    if how == "tsv":
        data.to_csv(tmp_path / "data.tsv", sep="\t")
        return "data.tsv"
    if how == "parquet folder":
        (tmp_path / "folder").mkdir()
        data.to_parquet(tmp_path / "folder" / "train-00000.parquet")
    elif how == "save_to_disk":
        data.save_to_disk(tmp_path / "folder")
    else:
        datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "folder")
    return "folder"


@pytest.mark.parametrize("how", ["json", "csv", "tsv", "parquet folder", "save_to_disk", "saved splits"])
def test_a_data_set_is_read_by_its_columns_and_split_by_document(tmp_path, make, how):
    where = saved(tmp_path, how)
    prompts, said = make(where, "--text", "body", "--document", "book", "--stratum", "shelf")
    assert sorted(prompt.text for prompt in prompts.prompts) == sorted(TEXTS)
    assert len(prompts.documents) == 20
    assert set(prompts.strata) == {"one", "two"}
    for prompt in prompts.prompts:
        assert prompt.split is split_of(prompt.document)
    each = ", ".join(
        f"{len(prompts.part(split))} for {split} from {len(prompts.part(split).documents)}" for split in Split
    )
    assert said.splitlines()[0] == f"40 texts: 40 prompts ({each} documents)"
    assert "now: pytest --attnres-prompts=out.jsonl" in said


def test_the_split_does_not_depend_on_what_else_is_read_nor_on_the_order(tmp_path, make):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in reversed(TEXTS[:9])))
    whole, _ = make("a.jsonl")
    part, _ = make("b.jsonl")
    splits = {prompt.id: prompt.split for prompt in whole.prompts}
    assert {prompt.id: prompt.split for prompt in part.prompts}.items() <= splits.items()


def test_a_text_keeps_its_split_wherever_it_is_cut(tmp_path, make):
    text = "".join(json.dumps({"text": " ".join(TEXTS[i : i + 6])}) + "\n" for i in range(30))
    (tmp_path / "a.jsonl").write_text(text)
    whole, short = (make("a.jsonl", "--max-tokens", most, "--out", f"{most}.jsonl")[0] for most in ("60", "12"))
    splits = {prompt.document: prompt.split for prompt in whole.prompts}
    assert {prompt.document: prompt.split for prompt in short.prompts} == splits


def test_what_cannot_serve_is_left_out_and_counted(tmp_path, make):
    long = " ".join(TEXTS[:20])
    rows = [
        *TEXTS[:3],
        f"  {TEXTS[0].replace(' ', '  ')}",
        TEXTS[1].removesuffix("."),
        "too short",
        "",
        "   ",
        None,
        long,
        long + " and more",
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    prompts, said = make("a.jsonl", "--max-tokens", 70)
    assert len(prompts) == 4
    assert said.splitlines()[1:3] == [
        "left out: 3 that repeat an earlier one, 1 of fewer than 8 tokens, 3 without text",
        "cut: 1 longer texts",
    ]
    (cut,) = (prompt.text for prompt in prompts.prompts if prompt.text not in TEXTS)
    assert long.startswith(cut)
    assert len(read_tokenizer(TOKENIZER).encode(cut, add_special_tokens=False).ids) == 70
    check_distinct(prompts, TOKENIZER)  # (no run would read the file otherwise)


def test_prompts_with_answers_are_never_cut(tmp_path, make):
    rows = [{"text": text, "answer": " yes", "foil": " no"} for text in (TEXTS[0], " ".join(TEXTS[:20]))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts, said = make("a.jsonl", "--answer", "answer", "--foil", "foil")
    assert [(prompt.text, prompt.answer, prompt.foil) for prompt in prompts.prompts] == [(TEXTS[0], " yes", " no")]
    assert f"left out: 1 of more than {WINDOW} tokens, with an answer" in said


@pytest.mark.parametrize(
    ("options", "prompts", "documents"),
    [((), 2, 2), (("--each", "paragraph"), 4, 2), (("--each", "paragraph", "--independent"), 4, 4)],
)
def test_a_text_file_is_one_document_unless_its_parts_are_said_to_be_independent(
    tmp_path, make, options, prompts, documents
):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "one.txt").write_text("\n\n".join(TEXTS[:2]) + "\n")
    (tmp_path / "texts" / "deep" / "two.txt").write_text("\n\n\n".join(TEXTS[2:4]))
    made, _ = make("texts", *options, "--min-tokens", 2)
    assert (len(made), len(made.documents)) == (prompts, documents)
    if "--independent" not in options:
        assert set(made.documents) == {"one.txt", "deep/two.txt"}
    assert set(made.strata) == {"texts"}


def test_lines_of_one_file_and_a_limit(tmp_path, make):
    (tmp_path / "lines.md").write_text("\n".join(TEXTS))
    made, said = make("lines.md", "--each", "line", "--independent", "--limit", 12)
    assert sorted(prompt.text for prompt in made.prompts) == sorted(TEXTS[:12])
    assert "too few for a verdict: it needs 16 documents" in said


def test_the_first_prompts_of_each_document_stay(tmp_path, make, monkeypatch):
    monkeypatch.setattr(prompt_from, "MANY", 5)
    for name, texts in (("a", TEXTS[:12]), ("b", TEXTS[12:36])):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    files = ("a.txt", "b.txt", "--each", "line")
    made, said = make(*files)
    assert len(made) == 36
    assert "a run reads all of a split's prompts" in said
    assert "--per-document makes fewer" in said
    made, said = make(*files, "--per-document", 2)
    assert {prompt.text for prompt in made.prompts} == {*TEXTS[:2], *TEXTS[12:14]}
    assert "32 beyond the first 2 of their documents" in said
    assert "a run reads all" not in said


def test_mistakes_are_told_with_what_is_allowed(tmp_path, refused, make):
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": TEXTS[0], "number": 3}) + "\n")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    assert refused("from", "a.jsonl") == "a.jsonl: it has no column 'text', and has 'body', 'number'"
    assert "its texts are no text but int; choose another --text" in refused("from", "a.jsonl", "--text", "number")
    assert "unreadable" in refused("from", "bad.txt")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text(TEXTS[0])
    assert refused("from", "notes").startswith("notes: it holds *.md, no .txt file and no data file; name the files")
    assert "bad.parquet: " in refused("from", "bad.parquet")
    assert "nowhere/there: cannot be read" in refused("from", "nowhere/there")
    assert refused("from") == "the following arguments are required: SOURCE"
    assert refused("docstrings", "a.txt") == "unrecognized arguments: a.txt"
    assert "--foil without --answer" in refused("from", "a.jsonl", "--foil", "x")
    assert "--min-tokens 1 and" in refused("from", "a.jsonl", "--min-tokens", 1)
    assert "--limit 0" in refused("from", "a.jsonl", "--limit", 0)
    assert "--per-document 0" in refused("from", "a.jsonl", "--per-document", 0)
    assert "no prompt is left: 1 of fewer than 90 tokens" in refused(
        "from", "a.jsonl", "--text", "body", "--min-tokens", 90
    )
    make("a.jsonl", "--text", "body")
    assert "there is such a file, and it is left as it is" in refused(
        "from", "a.jsonl", "--text", "body", "-o", "out.jsonl"
    )


def test_a_split_that_is_not_there_is_told(tmp_path, refused):
    where = saved(tmp_path, "saved splits")
    said = refused("from", where, "--text", "body", "--data-split", "test")
    assert re.fullmatch(r"folder: it has no split 'test', and has 'train'", said)
