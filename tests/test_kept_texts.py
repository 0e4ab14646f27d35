"""Texts that take long to make are made once for a user."""

import hashlib
from pathlib import Path

import pytest

from attnres_core import shipped
from attnres_core.files import kept_text
from attnres_core.report.html import page
from attnres_core.shipped import cache_folder

TEXT = "text\u2028\n"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return []


def asked(made: list[str], digest: str = DIGEST) -> str:
    def make() -> str:
        made.append("x")
        return TEXT

    return kept_text(cache_folder(), "a.js", digest, make)


def test_a_text_is_made_once(tmp_path: Path, made: list[str]) -> None:
    assert [asked(made) for _ in range(3)] == [TEXT] * 3
    assert len(made) == 1
    assert [file.name for file in (tmp_path / "attnres-core").iterdir()] == ["a.js"]


def test_a_text_of_unknown_digest_is_not_kept(tmp_path: Path, made: list[str]) -> None:
    assert [asked(made, digest) for digest in ("", "0" * 64)] == [TEXT] * 2
    assert len(made) == 2
    assert not (tmp_path / "attnres-core").exists()


def test_a_cache_that_cannot_be_written_is_none(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert asked(made) == TEXT


def test_a_user_without_a_home_has_no_cache(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(shipped.Path, "home", nobody)
    assert cache_folder() is None
    assert asked(made) == TEXT


@pytest.mark.parametrize("spoilt", [b"\xff", b"", b"fetch('http://evil')"])
def test_whatever_else_lies_there_is_not_read(tmp_path: Path, made: list[str], spoilt: bytes) -> None:
    (tmp_path / "attnres-core").mkdir()
    (tmp_path / "attnres-core/a.js").write_bytes(spoilt)
    assert [asked(made) for _ in range(2)] == [TEXT] * 2
    assert len(made) == 1


def test_the_drawing_library_of_the_pinned_version_is_kept(tmp_path: Path, made: list[str]) -> None:
    page._vega_bundle.__wrapped__()
    assert len(list((tmp_path / "attnres-core").glob("vega-*.js"))) == 1
