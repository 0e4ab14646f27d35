"""Texts that take long to make are made once for a user."""

from pathlib import Path

import pytest

from attnres_core.files import kept_text


def test_a_text_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = list[str]()

    def make() -> str:
        made.append("x")
        return "text\u2028\n"

    assert [kept_text("a.js", make) for _ in range(3)] == ["text\u2028\n"] * 3
    assert len(made) == 1
    assert [file.name for file in (tmp_path / "attnres-core").iterdir()] == ["a.js"]


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept_text("a.js", lambda: "text") == "text"


def test_a_spoilt_text_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "attnres-core").mkdir()
    (tmp_path / "attnres-core/a.js").write_bytes(b"\xff")
    assert kept_text("a.js", lambda: "text") == kept_text("a.js", lambda: "other") == "text"
