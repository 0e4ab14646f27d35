"""One claim of a file is read as pytest would run it: its cases, its conftest, its errors in one line."""

import pytest

from attnres_core.claims.statements import ClaimError
from attnres_core.plugin.one_claim import read_claim

HEAD = """
import pytest
from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, TRAINED, claim, drop
from attnres_core import ClaimError

MLP_DROP = drop(EMBEDDING, MLP, EARLY).on(TRAINED)
"""
CLAIMS = """
from thresholds import LARGEST

@claim(effect=MLP_DROP)
def test_plain(effect):
    assert effect > 0.5

@claim("cases of every make")
@pytest.mark.parametrize("least", [0.25, pytest.param(2, id="two or more")])
@pytest.mark.parametrize("effect", [MLP_DROP, drop(CURRENT, ATTN, LATE).on(TRAINED)])
def test_stacked(effect, least):
    assert effect > least

@pytest.mark.parametrize("bound", [1, 3], ids=lambda bound: f"under-{bound}")
@claim(effect=MLP_DROP)
def test_named_by_a_function(effect, bound):
    assert abs(effect) < bound

@claim(effect=MLP_DROP)
def test_bounded(effect, largest):
    assert effect < largest

class TestGrouped:
    @claim(effect=MLP_DROP)
    def test_inside(self, effect):
        assert effect < LARGEST

@claim(effect=MLP_DROP)
def test_negating(effect):
    assert not effect > 0.5

def test_no_claim():
    pass
"""
CONFTEST = """
def pytest_generate_tests(metafunc):
    if "largest" in metafunc.fixturenames:
        metafunc.parametrize("largest", [7])
"""
MLP_DROP = "drop(embedding, mlp, early) on trained [delta_nll]"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "claims of mine"
    folder.mkdir()
    (folder / "test_mine.py").write_text(HEAD + CLAIMS)
    (folder / "thresholds.py").write_text("LARGEST = 9\n")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -ra -k nothing -n 2\nfilterwarnings = error\n")
    return folder / "test_mine.py"


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("test_plain", f"{MLP_DROP} > 0.5"),
        (f"test_stacked[{MLP_DROP}-0.25]", f"{MLP_DROP} > 0.25"),
        (
            "test_stacked[drop(current, attn, late) on trained [delta_nll]-two or more]",
            "drop(current, attn, late) on trained [delta_nll] > 2",
        ),
        ("test_named_by_a_function[under-3]", f"|{MLP_DROP}| < 3"),
        ("test_bounded[7]", f"{MLP_DROP} < 7"),
        ("TestGrouped::test_inside", f"{MLP_DROP} < 9"),
    ],
)
def test_a_claim_or_a_case_is_found_by_its_name_in_pytest(file, name, stated, capfd):
    assert list(map(str, read_claim(f"{file}::{name}"))) == [stated]
    assert capfd.readouterr() == ("", "")


def test_what_the_file_does_not_hold_is_refused_with_what_it_holds(file):
    with pytest.raises(ClaimError, match="the body negates a decision"):
        read_claim(f"{file}::test_negating")
    everything = (
        r"holds test_plain, test_stacked, test_named_by_a_function, test_bounded, TestGrouped::test_inside, test_n"
    )
    for name in ("test_none", "test_no_claim"):
        with pytest.raises(ValueError, match=everything):
            read_claim(f"{file}::{name}")
    for name in ("test_named_by_a_function", "test_named_by_a_function[under-2]"):
        with pytest.raises(ValueError, match=r"function\[under-1\], test_named_by_a_function\[under-3\]$"):
            read_claim(f"{file}::{name}")
    with pytest.raises(ValueError, match=r"claims of mine: a folder; give a claim as FILE\.py::test_name"):
        read_claim(f"{file.parent}::test_plain")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"test_a.py": "import helper_of_nobody"}, "ModuleNotFoundError: No module named 'helper_of_nobody'"),
        ({"test_a.py": "def test_a(:\n"}, r"SyntaxError: invalid syntax \(test_a.py, line 1\)"),
        ({"test_a.py": "raise OSError('two\\nlines') from KeyError(1)"}, "OSError: two lines"),
        ({"test_a.py": "import sys; sys.exit(3)"}, "SystemExit"),
        ({"test_a.py": "import os; os._exit(0)"}, "it ends the process that imports it"),
        ({"test_a.py": "import pytest; pytest.skip('not here', allow_module_level=True)"}, "Skipped: not here"),
        ({"test_a.py": "", "conftest.py": "1 / 0"}, "conftest.py'. ZeroDivisionError: division by zero"),
        ({"test_a.py": "", "pytest.ini": "[pytest]\naddopts = --none"}, "unrecognized arguments: --none"),
    ],
)
def test_a_file_that_pytest_cannot_collect_is_one_line(tmp_path, files, problem):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/test_a.py: pytest cannot collect it \(.*{problem}") as caught:
        read_claim(f"{tmp_path / 'test_a.py'}::test_a")
    assert "\n" not in str(caught.value)
    assert "`pytest --collect-only" in str(caught.value)
