"""The cookbook's recipes run in one folder, as their reader would, and print what the page says.

A recipe's `pytest FILE` is decided with all other files in one run, that of the job in the last recipe: a claim's
verdict does not depend on what is decided beside it.
"""

import re
import runpy
import shlex

import pytest
from support.doc_blocks import BLOCK, ROOT, hold, shell

from attnres_core.__main__ import main

PAGE = ROOT / "docs" / "cookbook.md"
RECIPES = dict(re.findall(r"^## \d+\. (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))
FILE = re.compile(r"`(\w+\.(?:py|ini))`[^`]*\n\n```(?:python|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOGETHER = re.compile(r"pytest( test_\w+\.py)?")
REFUTED = 1
"""pytest's exit status after a run with a refuted claim."""


def blocks(recipe, language):
    return [text for kind, text in BLOCK.findall(recipe) if kind == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The reader's folder, with every file that the page shows."""
    folder = tmp_path_factory.mktemp("cookbook")
    for recipe in RECIPES.values():
        for name, text in FILE.findall(recipe):
            (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def decided(folder):
    """What the job of the last recipe prints."""
    (job,) = blocks(RECIPES["Continuous integration"], "yaml")
    (command,) = re.findall(r"- run: (pytest .*)", job)
    status, output = shell(command, folder)
    assert status == REFUTED, output
    return output


def test_there_are_ten_recipes_and_every_file_is_found():
    assert len(RECIPES) == 10
    shown = [text for recipe in RECIPES.values() for kind in ("python", "ini") for text in blocks(recipe, kind)]
    assert sorted(shown) == sorted(text for recipe in RECIPES.values() for _, text in FILE.findall(recipe))


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_prints_what_it_says(title, folder, decided, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    outputs = [decided]
    for command in (line for block in blocks(RECIPES[title], "sh") for line in block.splitlines()):
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "attnres_core"]:  # (in this process: its imports are paid for)
            main(words[3:])
        elif words[0] == "python":
            runpy.run_path(words[1])
        elif not TOGETHER.fullmatch(command):
            status, output = shell(command, folder)
            assert status == 0, output
            outputs.append(output)
    output = "\n".join([*reversed(outputs), capsys.readouterr().out])
    for block in blocks(RECIPES[title], "text"):
        hold(PAGE, block, output)
    for block in blocks(RECIPES[title], "xml"):
        hold(PAGE, block, (folder / "claims.xml").read_text().replace("><", ">\n<"))
