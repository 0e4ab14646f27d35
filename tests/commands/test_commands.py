"""The command line: what its help says, the names it takes, and the files it names."""

import ast
import shlex

import pytest

from attnres_core import files
from attnres_core.__main__ import main
from attnres_core.commands import COMMANDS
from attnres_core.shipped import reference
from attnres_core.training import structured


def refused(capsys, *given):
    """What a command says that is refused."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, given)])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_plain_text(capsys, name):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"] if name else ["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert "%%" not in told
    assert "%(" not in told
    assert "None" not in told


@pytest.mark.parametrize(
    "name", ["test_\\N.py", 'test_"""1.py', "test_.py", "test_ü b.py", "test_a-b.py", "test_a\n.py"]
)
def test_a_first_file_has_the_name_of_a_module(capsys, tmp_path, name):
    assert "is no name of a module; give one of letters, digits and _" in refused(capsys, "new", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_first_file_is_python_and_how_to_go_on_can_be_pasted(capsys, tmp_path):
    file = tmp_path / "of mine & yours" / "test_größer_2.py"
    file.parent.mkdir()
    main(["new", str(file)])
    ast.parse(file.read_text(encoding="utf-8"))
    told = capsys.readouterr().out.strip()
    assert shlex.split(told.partition("now: ")[2]) == ["pytest", str(file)]
    assert "it is left as it is" in refused(capsys, "new", file)
    nowhere = tmp_path / "none" / "test_a.py"
    assert f"{nowhere}: cannot be written (No such file or directory); give" in refused(capsys, "new", nowhere)


def test_prompts_are_made_for_a_shipped_checkpoint_or_a_folder(monkeypatch, capsys, tmp_path):
    asked = []
    monkeypatch.setattr(structured, "main", lambda tokenizer, out, command: asked.append(tokenizer))
    for given in ("tiny-kimi-block", str(tmp_path)):
        main(["prompts", "structured", "--checkpoint", given])
    assert asked == [reference("tiny-kimi-block") / "tokenizer.json", tmp_path / "tokenizer.json"]
    assert "no reference checkpoint 'tiny'" in refused(capsys, "prompts", "structured", "--checkpoint", "tiny")
    told = refused(capsys, "prompts", "docstrings", "--checkpoint", "tiny-kimi-block")
    assert "unrecognized arguments: --checkpoint" in told  # they are cut by one tokenizer
    assert "the following arguments are required: ACTION" in refused(capsys, "prompts")


def test_prompts_that_cannot_be_written_are_an_error_that_names_the_folder(capsys, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "prompts"
    assert f"{out}: cannot be written (Not a directory); give" in refused(capsys, "prompts", "structured", "--out", out)


def test_a_published_page_shows_no_folder_above_the_working_directory(monkeypatch, tmp_path):
    here = tmp_path / "work.d"
    here.mkdir()
    monkeypatch.chdir(here)
    assert files.published_name(here / "runs" / "seed-1") == "runs/seed-1"
    assert files.published_name(tmp_path / "elsewhere" / "seed-1") == "seed-1"
    assert files.published_name(here) == "work.d"
    beside = f"{here}2/a b.py"
    words = ["pytest", f"{here}/tests/test_a.py::test_b", f"--rootdir={here}", f"--attnres-trained={here}/m", beside]
    shown = ["pytest", "./tests/test_a.py::test_b", "--rootdir=.", "--attnres-trained=./m", beside]
    assert shlex.split(files.published_command(words)) == shown
