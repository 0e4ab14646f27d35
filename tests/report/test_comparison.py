"""Two records side by side."""

import copy
import json
import re
import unicodedata

import pytest
from support.sample_record import sample_record as sample

from attnres_core.__main__ import main
from attnres_core.records.schema import VERSION
from attnres_core.report import across_seeds
from attnres_core.report.comparison import compared, differences


@pytest.fixture
def records():
    first = sample()
    return first, copy.deepcopy(first)


def test_what_changed_comes_first(records):
    first, second = records
    moved, restated, gone = (second["claims"][index] for index in (3, 1, 2))
    moved["verdict"] = "REFUTED" if moved["verdict"] == "SUPPORTED" else "SUPPORTED"
    restated["statement"] += " and more"
    second["claims"].remove(gone)
    kinds = [pair.kind for pair in compared(first, second)]
    assert kinds[:3] == ["changed", "restated", "only first"]
    assert set(kinds[3:]) == {"same"}
    assert compared(second, first)[2].kind == "only second"


def test_claims_meet_by_file_and_name_wherever_the_run_was_started(records):
    first, second = records
    for claim in second["claims"]:
        claim["node_id"] = "elsewhere/" + claim["node_id"]
    assert {pair.kind for pair in compared(first, second)} == {"same"}


def test_what_else_differs_is_said(records):
    first, second = records
    assert differences(first, second) == []
    second["settings"]["dtype"] = "bfloat16"
    second["models"]["trained"]["digest"] = "f" * 64
    assert [what for what, *_ in differences(first, second)] == ["trained", "device"]


def test_the_command(records, tmp_path, capsys):
    first, second = records
    second["claims"][0]["verdict"] = "INCONCLUSIVE"
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    output = capsys.readouterr().out
    assert output.startswith("changed: 1\n")
    assert f"same: {len(first['claims']) - 1}" in output


@pytest.mark.parametrize("gone", ["statements", "settings", "models", "claims", "run"])
def test_a_record_that_lacks_something_is_a_clear_error(records, tmp_path, capsys, gone):
    first, second = records
    holder = second["claims"][0] if gone == "statements" else second
    del holder[gone]
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--out", str(tmp_path / "page.html")])
    assert re.search(rf"b\.json: .*record .*`{gone}`", capsys.readouterr().err)
    assert not (tmp_path / "page.html").exists()


def test_the_page_shows_what_changed_and_is_inert(records, tmp_path):
    first, second = records
    second["claims"][3] |= {"verdict": "REFUTED", "title": "<img src=x onerror=alert(1)>"}
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "1 of 31 verdicts changed" in page
    assert page.index("Verdicts that changed") < page.index("Verdicts that stayed")
    assert "<img" not in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; give a run's record"),
        ("{", "unreadable"),
        ("[]", "no record of a run"),
        ('{"schema": null, "claims": []}', "no record of a run"),
        ('{"schema": 1, "claims": []}', "a record of version 1"),
        (json.dumps({"schema": VERSION, "claims": []}), "a malformed record (lacks `question`"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, capsys, content, message):
    file = tmp_path / "a.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit):
        main(["compare", str(file), str(file)])
    assert message in capsys.readouterr().err


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202ehidden\x9b1m\nverdict"


def test_nothing_in_a_record_reaches_the_terminal_as_a_command(records, tmp_path, capsys):
    first, second = records
    second["claims"][0] |= {"verdict": "ERROR", "title": HOSTILE}
    first["claims"][0]["title"] = HOSTILE
    second["claims"][0]["statements"][0] |= {"unit": HOSTILE}
    second["models"]["trained"]["name"] = second["settings"]["device"] = HOSTILE
    second["run"]["versions"][HOSTILE] = HOSTILE
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    output = capsys.readouterr().out
    assert "hidden" in output
    assert not [c for c in output if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")]
    assert "verdict" not in output.splitlines()  # (no line of its own either)


def test_a_hostile_verdict_is_refused_in_words_that_are_no_command(records, tmp_path, capsys):
    records[0]["claims"][0]["verdict"] = HOSTILE
    (tmp_path / "a.json").write_text(json.dumps(records[0]))
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
    told = capsys.readouterr().err
    assert "claims[0].verdict: " in told
    assert not [c for c in told if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")]


def test_a_record_that_nests_without_end_is_refused(tmp_path, capsys):
    file = tmp_path / "deep.json"
    file.write_text('{"schema": 1, "claims": ' + "[" * 100_000)
    for command in (["compare", str(file), str(file)], ["card", str(file)], ["recipe", "decide", *[str(file)] * 5]):
        with pytest.raises(SystemExit):
            main(command)
        assert f"{file}: unreadable (maximum recursion depth exceeded" in capsys.readouterr().err


def test_a_value_of_the_wrong_type_is_an_error_that_names_its_file_and_place(records, tmp_path, capsys):
    first, second = records
    second["settings"]["alpha"] = "a twentieth"
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    told = capsys.readouterr().err
    assert f'{tmp_path / "b.json"}: a malformed record (settings.alpha: "a twentieth" is not a finite number)' in told
    assert "give one that this version wrote" in told


@pytest.mark.parametrize("command", ["compare", "card", "recipe decide"])
def test_what_cannot_be_written_is_named_as_it_was_given(records, tmp_path, capsys, monkeypatch, command):
    (tmp_path / "a.json").write_text(json.dumps(records[0]))
    monkeypatch.setattr(
        across_seeds, "decide_recipe", lambda files, only: across_seeds.Recipe((("1", "one", "0"),) * 5, 1, ())
    )
    file, out = str(tmp_path / "a.json"), tmp_path / "none" / "page.html"
    with pytest.raises(SystemExit):
        main([*command.split(), *[file] * (1 + (command == "compare")), "--out", str(out)])
    told = capsys.readouterr().err
    assert f"{out}: cannot be written (No such file or directory); give a place that is there" in told
    assert ".tmp" not in told


@pytest.mark.parametrize(
    ("option", "change", "status"),
    [
        ([], "verdict", 0),
        (["--fail-on", "changed"], "verdict", 1),
        (["--fail-on", "changed"], "statement", 0),
        (["--fail-on", "any"], "statement", 1),
        (["--fail-on", "any"], "", 0),
    ],
)
def test_a_comparison_can_fail_a_job(records, tmp_path, capsys, option, change, status):
    first, second = records
    if change:
        second["claims"][0][change] = "INCONCLUSIVE" if change == "verdict" else "another"
    for name, record in (("a", first), ("b", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    found = 0
    try:
        main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), *option])
    except SystemExit as error:
        found = error.code
    assert found == status
