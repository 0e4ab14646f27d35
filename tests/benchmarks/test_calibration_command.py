"""python -m benchmarks.calibration: every part runs, in the form that takes seconds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.calibration import __main__ as command
from benchmarks.calibration.options import QUICK


def test_every_part_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["calibration", "--quick"])
    command.main()
    parts = capsys.readouterr().out.split("\n### ")[1:]
    assert [part.split("\n")[0] for part in parts] == list(command.PARTS)
    for part in parts:
        rows = [line for line in part.splitlines() if line.startswith("| ")]
        assert len(rows) >= 2, part
        assert "nan" not in part


def test_the_page_shows_every_part_and_each_is_named_where_it_is_quoted() -> None:
    root = Path(__file__).parents[2]
    page = (root / "benchmarks/CALIBRATION.md").read_text()
    assert set(re.findall(r"`python -m benchmarks.calibration (\w+)`", page)) == {"PART", *command.PARTS}
    quoted = set(re.findall(r"[(; ]`(\w+)`\)", (root / "docs/deciding.md").read_text()))
    assert {"simulated", "suite", "rare", "picks", "formulas"} <= quoted


def test_more_data_sets_can_be_asked_for() -> None:
    assert QUICK.times(0.5).sets == (20, 20)
    assert QUICK.times(0.001).suites == 2
    assert QUICK.times(2).alphas == QUICK.alphas
