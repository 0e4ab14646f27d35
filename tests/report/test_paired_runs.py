"""Two records whose columns lie beside them, compared document by document."""

import copy
import hashlib
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.sample_record import sample_record

from attnres_core.__main__ import main
from attnres_core.records.document_columns import STRATA, SUFFIX, columns_of, key, packed
from attnres_core.records.writing import record_text
from attnres_core.report.html import page
from attnres_core.report.paired import paired

DOCUMENTS = 64
HOSTILE = "\x1b[31m red \u202e"


@pytest.fixture
def run(tmp_path):
    """Writes a record with made-up columns; returns its path and itself."""

    def run(name, change=lambda column, values: values, edit=lambda record: None, documents=DOCUMENTS):
        record = copy.deepcopy(sample_record())
        edit(record)
        columns = {}
        for claim in record["claims"]:
            for statement in claim["statements"]:
                seed = sum(map(ord, statement["column"]))
                values = np.random.default_rng(seed).normal(size=documents)
                columns[key(claim["split"], statement["column"])] = change(statement["column"], values)
                columns[key(claim["split"], STRATA)] = np.zeros(documents)
        path = tmp_path / f"{name}.json"
        path.write_text(record_text(record))
        path.with_suffix(SUFFIX).write_bytes(packed(columns, record_text(record)))
        return path, record

    return run


def column_of(record, place=0):
    return record["claims"][place]["statements"][0]["column"]


def moved(column):
    """Moves one column alone, by more than noise."""
    noise = np.random.default_rng(1).normal(size=DOCUMENTS)
    return lambda name, values: values + 2 + noise if name == column else values


def test_the_column_that_moved_is_found_and_the_others_are_the_same_numbers(run):
    first = run("a")
    column = column_of(first[1])
    found = paired(*first, *run("b", moved(column)))
    (own,) = found.columns
    assert own.column == column
    assert own.difference.differs
    assert own.second - own.first == pytest.approx(own.difference.mean)
    assert own.stated.titles == (first[1]["claims"][0]["title"],)
    assert found.documents == DOCUMENTS
    assert found.left_out["the same numbers"] > 10


def test_the_command_tells_it_after_the_verdicts_and_on_the_page(run, capsys, tmp_path):
    def hostile(record):
        record["claims"][0]["title"] = "<img src=x>"

    first, record = run("a", edit=hostile)
    second, _ = run("b", moved(column_of(record)), edit=hostile)
    main(["compare", str(first), str(second), "--paired", "--out", str(tmp_path / "page.html")])
    told = capsys.readouterr().out
    assert "paired over the same 64 documents: 1 of 1 columns differ" in told
    assert record["claims"][0]["title"] in told.partition("paired over")[2]
    change, limits, p = re.search(r": (\+[\d.]+) (\[\+[\d.]+, \+[\d.]+\]) nats/token, p ([\d.]+)", told).groups()
    page = (tmp_path / "page.html").read_text().partition("<h2>Document by document</h2>")[2]
    assert "Paired over the same 64 documents: 1 of 1 columns differ." in page
    assert (
        f'<td class="value">{change}</td><td class="whole">{limits}</td><td>nats/token</td><td class="value">{p}'
        in page
    )
    assert "the same numbers</li>" in page
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page


def test_what_is_in_one_run_alone_or_over_other_documents_is_counted(run):
    first = run("a")

    def gone(record):
        del record["claims"][1]

    found = paired(*first, *run("b", moved(column_of(first[1])), edit=gone))
    assert found.left_out["of one run alone"] >= 1
    with pytest.raises(ValueError, match=r"no column can be paired: .* over different numbers of documents"):
        paired(*first, *run("c", documents=32))


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda record: record["settings"]["prompts"].update(digest="f" * 64), "the runs read different prompts"),
        (lambda record: record["settings"].update(sequential=True), "a run decided early"),
    ],
)
def test_runs_over_other_documents_are_refused(run, capsys, edit, why):
    first, _ = run("a")
    second, _ = run("b", edit=edit)
    with pytest.raises(SystemExit):
        main(["compare", str(first), str(second), "--paired"])
    assert why in capsys.readouterr().err


def test_columns_that_are_missing_damaged_or_anothers_are_refused(run, tmp_path):
    (first, _), (second, _) = run("a"), run("b", edit=lambda record: record["run"].update(command="another"))
    beside = first.with_suffix(SUFFIX)
    beside.write_bytes(second.with_suffix(SUFFIX).read_bytes())
    with pytest.raises(ValueError, match=r"belongs to another record than a\.json"):
        columns_of(first)
    beside.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="unreadable"):
        columns_of(first)
    beside.unlink()
    with pytest.raises(ValueError, match="there is no such file"):
        columns_of(first)
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    save_file({"a": np.zeros((2, 2))}, beside, metadata={"record": digest})
    with pytest.raises(ValueError, match="not as it was written"):
        columns_of(first)


def test_nothing_in_a_record_reaches_the_terminal_as_a_command(run, capsys):
    def hostile(record):
        record["claims"][0]["title"] = record["claims"][0]["statements"][0]["unit"] = HOSTILE
        record["claims"][0]["statements"][0]["column"] = HOSTILE

    first, _ = run("a", edit=hostile)
    second, _ = run("b", moved(HOSTILE), edit=hostile)
    main(["compare", str(first), str(second), "--paired"])
    told = capsys.readouterr().out
    assert "[31m red" in told
    assert not set(told) & {"\x1b", "\u202e"}


def test_a_report_keeps_its_columns_and_old_reports_still_go(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "KEPT", 1)
    record = sample_record()
    columns = {key("confirmation", "a"): np.arange(3.0)}
    for hour in (1, 2, 3):
        record["run"]["started"] = f"2026-11-29T0{hour}:00:00+00:00"
        page.write(record, tmp_path / "latest.html", columns=columns if hour > 1 else None)
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_dir()] == ["2026-11-29T03-00-00Z"]
    found = columns_of(tmp_path / "latest.json")
    assert {name: list(column) for name, column in found.items()} == {"confirmation|a": [0.0, 1.0, 2.0]}
    assert json.loads((tmp_path / "latest.json").read_text())["schema"]
