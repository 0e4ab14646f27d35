"""What goes wrong in a run is told as what it is: never a traceback of ours, never a lost or a false report."""

import json
import shutil

import pytest
from support.checkpoint_copies import configure
from support.small_suite import ONE, verdicts

import attnres_core as ac

pytestmark = pytest.mark.usefixtures("_quiet")

SKIPPED = """

@pytest.mark.skip
@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_skipped(effect):
    assert effect > -9
"""
MALFORMED = """
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_malformed(effect):
    assert effect > float("nan")
"""


@pytest.fixture
def overflowing(micro, tmp_path):
    """A checkpoint whose weights are finite in float16 and whose activations are not."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "overflowing"
    shutil.copytree(micro / "trained", folder)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith("down_proj.weight"):
            tensors[name] = tensors[name] * 0 + 60000
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_nan_weights_of_a_run_are_inconclusive_and_reported(suite, pytester, overflowing):
    given = (f"--attnres-trained={overflowing}", "--attnres-dtype=float16", "--attnres-n-prompts=16", "-n", "0")
    result = suite(*given, claims=ONE)
    entry = verdicts(pytester)["test_sound"]
    assert entry["verdict"] == "INCONCLUSIVE"
    assert "NaN or infinite" in entry["reason"]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert (pytester.path / "reports/latest.html").is_file()


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan", "--fixtures-per-test", "--fixtures"])
def test_what_only_lists_measures_and_reports_nothing(suite, pytester, option):
    result = suite(option, "-n", "0", claims=ONE)
    assert result.ret == pytest.ExitCode.OK
    assert "Error" not in result.stdout.str()
    assert not (pytester.path / "reports").exists()


def test_a_skipped_claim_is_not_a_missing_one(suite, pytester):
    result = suite("-n", "0", claims=ONE + SKIPPED)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.no_fnmatch_line("*incomplete*")
    assert json.loads((pytester.path / "reports/latest.json").read_text())["complete"]


def test_a_threshold_that_is_no_number_is_its_claims_error_and_reported(suite, pytester):
    result = suite("-n", "0", claims=MALFORMED)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*an estimate meets nan; give a finite number*"])
    assert verdicts(pytester)["test_malformed"]["verdict"] == "ERROR"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--attnres-store=", "*--attnres-store is empty; give a value, or leave it out*"),
        ("--attnres-report=", "*--attnres-report is empty; give a value, or leave it out*"),
        ("--attnres-recency-bias=", "*--attnres-recency-bias is empty; give a value, or leave it out*"),
        ("--attnres-report=.", "*--attnres-report: * cannot be written; give a file*"),
        ("--attnres-report=r.json", "*--attnres-report: *r.json is for the page; its JSON record lies beside it*"),
        ("--attnres-recency-bias=800", "*`wrap` 800.0*Give a number up to 100, such as 10.0.*"),
    ],
)
def test_options_that_cannot_work_are_usage_errors_before_measuring(suite, pytester, option, message):
    result = suite(option, "-n", "0", claims=ONE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not list(pytester.path.glob(".attnres/units/*"))


def test_a_wrong_path_in_the_ini_file_is_one_error_for_all_workers(pytester):
    pytester.makeini("[pytest]\nattnres_trained = ./nowhere")
    pytester.makepyfile(test_claims=ONE)
    result = pytester.runpytest_subprocess("-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nowhere*there is no such folder*"])


def test_a_kept_step_that_no_claim_names_is_not_read(suite, micro, tmp_path):
    shutil.copytree(micro / "trained", tmp_path / "trained")
    (tmp_path / "trained/checkpoint-5").mkdir()
    (tmp_path / "trained/checkpoint-5/pytorch_model.bin").touch()
    suite(f"--attnres-trained={tmp_path / 'trained'}", "-n", "0", claims=ONE).assert_outcomes(passed=1)


def test_a_prompt_beyond_the_context_is_one_error_that_names_it(suite, micro, tmp_path):
    shutil.copytree(micro / "trained", tmp_path / "trained")
    configure(tmp_path / "trained", max_position_embeddings=20)
    result = suite(f"--attnres-trained={tmp_path / 'trained'}", "-n", "0", claims=ONE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: prompt 'p*' has * tokens; the context is 20: cut it"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: ac.measure(model, [1, 2, 3], [ac.mass("current", "mlp")]), "no list of lists of token ids"),
        (lambda model: ac.measure(model, [[1.7, 2.2]], [ac.mass("current", "mlp")]), "no list of lists of token ids"),
        (lambda model: ac.measure(model, [[1, 2]], ac.mass("current", "mlp")), "give a list of what to measure"),
        (lambda model: ac.measure(model, [[1, 2]], [], chunk=0), "`chunk` is 0; give a whole number of prompts"),
        (lambda model: ac.load_model(None), "a checkpoint is None; give a folder or a hub id"),
        (lambda model: ac.load_prompts(None), "a prompt file is None; give its path"),
        (lambda model: ac.estimate([1.0, 2.0], "0.95"), "`confidence` is '0.95'; give a number"),
    ],
)
def test_a_wrong_call_says_what_to_give(conformance, call, message):
    with pytest.raises(ValueError, match=message):
        call(ac.load_model(conformance / "open_block_11"))
