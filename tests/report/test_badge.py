"""A run as a badge, as shields.io's endpoint reads it."""

import json

import pytest
from support.sample_record import sample_record

from attnres_core.__main__ import main
from attnres_core.report.badge import badge


@pytest.fixture
def record():
    record = sample_record()
    for claim in record["claims"]:
        claim["expected"], claim["registration"] = None, "registered"
        if claim["control"]:
            claim["verdict"] = "SUPPORTED"
    return record


def verdict_of(record, verdict):
    return next(claim for claim in record["claims"] if claim["verdict"] == verdict and not claim["control"])


def test_it_counts_claims_without_controls_and_a_refuted_claim_is_no_failure(record):
    counts = {
        word: sum(claim["verdict"] == word and not claim["control"] for claim in record["claims"])
        for word in ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
    }
    assert counts["REFUTED"] > 0
    assert badge(record) == {
        "schemaVersion": 1,
        "label": "attnres claims",
        "message": ", ".join(f"{count} {word.lower()}" for word, count in counts.items()),
        "color": "blue",
    }


def test_a_failed_control_an_error_and_a_changed_verdict_are_red(record):
    verdict_of(record, "SUPPORTED")["expected"] = {"verdict": "REFUTED", "reason": "it was so"}
    assert badge(record)["color"] == "red"
    verdict_of(record, "SUPPORTED")["expected"]["verdict"] = "SUPPORTED"
    assert badge(record)["color"] == "blue"
    control = next(claim for claim in record["claims"] if claim["control"])
    control["verdict"] = "REFUTED"
    assert badge(record)["color"] == "red"
    control["verdict"] = "ERROR"
    assert badge(record)["color"] == "red"


def test_a_run_that_confirms_nothing_is_yellow(record):
    record["complete"] = False
    assert badge(record)["color"] == "yellow"
    record["complete"] = True
    record["settings"]["registrations"]["claims"] = len(record["claims"]) + 1  # (one was left out, by -k)
    assert badge(record)["color"] == "yellow"
    for claim in record["claims"]:
        claim["registration"] = "quick"
    assert badge(record)["color"] == "yellow"
    record["claims"].clear()
    assert badge(record) | {"color": ""} == {**badge(record), "message": "none decided", "color": ""}


def test_the_command_prints_it_or_writes_it(record, tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps(record))
    main(["badge", str(tmp_path / "r.json")])
    assert json.loads(capsys.readouterr().out) == badge(record)
    main(["badge", str(tmp_path / "r.json"), "-o", str(tmp_path / "badge.json")])
    assert json.loads((tmp_path / "badge.json").read_text()) == badge(record)
    with pytest.raises(SystemExit):
        main(["badge", str(tmp_path / "r.json"), "-o", str(tmp_path / "nowhere" / "b.json")])
    assert "cannot be written" in capsys.readouterr().err
