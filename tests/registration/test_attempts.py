"""What a motivated author can do to pass explored, renamed or multiplied data as a confirmation: each is tried here."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.small_suite import record_of

import attnres_core as ac
from attnres_core.claims.claim import ALPHA, Claim
from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.prompts import load_prompts, read_tokenizer
from attnres_core.quantities.ablations import drop, resample, zero
from attnres_core.quantities.summaries import entropy, loss, mass, sentence_accuracy, streams_read, turn
from attnres_core.registration import ledger
from attnres_core.registration.attestation import attested
from attnres_core.registration.ledger import (
    LEDGER,
    LOCK,
    NOTES_LOCK,
    READS,
    PromptDigests,
    add_note,
    carry_notes,
    move_notes,
    note_read,
    project_of,
    read_rows,
)
from attnres_core.registration.prompt_digests import check_distinct, near_duplicates, scored_digests
from attnres_core.registration.registry import Registry

EFFECT = drop("embedding", "mlp", "early").on("trained")
OTHER = drop("older", "attn", "late").on("trained")
WRAPPED_MASS = mass("current", "attn").on("wrapped")


def a_claim(name, threshold=0.02, quantity=EFFECT, group="a", cites=None, file="test_a.py"):
    statement = Statement(Linear(((quantity, 1.0),)), Operator.ABOVE, threshold)
    return Claim(f"{file}::{name}", "a title", group, cites, (quantity,), (statement,))


def register(registry, *claims, prompts="p1", confirmation=("c1", "c2"), exploration=("e1", "e2"), **given):
    digests = PromptDigests(tuple(confirmation), tuple(exploration))
    options = {"seen": {}, "digests": digests, "today": "2026-11-23", "budget": 10} | given
    return registry.register(claims, prompts, **options)


def prompt_file(folder, *rows, name="prompts.jsonl"):
    """A file of prompts; each row is a text, or fields."""
    file = folder / name
    fields = [{"text": row} if isinstance(row, str) else row for row in rows]
    file.write_text("".join(json.dumps({"id": f"p{place}", **row}) + "\n" for place, row in enumerate(fields)))
    return load_prompts(file)


@pytest.fixture
def tokenizer(micro):
    return micro / "trained" / "tokenizer.json"


# Explored documents become confirmation documents -----------------------------------------------------------------


def test_prompts_explored_before_and_moved_into_confirmation_are_seen_one_by_one(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"))
    register(
        Registry(tmp_path), a_claim("test_y", quantity=OTHER), prompts="p2", confirmation=("e1", "c9"), exploration=()
    )
    entry = Registry(tmp_path).entries["test_a.py::test_y"]
    assert entry.post_hoc == "1 of 2 confirmation prompts were explored, the first on 2026-11-23"
    assert Registry(tmp_path).standing(a_claim("test_y", quantity=OTHER), "p2").status == "post hoc"


def test_prompts_explored_without_any_lock_are_seen_too(suite, pytester, micro):
    """An exploratory run notes what it reads; swapping the splits afterwards makes every claim post hoc."""
    suite("-n", "0", "-k", "refuted").stdout.fnmatch_lines(["*1 exploratory*"])
    (row,) = read_rows(pytester.path)
    assert (row["split"], len(row["digests"])) == ("exploration", 40)
    other = {"exploration": "confirmation", "confirmation": "exploration"}
    rows = [json.loads(line) for line in (micro / "prompts.jsonl").read_text().splitlines()]
    swapped = [{**row, "id": f"renamed-{row['id']}", "split": other[row["split"]]} for row in rows]
    file = pytester.path / "swapped.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in swapped))
    given = ("-n", "0", "-k", "refuted", f"--attnres-prompts={file}")
    suite(*given, "--attnres-register")
    entry = Registry(pytester.path).entries["test_claims.py::test_refuted"]
    assert entry.post_hoc.startswith("40 of 40 confirmation prompts were explored, the first on ")


def test_documents_chosen_after_a_verdict_make_every_claim_post_hoc(tmp_path):
    """The best half of the documents, the test renamed, the statement as it was."""
    register(Registry(tmp_path), a_claim("test_x"), confirmation=("c1", "c2", "c3", "c4"))
    register(
        Registry(tmp_path),
        a_claim("test_y"),
        a_claim("test_z", quantity=OTHER),
        prompts="p2",
        confirmation=("c1", "c2"),
    )
    for name in ("test_y", "test_z"):
        told = Registry(tmp_path).entries[f"test_a.py::{name}"].post_hoc
        assert told == "some of these confirmation prompts were registered on 2026-11-23, in another set of prompts"


# Prompts under other names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "another"},
        {"document": "another"},
        {"stratum": "another"},
        {"text": "w1 w2 w3 "},
        {"text": "\n w1  w2\tw3"},
        {"text": "w1 w2 w3 ."},
        {"text": "w1 w2\u200b w3\u00a0"},
    ],
)
def test_a_prompt_has_one_digest_whatever_it_is_called(tmp_path, tokenizer, changed):
    prompt = {"id": "p0", "text": "w1 w2 w3", "split": "confirmation"}
    digests = [scored_digests(prompt_file(tmp_path, row), tokenizer) for row in (prompt, prompt | changed)]
    assert digests[0] == digests[1]
    assert scored_digests(prompt_file(tmp_path, prompt | {"text": "w1 w3 w2"}), tokenizer) != digests[0]


def test_what_is_appended_beyond_the_scored_window_changes_no_digest(tmp_path, tokenizer):
    text = " ".join(f"w{place}" for place in range(64))
    one, longer = (prompt_file(tmp_path, written) for written in (text, text + " w5 w6 w7"))
    assert scored_digests(one, tokenizer) == scored_digests(longer, tokenizer)
    shorter = prompt_file(tmp_path, text.removesuffix(" w63"))
    assert scored_digests(shorter, tokenizer) != scored_digests(one, tokenizer)


def test_with_a_real_tokenizer_only_what_the_model_reads_counts(tmp_path):
    """Cut where the window ends, or followed by something else, a prompt is the same; so is one padded with blanks."""
    tokenizer = ac.reference("tiny-open-block") / "tokenizer.json"
    texts = [prompt.text for prompt in load_prompts(ac.reference_prompts()).part("confirmation", 16).prompts]
    encoded = read_tokenizer(tokenizer).encode_batch(texts, add_special_tokens=False)
    cut = [text[: row.offsets[:64][-1][1]] for text, row in zip(texts, encoded, strict=True)]
    whole, short, other = (
        scored_digests(prompt_file(tmp_path, *rows), tokenizer)
        for rows in (texts, cut, [text + "\n\nAnother tail that nobody reads." for text in cut])
    )
    assert len(set(whole)) == 16
    assert set(whole) == set(short) == set(other)


def test_copies_that_differ_beyond_the_window_are_refused(tmp_path):
    tokenizer = ac.reference("tiny-open-block") / "tokenizer.json"
    text = "Return the sum of a and b." + "\n\t" * 40
    rows = [{"text": f"{text}{tail}"} for tail in ("one more", "something else", "the rest of it")]
    with pytest.raises(ValueError, match="are the same in the 64 tokens that are scored"):
        check_distinct(prompt_file(tmp_path, *rows), tokenizer)


def test_renamed_prompts_have_the_budget_of_the_old_ones(tmp_path, tokenizer):
    texts = ["w1 w2 w3", "w4 w5 w6"]
    first = prompt_file(tmp_path, *({"text": text, "split": "confirmation"} for text in texts))
    renamed = prompt_file(
        tmp_path,
        *(
            {"id": f"new{text}", "text": f"{text} .", "document": "one", "stratum": "new", "split": "confirmation"}
            for text in texts[::-1]
        ),
    )
    assert first.digest != renamed.digest
    digests = [scored_digests(prompts, tokenizer) for prompts in (first, renamed)]
    register(Registry(tmp_path), a_claim("test_x"), prompts=first.digest, confirmation=digests[0], budget=1)
    with pytest.raises(ValueError, match="the error budget of this prompt set is spent"):
        register(Registry(tmp_path), a_claim("test_y", quantity=OTHER), prompts=renamed.digest, confirmation=digests[1])


# Each document several times ----------------------------------------------------------------------------------------


def test_a_file_that_holds_a_prompt_twice_is_refused_naming_both(suite, pytester, micro):
    lines = (micro / "prompts.jsonl").read_text().splitlines()
    again = {**json.loads(lines[0]), "id": "copy", "text": json.loads(lines[0])["text"] + "  "}
    file = pytester.path / "twice.jsonl"
    file.write_text("\n".join([*lines, json.dumps(again)]) + "\n")
    for option in ((), ("--attnres-register",)):
        result = suite("-n", "0", "-k", "refuted", f"--attnres-prompts={file}", *option)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        said = result.stderr.str()
        assert "'copy'" in said
        assert "'p0'" in said
        assert "are the same in the 64 tokens that are scored" in said


def test_registering_tells_near_duplicates(suite, pytester, micro):
    lines = (micro / "prompts.jsonl").read_text().splitlines()
    longest = max(map(json.loads, lines), key=lambda row: len(row["text"]))
    file = pytester.path / "near.jsonl"
    file.write_text("\n".join([*lines, json.dumps({**longest, "id": "near", "text": longest["text"] + " w1"})]) + "\n")
    result = suite("-n", "0", "-k", "refuted", f"--attnres-prompts={file}", "--attnres-register")
    result.stdout.fnmatch_lines(
        ["attnres: near-duplicates: 1 pairs of prompts share half of their runs of 8 tokens, *'near'*"]
    )


def test_variants_of_one_document_may_read_the_same_and_those_of_two_may_not(tmp_path, tokenizer):
    text = " ".join(f"w{place}" for place in range(30))

    def rows(*documents):
        return [
            {"id": f"{name} {document}", "text": f"{space}{text}", "document": document, "variant": name}
            for document in documents
            for name, space in (("as written", ""), ("indented", "  "))
        ]

    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows("a")))
    check_distinct(load_prompts(file), tokenizer)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows("a", "b")))
    with pytest.raises(ValueError, match="are the same in the 64 tokens"):
        check_distinct(load_prompts(file), tokenizer)


def test_near_duplicates_are_told(tmp_path, tokenizer):
    text = " ".join(f"w{place}" for place in range(30))
    prompts = prompt_file(tmp_path, text, text + " w40", " ".join(f"w{place}" for place in range(40, 70)))
    check_distinct(prompts, tokenizer)
    assert [set(pair) for pair in near_duplicates(prompts, tokenizer)] == [{"p0", "p1"}]


def test_the_shipped_prompts_are_distinct_and_were_never_both(tmp_path):
    tokenizer = ac.reference("tiny-open-block") / "tokenizer.json"
    for name in sorted(file.stem for file in ac.reference_prompts().parent.glob("*.jsonl")):
        prompts = load_prompts(ac.reference_prompts(name))
        check_distinct(prompts, tokenizer)
        splits = [set(scored_digests(prompts.part(split), tokenizer)) for split in ("exploration", "confirmation")]
        assert not splits[0] & splits[1]


# A budget for each folder -------------------------------------------------------------------------------------------


def test_two_folders_under_one_root_have_one_budget(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (Registry(folder, [tmp_path]) for folder in folders)
    register(one, a_claim("test_x"), budget=1)
    with pytest.raises(ValueError, match="the error budget of this prompt set is spent"):
        register(two, a_claim("test_y", quantity=OTHER))
    assert two.spent(("p1", ["c1"])) == ALPHA
    alone = Registry(folders[1])
    assert alone.spent(("p1", ["c1"])) == 0  # without its root, a folder knows of itself alone


# The same question in other words -------------------------------------------------------------------------------------


def test_a_renamed_test_with_another_margin_is_restated_without_any_store(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_renamed", 0.01, file="test_b.py"), whole_files=True)
    entry = Registry(tmp_path).entries["test_b.py::test_renamed"]
    assert entry.post_hoc == f"restated; `{EFFECT} > 0.02` of test_a.py::test_x was registered 2026-11-23"


def test_in_another_folder_it_is_restated_too(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    register(Registry(folders[0], [tmp_path]), a_claim("test_x"))
    register(Registry(folders[1], [tmp_path]), a_claim("test_x", 0.01))
    told = Registry(folders[1]).entries["test_a.py::test_x"].post_hoc
    assert f"restated; `{EFFECT} > 0.02` of one/test_a.py::test_x was registered" in told


def test_a_renamed_claim_of_several_statements_about_one_family_is_not_restated(tmp_path):
    """As under two kinds of ablation: each statement is known, not one alone."""
    quantities = EFFECT, zero("embedding", "mlp", "early").on("trained")
    statements = tuple(Statement(Linear(((quantity, 1.0),)), Operator.ABOVE, 0.02) for quantity in quantities)
    for name in ("test_x", "test_renamed"):
        claim = Claim(f"test_a.py::{name}", "a title", "a", None, quantities, statements)
        register(Registry(tmp_path), claim)
        assert Registry(tmp_path).entries[f"test_a.py::{name}"].post_hoc == ""


def test_another_way_of_taking_a_family_away_is_no_other_question(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_y", quantity=zero("embedding", "mlp", "early").on("trained")))
    assert Registry(tmp_path).entries["test_a.py::test_y"].post_hoc.startswith(f"restated; `{EFFECT} > 0.02`")


def test_a_mark_does_not_wash_off_under_another_name(tmp_path):
    """Restated, then renamed; withdrawn, then back: what was post hoc stays it."""
    register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_x", 0.015))
    register(Registry(tmp_path), a_claim("test_y", 0.015), whole_files=True)
    assert "restated" in Registry(tmp_path).entries["test_a.py::test_y"].post_hoc
    register(Registry(tmp_path), a_claim("test_z", quantity=OTHER), whole_files=True)
    assert Registry(tmp_path).withdrawn == 2
    register(Registry(tmp_path), a_claim("test_x", 0.015), a_claim("test_z", quantity=OTHER), whole_files=True)
    assert "restated" in Registry(tmp_path).entries["test_a.py::test_x"].post_hoc
    assert Registry(tmp_path).entries["test_a.py::test_z"].post_hoc == ""


def test_what_was_measured_before_stays_marked_under_another_name(tmp_path):
    first = a_claim("test_x")
    register(
        Registry(tmp_path), first, seen={first.node_id: "confirmation columns of m (trained) were measured before"}
    )
    register(Registry(tmp_path), a_claim("test_y"))
    told = Registry(tmp_path).entries["test_a.py::test_y"].post_hoc
    assert told == "as test_a.py::test_x was: confirmation columns of m (trained) were measured before"


@pytest.mark.parametrize(
    "other", [resample("embedding", "mlp", "early"), zero("embedding", "mlp", "early", recomputed=True)]
)
def test_the_same_question_is_restated_however_the_family_is_taken_away(tmp_path, other):
    register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_x"), a_claim("test_y", quantity=other.on("trained")))
    assert "restated" in Registry(tmp_path).entries["test_a.py::test_y"].post_hoc


def test_the_cases_of_a_claim_are_locked(tmp_path):
    """Else a claim of two kinds, which disagree, could be read as one of two statements, which refute."""
    claim = dataclasses.replace(a_claim("test_x"), under=("drop",))
    register(Registry(tmp_path), claim)
    assert not Registry(tmp_path).standing(claim, "p1").error
    error = Registry(tmp_path).standing(a_claim("test_x"), "p1").error
    assert "registered  under: drop" in error
    assert "now         under: none" in error


def test_claims_that_name_their_prompts_share_the_budget_of_every_run(tmp_path):
    over = dataclasses.replace(OTHER, prompts="unseen")
    named = {"unseen": ("p2", PromptDigests(("c9",), ("e9",)))}
    register(Registry(tmp_path), a_claim("test_b", quantity=over, file="test_b.py"), named=named, budget=1)
    with pytest.raises(ValueError, match="the error budget of this prompt set is spent"):
        register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_b", quantity=over, file="test_b.py"), named=named)  # (nothing new)


def test_another_question_is_not_restated(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"))
    register(Registry(tmp_path), a_claim("test_y", 0.01, quantity=OTHER))
    assert Registry(tmp_path).entries["test_a.py::test_y"].post_hoc == ""


# Measuring confirmation prompts, then registering -------------------------------------------------------------------


def test_measure_asks_before_it_reads_confirmation_prompts_and_notes_it(tmp_path, micro, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, prompts = ac.load_model(micro / "trained"), load_prompts(micro / "prompts.jsonl")
    for part in (prompts, prompts.part("confirmation")):
        with pytest.raises(ValueError, match=r"40 of \d+ prompts are confirmation prompts.*`confirmation=True`"):
            ac.measure(model, part, [EFFECT])
    assert not (tmp_path / READS).exists()
    ac.measure(model, prompts.part("confirmation", 4), [EFFECT], confirmation=True)
    (row,) = read_rows(tmp_path)
    assert (row["split"], row["quantities"], len(row["digests"])) == ("confirmation", [str(EFFECT)], 4)
    digests = scored_digests(prompts.part("confirmation"), micro / "trained" / "tokenizer.json")
    register(Registry(tmp_path), a_claim("test_x"), a_claim("test_y", quantity=OTHER), confirmation=digests)
    entries = Registry(tmp_path).entries
    for key in ("test_a.py::test_x", "test_a.py::test_y"):  # a twin of what was measured tells as much
        assert re.fullmatch("confirmation prompts were measured on .* without a registration", entries[key].post_hoc)


def test_prompts_that_a_notebook_explored_are_noted_whatever_split_they_are_called(tmp_path, micro, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, prompts = ac.load_model(micro / "trained"), load_prompts(micro / "prompts.jsonl")
    rows = [{"text": prompt.text, "split": "exploration"} for prompt in prompts.part("confirmation", 4).prompts]
    ac.measure(model, prompt_file(tmp_path, *rows), [EFFECT])
    digests = scored_digests(prompts.part("confirmation"), micro / "trained" / "tokenizer.json")
    register(Registry(tmp_path), a_claim("test_x"), confirmation=digests)
    assert "4 of 40 confirmation prompts were explored" in Registry(tmp_path).entries["test_a.py::test_x"].post_hoc


def test_a_run_on_prompts_other_than_those_registered_is_noted(suite, pytester, micro):
    """Deciding registered claims on a second prompt set, then registering them there, is no confirmation."""
    suite("-n", "0", "-k", "refuted", "--attnres-register")
    rows = [json.loads(line) for line in (micro / "prompts.jsonl").read_text().splitlines()]
    file = pytester.path / "second.jsonl"
    file.write_text("".join(json.dumps({**row, "text": "w7 " + row["text"]}) + "\n" for row in rows))
    given = ("-n", "0", "-k", "refuted", f"--attnres-prompts={file}")
    suite(*given)
    suite(*given, f"--attnres-store={pytester.path / 'empty'}", "--attnres-register")
    told = Registry(pytester.path).entries["test_claims.py::test_refuted"].post_hoc
    assert "confirmation prompts were measured on " in told


# A lock without witnesses -------------------------------------------------------------------------------------------


def git(folder, *arguments):
    named = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *named, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def label(folder):
    return attested(folder, Registry(folder).digest, read_rows(folder))


def test_a_lock_is_self_attested_until_it_is_committed(tmp_path):
    assert attested(tmp_path, "", []).label == "none"
    register(Registry(tmp_path), a_claim("test_x"))
    assert str(label(tmp_path)) == "self-attested (not committed to git)"  # no repository at all
    git(tmp_path, "init", "-q")
    assert label(tmp_path).label == "self-attested"
    git(tmp_path, "add", LOCK, LEDGER)
    git(tmp_path, "commit", "-q", "-m", "register")
    found = label(tmp_path)
    assert (found.label, found.commit) == ("committed", git(tmp_path, "rev-parse", "HEAD"))
    assert str(found) == f"committed {found.commit[:12]} on {found.date[:10]}"


def test_deleted_or_reverted_and_registered_anew_a_lock_is_self_attested_again(tmp_path):
    git(tmp_path, "init", "-q")
    register(Registry(tmp_path), a_claim("test_x"))
    git(tmp_path, "add", LOCK, LEDGER)
    git(tmp_path, "commit", "-q", "-m", "register")
    for name in (LOCK, LEDGER):
        (tmp_path / name).unlink()
    register(Registry(tmp_path), a_claim("test_x", 0.001))  # the ledger is chained anew
    assert label(tmp_path).label == "self-attested"


def test_deleted_restated_and_committed_a_lock_is_self_attested_for_good(tmp_path):
    """Git knows that lines of the ledger were taken back."""
    git(tmp_path, "init", "-q")
    for threshold in (0.02, 0.001):
        for name in (LOCK, LEDGER):
            (tmp_path / name).unlink(missing_ok=True)
        register(Registry(tmp_path), a_claim("test_x", threshold))
        git(tmp_path, "add", LOCK, LEDGER)
        git(tmp_path, "commit", "-q", "-m", "register")
    found = label(tmp_path)
    assert (found.label, found.commit) == ("self-attested", git(tmp_path, "rev-parse", "HEAD"))
    assert found.note.startswith("git removed lines of claims.ledger in ")


@pytest.mark.parametrize("file", [LEDGER, READS])
def test_lines_removed_from_a_ledger_or_from_notes_are_seen_even_in_files_declared_binary(tmp_path, file):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitattributes").write_text(f"{file} binary\n")
    note_read(tmp_path, "exploration", ["e1"])
    for threshold in (0.02, 0.001):
        for name in (LOCK, LEDGER):
            (tmp_path / name).unlink(missing_ok=True)
        register(Registry(tmp_path), a_claim("test_x", threshold))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", "register")
        (tmp_path / READS).unlink(missing_ok=True)
    assert label(tmp_path).label == "self-attested"


def test_a_ledger_that_git_does_not_hold_attests_nothing(tmp_path):
    git(tmp_path, "init", "-q")
    register(Registry(tmp_path), a_claim("test_x"))
    git(tmp_path, "add", LOCK)
    git(tmp_path, "commit", "-q", "-m", "register")
    assert str(label(tmp_path)) == (
        "self-attested (claims.ledger is not committed as it stands; commit it with claims.lock)"
    )


def test_what_was_read_under_a_lock_that_is_gone_counts(tmp_path):
    note_read(tmp_path, "confirmation", ["c1"], lock="f" * 64)
    register(Registry(tmp_path), a_claim("test_x"))
    assert "measured on" in Registry(tmp_path).entries["test_a.py::test_x"].post_hoc
    assert label(tmp_path).label == "self-attested"


def test_two_folders_of_one_repository_have_one_budget_even_with_ini_files_of_their_own(tmp_path):
    git(tmp_path, "init", "-q")
    folders = [tmp_path / name for name in ("one", ".two")]
    for folder in folders:
        folder.mkdir()
    one, two = (Registry(folder, [project_of(folder)]) for folder in folders)
    register(one, a_claim("test_x"), budget=1)
    with pytest.raises(ValueError, match="the error budget of this prompt set is spent"):
        register(two, a_claim("test_y", quantity=OTHER))
    assert project_of(tmp_path.parent) == tmp_path.parent  # (no repository above)


def test_committed_after_its_data_were_read_a_lock_stays_self_attested(suite, pytester):
    suite("-n", "0", "-k", "refuted", "--attnres-register")
    result = suite("-n", "0", "-k", "refuted")
    result.stdout.fnmatch_lines(["attnres: claims: 1 registered; lock * self-attested (not committed to git)"])
    git(pytester.path, "init", "-q")
    git(pytester.path, "add", LOCK, LEDGER)
    git(pytester.path, "commit", "-q", "-m", "too late")
    found = label(pytester.path)
    assert record_of(pytester)["settings"]["registrations"] | {"lock": ""} == {
        "lock": "",
        "claims": 1,
        "withdrawn": 0,
        "attestation": "self-attested",
        "commit": None,
        "date": None,
        "note": "not committed to git",
    }
    assert found.label == "self-attested"
    assert "before it was committed" in found.note


def test_anchored_takes_a_proof_that_names_the_lock(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"))
    proof = tmp_path / f"{LOCK}.ots"
    proof.write_bytes(b"any file of that name")
    assert label(tmp_path).label == "self-attested"
    proof.write_bytes(b"magic" + hashlib.sha256((tmp_path / LOCK).read_bytes()).digest())
    found = label(tmp_path)
    assert (found.label, "not checked here" in found.note) == ("anchored", True)
    register(Registry(tmp_path), a_claim("test_y", quantity=OTHER))
    assert label(tmp_path).label == "self-attested"  # the proof is about an earlier lock


def test_a_tag_without_a_signature_anchors_nothing(tmp_path):
    git(tmp_path, "init", "-q")
    register(Registry(tmp_path), a_claim("test_x"))
    git(tmp_path, "add", LOCK, LEDGER)
    git(tmp_path, "commit", "-q", "-m", "register")
    git(tmp_path, "tag", "-a", "v1", "-m", "unsigned")
    assert label(tmp_path).label == "committed"


# What a lock holds of a claim ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"group": "control"}, ("group: a", "group: control")),
        ({"cites": "a paper"}, ("cites: none", "cites: a paper")),
    ],
)
def test_a_claim_that_became_a_control_is_an_error_that_shows_both(tmp_path, changed, told):
    register(Registry(tmp_path), a_claim("test_x"))
    error = Registry(tmp_path).standing(a_claim("test_x", **changed), "p1").error
    assert f"registered  {told[0]}" in error
    assert f"now         {told[1]}" in error
    register(Registry(tmp_path), a_claim("test_x", **changed))
    assert Registry(tmp_path).entries["test_a.py::test_x"].post_hoc.startswith("restated; ")


# What is exact ------------------------------------------------------------------------------------------------------


def test_what_is_exact_takes_no_alpha_and_what_is_sampled_shares_it(tmp_path):
    register(Registry(tmp_path), a_claim("test_x"), a_claim("test_exact", quantity=WRAPPED_MASS), budget=None)
    shares = {key.split("::")[1]: entry.alpha for key, entry in Registry(tmp_path).entries.items()}
    assert shares == {"test_x": ALPHA / 2, "test_exact": 0.0}
    register(Registry(tmp_path), a_claim("test_y", quantity=OTHER), budget=None)
    assert Registry(tmp_path).entries["test_a.py::test_y"].alpha == ALPHA / 4


def test_weights_that_no_prompt_changes_are_exact():
    for quantity in (mass("current", "attn").on("base"), entropy("attn").on("wrapped")):
        assert a_claim("test_x", quantity=quantity).is_exact


def test_what_prompts_change_is_sampled_whatever_the_model():
    """Losses and states are of prompts; `stock` has random queries."""
    states = turn("current", "attn").on("base"), streams_read("attn").on("wrapped"), mass("current", "attn").on("stock")
    for quantity in (loss().on("base"), sentence_accuracy().on("wrapped"), *states):
        assert not a_claim("test_x", quantity=quantity).is_exact


# Old registrations --------------------------------------------------------------------------------------------------


def as_format_1(folder):
    """Rewrite a folder's registration as version 1 wrote it."""
    lines = (folder / LOCK).read_text().replace("format = 2", "format = 1").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(("title", "group", "cites"))) + "\n"
    (folder / LOCK).write_text(text)
    previous, written = "", []
    rows = [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]
    for row in rows:
        kept = {name: row[name] for name in ("registered", "prompts", "spent", "lock")} | {"documents": ["old"]}
        kept["lock"] = hashlib.sha256(text.encode()).hexdigest() if row is rows[-1] else row["lock"]
        written.append(json.dumps(kept | {"previous": previous}))
        previous = hashlib.sha256(written[-1].encode()).hexdigest()
    (folder / LEDGER).write_text("\n".join(written) + "\n")


