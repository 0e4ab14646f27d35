"""Prompt sets: every malformed line is named, and neither order nor spelling of a file changes what is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from attnres_core.prompts import FIELDS, IgnoredFieldWarning, PromptSet, Split, chunk_digest, load_prompts, split_of


def rows(count: int) -> list[dict[str, str]]:
    return [{"id": f"p{index}", "text": f"one two {index}", "document": f"d{index}"} for index in range(count)]


def write(file: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_bytes("".join(text + "\n" for text in texts).encode())
    return file


def refusal(file: Path) -> str:
    """The message that a file is refused with."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (every caller compares the whole message)
        load_prompts(file)
    assert type(caught.value) is ValueError
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "set.jsonl"


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    words = {"?": 0, "one": 1, "two": 2, "three": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def prompt_set(file: Path, *texts: str) -> PromptSet:
    return load_prompts(write(file, *({"id": text, "text": text} for text in texts)))


def test_a_prompt_keeps_every_field(file: Path) -> None:
    write(file, {"id": "p", "text": "t", "document": "d", "stratum": "s", "split": "confirmation"})
    (prompt,) = load_prompts(file).prompts
    found = prompt.id, prompt.text, prompt.document, prompt.stratum, prompt.split
    assert found == ("p", "t", "d", "s", Split.CONFIRMATION)


def test_a_missing_document_is_the_prompts_own_id(file: Path) -> None:
    assert load_prompts(write(file, {"id": "p", "text": "t"})).prompts[0].document == "p"


def test_a_missing_stratum_is_the_files_name(file: Path) -> None:
    assert load_prompts(write(file, {"id": "p", "text": "t"})).prompts[0].stratum == "set"


def test_a_missing_split_comes_from_the_documents_hash_alone(file: Path) -> None:
    found = load_prompts(write(file, *rows(40)))
    again = load_prompts(write(file, *({**row, "text": "other", "id": f"x{row['id']}"} for row in rows(40))))
    assert {p.document: p.split for p in found.prompts} == {p.document: p.split for p in again.prompts}


def test_the_hash_splits_documents_as_a_fair_coin_would() -> None:
    heads = sum(split_of(f"document {index}") is Split.CONFIRMATION for index in range(1000))
    assert 450 < heads < 550


def test_the_digest_does_not_depend_on_the_files_order(file: Path) -> None:
    forward = load_prompts(write(file, *rows(9)))
    backward = load_prompts(write(file, *reversed(rows(9))))
    assert (forward.digest, forward.prompts) == (backward.digest, backward.prompts)


@pytest.mark.parametrize("field", ["id", "text", "document", "stratum"])
def test_the_digest_changes_with_every_field_that_can_change_a_number(file: Path, field: str) -> None:
    row = {"id": "p", "text": "t", "document": "d", "stratum": "s"}
    before = load_prompts(write(file, row)).digest
    assert load_prompts(write(file, {**row, field: "changed"})).digest != before


def test_a_part_holds_exactly_its_split(file: Path) -> None:
    found = load_prompts(write(file, *rows(30)))
    parts = [found.part(split) for split in Split]
    assert all(prompt.split is split for part, split in zip(parts, Split, strict=True) for prompt in part.prompts)
    assert sum(map(len, parts)) == len(found) == 30
    assert found.part("confirmation").prompts == found.part(Split.CONFIRMATION).prompts
    with pytest.raises(ValueError, match=r"`split` is 'test'; allowed: EXPLORATION \('exploration'\), CONFIRMATION"):
        found.part("test")


def test_a_limited_part_is_the_start_of_the_whole_part(file: Path) -> None:
    found = load_prompts(write(file, *rows(30)))
    assert found.part(Split.EXPLORATION, 4).prompts == found.part(Split.EXPLORATION).prompts[:4]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_unicode_line_separator_inside_a_text_survives(file: Path, separator: str) -> None:
    text = f"before{separator}after"
    # U+2028, U+2029 and U+0085 may stand in JSON unescaped; the control characters may not.
    write(file, json.dumps({"id": "p", "text": text}, ensure_ascii=False), {"id": "q", "text": "t"})
    assert {prompt.text for prompt in load_prompts(file).prompts} == {text, "t"}


def test_blank_lines_and_windows_line_ends_change_nothing(file: Path) -> None:
    plain = load_prompts(write(file, *rows(3))).digest
    file.write_bytes(b"\r\n\r\n".join(json.dumps(row).encode() for row in rows(3)))
    assert load_prompts(file).digest == plain


def test_a_folder_stands_for_its_only_prompt_file(file: Path) -> None:
    assert load_prompts(write(file, *rows(2)).parent).digest == load_prompts(file).digest


def test_a_folder_of_two_prompt_files_asks_for_one(file: Path) -> None:
    write(file, *rows(1))
    write(file.with_name("other.jsonl"), *rows(1))
    assert refusal(file.parent) == f"{file.parent}: holds 2 .jsonl files; name the one to read"


def test_a_missing_file_is_named(file: Path) -> None:
    assert refusal(file) == f"{file}: there is no such prompt file; give a JSONL file with `id` and `text`"


def test_a_file_that_is_not_utf8_is_named(file: Path) -> None:
    file.write_bytes('{"id": "p", "text": "café"}'.encode("latin-1"))
    message = refusal(file)
    assert message.startswith(f"{file}: not UTF-8 ('utf-8' codec can't decode byte 0xe9")
    assert message.endswith("; save it as UTF-8")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_prompts_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    assert refusal(file) == f"{file}: no prompts; write one JSON object a line with `id` and `text`"


def test_a_malformed_line_is_named_by_number(file: Path) -> None:
    message = refusal(write(file, *rows(2), "", '{"id": "p"'))
    assert message.startswith(f"{file}, line 4: malformed JSON (Expecting ',' delimiter")
    assert message.endswith("; write one JSON object a line")


def test_a_line_that_is_no_object_is_refused(file: Path) -> None:
    assert refusal(write(file, [1])) == f"{file}, line 1: a list, not an object; write {{'id': ..., 'text': ...}}"


def test_fields_that_nothing_reads_are_ignored_and_named(file: Path) -> None:
    plain = load_prompts(write(file, {"id": "p", "text": "t"}))
    told = f"nothing reads licence, url; a prompt's fields are {', '.join(FIELDS)}"
    with pytest.warns(IgnoredFieldWarning, match=re.escape(told)):
        found = load_prompts(write(file, {"id": "p", "text": "t", "url": 7, "licence": None}))
    assert found == plain


@pytest.mark.parametrize("field", ["id", "text"])
def test_a_missing_field_is_named(file: Path, field: str) -> None:
    row = {"id": "p", "text": "t"}
    del row[field]
    assert refusal(write(file, row)) == f"{file}, line 1: no `{field}`; every prompt needs `id` and `text`"


@pytest.mark.parametrize("value", [7, None, "", ["a"], True])
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_no_string_is_refused(file: Path, field: str, value: object) -> None:
    row = {"id": "p", "text": "t"} | {field: value}
    assert refusal(write(file, row)) == f"{file}, line 1: `{field}` is {value!r}; give a non-empty string"


def test_half_a_surrogate_pair_is_refused_before_a_tokenizer_meets_it(file: Path) -> None:
    expected = f"{file}, line 1: `text` holds half a surrogate pair, which is no text; write it as UTF-8"
    assert refusal(write(file, r'{"id": "p", "text": "\ud83d"}')) == expected


def test_a_character_beyond_the_basic_plane_is_a_text_like_any_other(file: Path) -> None:
    assert load_prompts(write(file, r'{"id": "p", "text": "\ud83d\ude00"}')).prompts[0].text == "\U0001f600"


def test_an_unknown_split_is_refused_with_the_known_ones(file: Path) -> None:
    message = refusal(write(file, {"id": "p", "text": "t", "split": "test"}))
    assert message == f"{file}, line 1: `split` is 'test'; allowed: exploration, confirmation"


def test_an_id_on_two_lines_is_refused(file: Path) -> None:
    message = refusal(write(file, *rows(3), {"id": "p1", "text": "t", "document": "other"}))
    assert message == f"{file}: id 'p1' stands on several lines; give each its own"


def test_prompts_of_one_document_are_one_unit(file: Path) -> None:
    twins = [{"id": f"p{i}", "text": f"t{i}", "document": "d" if i else "e", "split": "confirmation"} for i in range(3)]
    prompts = load_prompts(write(file, *twins))
    column = np.array([{"t0": 5.0, "t1": 1.0, "t2": 3.0}[prompt.text] for prompt in prompts.prompts])
    found = dict(zip(prompts.documents, prompts.by_document(column), strict=True))
    assert found == {"d": 2.0, "e": 5.0}
    assert dict(zip(prompts.documents, prompts.by_document(column, worst=True), strict=True)) == {"d": 3.0, "e": 5.0}
    assert len(prompts.strata) == 2


@pytest.mark.parametrize("field", ["stratum", "split"])
def test_a_document_in_two_strata_or_splits_is_refused(file: Path, field: str) -> None:
    values = ("exploration", "confirmation")
    twins = [{"id": f"p{i}", "text": "t", "document": "d", field: values[i]} for i in range(2)]
    expected = f"{file}: document 'd' has prompts of several {field}s; a document belongs to one"
    assert refusal(write(file, *twins)) == expected


def test_token_ids_are_the_windows_first_tokens_in_digest_order(file: Path, tokenizer_file: Path) -> None:
    found = prompt_set(file, "one two", "three two one two")
    ids = {"one two": [1, 2], "three two one two": [3, 2, 1]}
    assert found.token_ids(tokenizer_file, window=3) == [ids[prompt.text] for prompt in found.prompts]


def test_a_tokenizer_file_that_asks_for_padding_or_truncation_adds_and_cuts_nothing(
    file: Path, tokenizer_file: Path
) -> None:
    found = prompt_set(file, "one two", "three two one")
    plain = found.token_ids(tokenizer_file)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tokenizer_file))
    assert found.token_ids(tokenizer_file) == plain


def test_a_checkpoint_without_a_tokenizer_is_told_what_to_add(file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "checkpoint" / "tokenizer.json"
    with pytest.raises(ValueError, match=r"no tokenizer beside the weights; add the checkpoint's tokenizer\.json$"):
        prompt_set(file, "one two").token_ids(missing)


def test_an_unreadable_tokenizer_is_named(file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "tokenizer.json"
    damaged.write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json: unreadable tokenizer \(.+\); copy it again$"):
        prompt_set(file, "one two").token_ids(damaged)


def test_a_prompt_of_one_token_is_named(file: Path, tokenizer_file: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"^prompt 'three' has 1 tokens; a next-token loss needs at least 2: lengthen it or leave it out$",
    ):
        prompt_set(file, "one two", "three").token_ids(tokenizer_file)


def test_a_chunks_digest_depends_on_prompts_tokenizer_and_window(file: Path) -> None:
    first, second = prompt_set(file, "one two", "three two").prompts
    chunks = [((first,), "t", 64), ((second,), "t", 64), ((first, second), "t", 64), ((first,), "u", 64)]
    chunks.append(((first,), "t", 32))
    assert len({chunk_digest(*chunk) for chunk in chunks}) == len(chunks)
