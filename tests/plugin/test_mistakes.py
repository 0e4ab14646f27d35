"""A mistake in a claim is told at once, in a line that shows no code of ours, and costs no other claim anything."""

import json

import pytest
from support.small_suite import ONE, record_of, verdicts

pytestmark = pytest.mark.usefixtures("_quiet")

MISTAKEN = """

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_negated(effect):
    assert not effect > 1

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_says_nothing(effect):
    effect > 1
"""
WRONG_WORD = """
from attnres_core import TRAINED, claim, drop

@claim(effect=drop("curent", "mlp").on(TRAINED))
def test_misspelt(effect):
    assert effect > 1
"""
WRONG_KEYWORD = """
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(efect=drop(CURRENT, MLP).on(TRAINED))
def test_misnamed(effect):
    assert effect > 1
"""
OURS = ("attnres_core/", "Traceback", "def trace")
"""What stands in a traceback through our code."""


@pytest.mark.parametrize("given", [("-n", "0"), ("-n", "2"), ("--collect-only", "-q"), ("--collect-only", "-n", "2")])
def test_what_tracing_finds_is_told_before_anything_is_measured(suite, pytester, given):
    result = suite(*given, claims=ONE + MISTAKEN)
    said = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "attnres: 2 mistakes; the other claims go on",
            "  test_claims.py::test_negated: the body negates a decision or asserts something else; *",
            "  test_claims.py::test_says_nothing: the body goes on when * is not supported; *",
        ]
    )
    assert not [word for word in OURS if word in said]
    if "--collect-only" not in given:
        result.assert_outcomes(passed=1, errors=2)
        assert verdicts(pytester)["test_sound"]["verdict"] == "SUPPORTED"
        assert verdicts(pytester)["test_negated"]["verdict"] == "ERROR"


@pytest.mark.parametrize("given", [("-n", "0"), ("-n", "2")])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (WRONG_WORD, "test_wrong.py:3: *'curent'*allowed:*"),
        (WRONG_KEYWORD, "test_wrong.py:3: test_misnamed has no parameter efect; name it in the test's signature"),
    ],
)
def test_a_wrong_word_in_one_file_aborts_no_other(suite, pytester, given, wrong, told):
    result = suite(*given, claims=ONE, test_wrong=wrong)
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["attnres: 1 mistake; the other claims go on", f"  {told}"])
    assert not [word for word in OURS if word in result.stdout.str()]
    assert verdicts(pytester)["test_sound"]["verdict"] == "SUPPORTED"


def test_a_file_that_is_broken_for_another_reason_stops_the_run_as_ever(suite, pytester):
    result = suite("-n", "0", claims=ONE, test_wrong=WRONG_WORD, test_broken="import no_such_module")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / "reports").exists()


# What a run was asked for --------------------------------------------------------------------------------------------


def test_the_reproduce_command_holds_what_the_ini_file_and_the_environment_said(pytester, micro, monkeypatch):
    pytester.makepyfile(test_claims=ONE)
    pytester.makeini(
        "[pytest]\n"
        f"attnres_trained = {micro / 'trained'}\nattnres_vanilla = {micro / 'vanilla'}\n"
        "attnres_quick = yes\nattnres_store = kept"
    )
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--attnres-prompts={micro / 'prompts.jsonl'}")
    pytester.runpytest_subprocess("-n", "0").assert_outcomes(passed=1)
    command = record_of(pytester)["run"]["command"].split()
    assert [word for word in command if "basetemp" not in word] == [
        *("pytest", "-n", "0"),
        *(f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"),
        *(f"--attnres-prompts={micro / 'prompts.jsonl'}", "--attnres-store=./kept", "--attnres-quick"),
    ]


def test_short_prompts_are_counted_and_fields_that_nothing_reads_are_named(suite, pytester, micro):
    rows = [json.loads(line) for line in (micro / "prompts.jsonl").read_text().splitlines()]
    short = [{**row, "text": " ".join(row["text"].split()[: 4 + place])} for place, row in enumerate(rows[:5])]
    file = pytester.path / "own.jsonl"
    file.write_text("".join(json.dumps({**row, "licence": "MIT"}) + "\n" for row in [*short, *rows[5:]]))
    result = suite("-n", "0", "-W", "error", f"--attnres-prompts={file}", claims=ONE)
    result.stdout.fnmatch_lines(
        [
            "attnres: prompts: own (40 exploration, 40 confirmation), digest *; "
            "4 have fewer than 8 tokens and count as much as longer ones",
            f"*IgnoredFieldWarning: {file}: nothing reads licence; *",
        ]
    )
    result.assert_outcomes(passed=1, warnings=1)


def test_nothing_is_registered_beside_a_mistake(suite, pytester):
    """The claim that is mistaken would count as withdrawn, and pay again when it is mended."""
    result = suite("-n", "0", "--attnres-register", claims=ONE + MISTAKEN)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: nothing is registered while claims have mistakes, *:", "  *::test_negated: *"])
    assert "the other claims go on" not in result.stdout.str() + result.stderr.str()
    assert not [*pytester.path.rglob("claims.lock")]