def test_migrating_keeps_every_mark_and_share(tmp_path):
    claims = a_claim("test_x"), a_claim("test_y", quantity=OTHER)
    register(Registry(tmp_path), *claims, seen={claims[1].node_id: "measured before"})
    before = Registry(tmp_path).entries
    as_format_1(tmp_path)
    error = Registry(tmp_path).standing(claims[0], "p1").error
    assert f"type `pytest {tmp_path} -n 0 --attnres-register`" in error
    with pytest.raises(ValueError, match=r"collect all of its claims: test_a.py::test_y is not here"):
        register(Registry(tmp_path), claims[0])
    changes = register(Registry(tmp_path), *claims)
    assert changes == [
        "migrated from format 1 to 2; every mark and every share of alpha stays",
        "the prompts are in the ledger, one by one",
    ]
    after = Registry(tmp_path)
    assert after.entries == before
    assert after.spent(("p1", ())) == pytest.approx(2 * ALPHA / 10)
    assert after.spent(("renamed", ["c2"])) == pytest.approx(2 * ALPHA / 10)  # by what is scored of the prompts
    assert register(Registry(tmp_path), *claims) == []
    register(Registry(tmp_path), *claims, a_claim("test_z", 0.01))
    assert "restated; " in Registry(tmp_path).entries["test_a.py::test_z"].post_hoc


