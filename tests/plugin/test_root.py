"""Paths in options leave pytest's root, its ini file and what a run writes where the command was given."""

import json

import pytest
from support.small_suite import verdicts

CLAIM = """
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_a_claim(effect):
    assert effect > -5
"""


@pytest.fixture
def given(micro, pytester, _quiet):
    """Options as a user types them: a name, a space, a path elsewhere."""
    pytester.makepyfile(test_claims=CLAIM)
    paths = {"trained": micro / "trained", "vanilla": micro / "vanilla", "prompts": micro / "prompts.jsonl"}
    return {name: [f"--attnres-{name}", str(path)] for name, path in paths.items()}


def all_of(given):
    return [word for pair in given.values() for word in pair]


@pytest.mark.parametrize("tests", [[], ["test_claims.py"]], ids=["no path", "a path"])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_without_an_ini_file_all_stays_in_the_folder_of_the_command(pytester, micro, given, tests, workers):
    result = pytester.runpytest_subprocess("-n", workers, *all_of(given), *tests)
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", f"report: {pytester.path}/reports/latest.html"])
    assert (pytester.path / ".attnres/units").is_dir()
    record = json.loads((pytester.path / "reports/latest.json").read_text())
    assert [claim["node_id"] for claim in record["claims"]] == ["test_claims.py::test_a_claim"]
    assert {path.name for path in micro.iterdir()} == {"trained", "vanilla", "kimi", "prompts.jsonl"}


def test_the_ini_file_of_the_folder_is_read(pytester, micro, given):
    """Else another checkpoint than the one that it names would be measured in silence."""
    pytester.makeini(f"[pytest]\naddopts = -n 0\nattnres_trained = {micro / 'kimi'}\n")
    result = pytester.runpytest_subprocess(*given["vanilla"], *given["prompts"])
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", "configfile: tox.ini", "attnres: trained: kimi (*"])
    assert verdicts(pytester)["test_a_claim"]["verdict"] == "SUPPORTED"


def test_an_ini_file_beside_the_checkpoint_is_not(pytester, given, tmp_path, micro):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "trained").symlink_to(micro / "trained")
    given["trained"][1] = str(tmp_path / "trained")
    result = pytester.runpytest_subprocess("-n0", *all_of(given))
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", "* 1 passed *"])


def test_a_flag_of_an_ini_file_says_yes_or_no(pytester, given):
    pytester.makeini("[pytest]\nattnres_quick = perhaps\n")
    result = pytester.runpytest_subprocess("-n0", *all_of(given))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*attnres_quick = perhaps is neither yes nor no; allowed: 1, true, yes, *"])


def test_an_ini_file_of_the_folder_counts_for_claims_that_lie_elsewhere(pytester, micro, given, tmp_path):
    """Beside them lies another project's; without options of ours in the folder, that one counts, as pytest has it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pytest.ini").write_text("[pytest]\n")
    claims = tmp_path / "other" / "test_theirs.py"
    (pytester.path / "test_claims.py").rename(claims)
    pytester.makeini(f"[pytest]\naddopts = -n 0\nattnres_trained = {micro / 'kimi'}\n")
    result = pytester.runpytest_subprocess(*given["vanilla"], *given["prompts"], str(claims))
    result.stdout.fnmatch_lines([f"rootdir: {pytester.path}", "configfile: tox.ini", "attnres: trained: kimi (*"])
    result.stdout.fnmatch_lines([f"report: {pytester.path}/reports/latest.html"])
    (pytester.path / "tox.ini").unlink()
    result = pytester.runpytest_subprocess("-n0", *all_of(given), str(claims))
    result.stdout.fnmatch_lines([f"rootdir: {tmp_path / 'other'}", "configfile: pytest.ini"])


def test_what_is_written_stays_in_the_folder_of_the_command_wherever_the_claims_lie(pytester, given, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (pytester.path / "test_claims.py").rename(tmp_path / "elsewhere" / "test_theirs.py")
    result = pytester.runpytest_subprocess("-n0", *all_of(given), str(tmp_path / "elsewhere" / "test_theirs.py"))
    result.stdout.fnmatch_lines([f"report: {pytester.path}/reports/latest.html"])
    assert (pytester.path / ".attnres/units").is_dir()