def test_a_note_is_written_once(tmp_path):
    for _ in range(2):
        note_read(tmp_path, "exploration", ["e1", "e2"])
    note_read(tmp_path, "exploration", ["e2"])
    assert len(read_rows(tmp_path)) == 1
    note_read(tmp_path, "exploration", ["e2", "e3"])
    assert len(read_rows(tmp_path)) == 2
    (other := tmp_path / "other").mkdir()
    for _ in range(2):
        carry_notes(tmp_path, other)
    assert read_rows(other) == read_rows(tmp_path)
    (other / READS).write_text('{"read": "2026-01-01"}\n')
    with pytest.raises(
        ValueError, match=r"claims\.reads: unreadable \(a line lacks one of digests, lock, .*restore it from git"
    ):
        carry_notes(other, tmp_path)


JOBS = 8


def at_once(*calls):
    """Carry out every call, all from one moment on, as jobs of an array do."""
    ready = threading.Barrier(len(calls))

    def started(call):
        ready.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(started, calls))


@pytest.fixture
def _network(monkeypatch):
    """Files as on a network file system: appending begins where the file ended when it was opened."""
    real = Path.open

    def opened(self, mode="r", **given):
        if mode != "a":
            return real(self, mode, **given)
        self.touch()
        stream = real(self, "r+", **given)
        stream.seek(0, os.SEEK_END)
        time.sleep(0.02)
        return stream

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.usefixtures("_network")
def test_many_jobs_that_write_notes_into_one_folder_lose_and_mix_nothing(tmp_path):
    digests = [[f"{job}-{number}" * 20 for number in range(200)] for job in range(JOBS)]  # (lines longer than a buffer)
    at_once(*(lambda own=own: note_read(tmp_path, "exploration", own) for own in digests))
    assert sorted(row["digests"] for row in read_rows(tmp_path)) == sorted(map(sorted, digests))
    at_once(*(lambda: note_read(tmp_path, "confirmation", digests[0]) for _ in range(JOBS)))
    assert len(read_rows(tmp_path)) == JOBS + 1
    assert [file.name for file in tmp_path.iterdir()] == [READS]


def test_the_notes_of_a_merged_store_move_once_whoever_decides(tmp_path, monkeypatch):
    told = ledger._told
    monkeypatch.setattr(ledger, "_told", lambda *given: (told(*given), time.sleep(0.002))[0])
    store, claims = tmp_path / "store", tmp_path / "claims"
    for folder in (store, claims):
        folder.mkdir()
    for job in range(JOBS):
        note_read(store, "exploration", [f"e{job}"])
    notes = read_rows(store)
    at_once(*(lambda: move_notes(store, claims) for _ in range(JOBS)))
    assert read_rows(claims) == notes
    assert not list(store.iterdir())
    move_notes(claims, claims)  # a store beside its claims
    assert read_rows(claims) == notes


def test_a_lock_that_another_machine_left_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "NOTES_SECONDS", 0.1)
    note_read(tmp_path, "exploration", ["e1"])
    (tmp_path / NOTES_LOCK).write_text("1\nanother-machine\n")
    add_note(tmp_path, read_rows(tmp_path)[0])  # nothing to add
    with pytest.raises(ValueError, match=rf"another process has held .*{NOTES_LOCK} .* died: remove that file"):
        note_read(tmp_path, "exploration", ["e2"])
