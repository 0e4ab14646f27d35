"""The suite as a pytest user meets it: real checkpoints with random weights, real processes."""

import json
import re
import sys

import pytest
from support.small_suite import verdicts

pytestmark = pytest.mark.usefixtures("_quiet")

EXPECTED = {
    "test_supported": "SUPPORTED",
    "test_refuted": "REFUTED",
    "test_inconclusive": "INCONCLUSIVE",
    "test_not_applicable": "NOT APPLICABLE",
    "test_closed_form": "SUPPORTED",
    "test_picked": "SUPPORTED",
    "test_parametrized[drop(embedding, attn, late) on trained [delta_nll]-3]": "SUPPORTED",
    "test_parametrized[drop(embedding, attn, late) on trained [delta_nll]-4]": "SUPPORTED",
}


def test_verdicts_and_numbers_do_not_depend_on_the_number_of_workers(suite, pytester):
    found = {}
    for workers in ("0", "3"):
        result = suite("-n", workers, f"--attnres-store=store-{workers}", f"--attnres-report=out/{workers}.html")
        result.assert_outcomes(passed=5, failed=2, skipped=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        found[workers] = verdicts(pytester, f"out/{workers}.json")
        assert {name: entry["verdict"] for name, entry in found[workers].items()} == EXPECTED
    for name, entry in found["0"].items():
        other = found["3"][name]
        assert entry["estimate"] == pytest.approx(other["estimate"], abs=1e-6)
        assert entry["interval"] == pytest.approx(other["interval"], abs=1e-6)


def test_a_run_tells_its_findings(suite, pytester):
    result = suite("-v")
    result.stdout.fnmatch_lines(
        [
            "attnres: trained: trained (Qwen3 backbone, open_block schedule, 8 layers, 4 blocks), digest *",
            "attnres: wrapped: vanilla (Qwen3 backbone, wrapped schedule, 6 layers, 4 blocks, recency bias 10), *",
            "attnres: prompts: prompts (40 exploration, 40 confirmation), digest *",
            "attnres: device: cpu, float32, 1 measuring slot x * thread*; seed *",
            "*test_supported SUPPORTED*",
            "*test_refuted REFUTED*",
            "*test_inconclusive INCONCLUSIVE*",
            "*test_not_applicable NOT APPLICABLE*",
            "*= FAILURES =*",
            "REFUTED: * for drop(embedding, mlp, early) on trained [[]delta_nll] > 5",
            "claim     a claim in words",
            "statement drop(embedding, mlp, early) on trained [[]delta_nll] > 5",
            "effect    *",
            "interval  [[]*] *99.84 % interval, n = 40*",
            "threshold > 5",
            "verdict   REFUTED: at most the threshold, which is not 'no effect'",
            "to decide *",
            "*= verdicts =*",
            "7 claims: 4 SUPPORTED, 1 REFUTED, 1 INCONCLUSIVE, 1 NOT APPLICABLE",
            "1 control: 1 SUPPORTED",
            "contradiction: decided (supported SUPPORTED, refuted REFUTED)",
            "report: *reports/latest.html",
        ]
    )
    record = json.loads((pytester.path / "reports/latest.json").read_text())
    entry = verdicts(pytester)["test_supported"]
    assert entry["sites_touched"] == ["0.attn", "1.attn", "2.attn"]
    assert (entry["cites"], entry["contradicts"]) == ("a paper", ["test_claims.py::test_refuted"])
    assert verdicts(pytester)["test_closed_form"]["statements"][0]["exact"]
    assert record["complete"]
    assert record["run"]["noise_floor"] < 1e-5
    assert (pytester.path / "reports/latest.html").read_text().startswith("<!doctype html>")
    assert list((pytester.path / ".attnres/runs").iterdir()) == []


@pytest.mark.real_processes
def test_a_warm_run_measures_nothing_and_imports_no_torch(suite, pytester):
    suite("-n", "0")
    watch = "import sys\ndef pytest_unconfigure():\n    print('TORCH', 'torch' in sys.modules)\n"
    result = suite("-n", "0", conftest=watch)
    assert "TORCH False" in result.stdout.str() + result.stderr.str()
    record = json.loads((pytester.path / "reports/latest.json").read_text())
    assert record["run"]["bundles_measured"] == 0
    assert record["run"]["bundles_reused"] > 0


def test_a_subset_gets_the_same_verdict_and_reuses_columns(suite, pytester):
    suite("-n", "0")
    whole = verdicts(pytester)["test_refuted"]
    suite("-n", "0", "-k", "refuted")
    alone = verdicts(pytester)
    assert list(alone) == ["test_refuted"]
    assert alone["test_refuted"] == whole


def test_a_damaged_unit_is_measured_again_with_a_notice_even_where_warnings_are_errors(suite, pytester):
    pytester.makeini("[pytest]\nfilterwarnings = error")
    suite("-n", "0")
    before = verdicts(pytester)
    unit = next((pytester.path / ".attnres/units").rglob("*.safetensors"))
    unit.write_bytes(unit.read_bytes()[:-7])
    result = suite("-n", "0")
    result.stdout.fnmatch_lines(["*DamagedStoreWarning: *is damaged*set aside as *made again*"])
    assert verdicts(pytester) == before
    assert unit.with_suffix(".damaged").exists()


@pytest.mark.real_processes
def test_collecting_imports_no_torch(suite, pytester):
    watch = "import sys\ndef pytest_unconfigure():\n    print('TORCH', 'torch' in sys.modules)\n"
    result = suite("--collect-only", "-q", conftest=watch)
    assert "TORCH False" in result.stdout.str() + result.stderr.str()
    assert "8 tests collected" in result.stdout.str()
    assert not (pytester.path / "reports").exists()
    assert result.duration < 15  # 1 s on an idle core; the bound only catches an accidental torch import


def test_a_killed_worker_costs_no_claim(suite, pytester):
    """Worker gw0 kills itself the moment this run has measured a bundle: nothing is lost but the one in flight."""
    killer = """
        import os, signal, threading, time
        from pathlib import Path

        def pytest_configure(config):
            if getattr(config, "workerinput", {}).get("workerid") != "gw0":
                return
            def watch():
                while not list(Path(".attnres/runs").glob("*/done/*")):
                    time.sleep(0.005)
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=watch, daemon=True).start()
    """
    result = suite("-n", "2", conftest=killer)
    assert "node down" in result.stdout.str()
    assert {name: entry["verdict"] for name, entry in verdicts(pytester).items()} == EXPECTED


def test_a_bundle_that_kills_its_process_twice_is_a_named_failure(suite, pytester):
    killer = """
        import os, signal
        from attnres_core.engine.worker import Worker

        real = Worker.measure
        def measure(self, bundle, missing):
            if bundle.role == "wrapped":
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, bundle, missing)
        Worker.measure = measure
    """
    suite("-n", "2", conftest=killer)
    found = verdicts(pytester)
    assert found["test_closed_form"]["verdict"] == "ERROR"
    assert re.search("the process measuring .* wrapped model .* died 2 times", found["test_closed_form"]["reason"])
    assert {name: entry["verdict"] for name, entry in found.items()} == {**EXPECTED, "test_closed_form": "ERROR"}


def test_expected_verdicts_turn_a_known_refutation_green_and_a_change_red(suite, pytester, micro, tmp_path):
    import shutil

    shutil.copytree(micro / "trained", tmp_path / "trained")
    here = f"--attnres-trained={tmp_path / 'trained'}"
    suite(here, "--attnres-write-expected")
    file = tmp_path / "trained" / "expected_verdicts.json"

    missing = suite(here)
    missing.stderr.fnmatch_lines(["*is expected * without a reason; write one"])
    assert missing.ret == pytest.ExitCode.USAGE_ERROR

    content = json.loads(file.read_text())
    for entry in content["claims"].values():
        entry["reason"] = "random weights"
    file.write_text(json.dumps(content))
    green = suite(here, "-v")
    assert green.ret == pytest.ExitCode.OK
    green.stdout.fnmatch_lines(
        ["*test_refuted REFUTED (expected)*", "  REFUTED * refuted", "* as expected: random weights"]
    )
    assert verdicts(pytester)["test_refuted"]["verdict"] == "REFUTED"

    content["claims"]["test_claims.py::test_refuted"]["verdict"] = "INCONCLUSIVE"
    file.write_text(json.dumps(content))
    changed = suite(here)
    assert changed.ret == pytest.ExitCode.TESTS_FAILED
    changed.stdout.fnmatch_lines(["expected INCONCLUSIVE, and the verdict is REFUTED"])

    other_prompts = suite(here, "--attnres-n-prompts=32")
    assert other_prompts.ret == pytest.ExitCode.TESTS_FAILED
    assert "(expected" not in other_prompts.stdout.str()


BROKEN = """
from attnres_core import CURRENT, EMBEDDING, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_negated(effect):
    assert not effect > 0

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_with_a_fixture(effect, tmp_path):
    assert effect > 0

@claim(effect=drop(CURRENT, MLP, range(6, 12)).on(TRAINED))
def test_out_of_range(effect):
    assert effect > 0

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_sound(effect):
    assert effect > -9
"""


def test_marks_and_outcomes_cannot_hide_a_verdict(suite, pytester):
    claims = """
        import pytest
        from attnres_core import CURRENT, MLP, TRAINED, claim, drop

        @pytest.mark.xfail
        @claim(effect=drop(CURRENT, MLP).on(TRAINED))
        def test_marked(effect):
            assert effect > 9

        @pytest.mark.xfail
        @claim(effect=drop(CURRENT, MLP).on(TRAINED))
        def test_malformed(effect):
            assert not effect > 9

        @claim(effect=drop(CURRENT, MLP).on(TRAINED))
        def test_skips(effect):
            pytest.skip("no")
    """
    result = suite(claims=claims)
    result.assert_outcomes(failed=1, errors=2)
    result.stdout.fnmatch_lines(["*the body calls pytest.skipped; it may only assert*"])
    found = verdicts(pytester)
    assert {name: entry["verdict"] for name, entry in found.items()} == {
        "test_marked": "REFUTED",
        "test_malformed": "ERROR",
        "test_skips": "ERROR",
    }


def test_autouse_fixtures_and_classes_do_not_disturb_claims(suite):
    claims = """
        import pytest
        from attnres_core import CURRENT, MLP, TRAINED, claim, drop

        @pytest.fixture(autouse=True)
        def seed():
            return 1

        class TestClaims:
            def setup_method(self):
                self.ready = True

            @claim(effect=drop(CURRENT, MLP).on(TRAINED))
            def test_method(self, effect):
                assert effect > -9
    """
    suite(claims=claims).assert_outcomes(passed=1)


def test_a_broken_file_costs_no_measurement(suite, pytester):
    result = suite(test_broken="def test_x(:\n")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not (pytester.path / ".attnres").exists()


def test_rewriting_expectations_keeps_other_entries_and_needs_one_process(suite, pytester, micro, tmp_path):
    import shutil

    shutil.copytree(micro / "trained", tmp_path / "trained")
    here = f"--attnres-trained={tmp_path / 'trained'}"
    file = tmp_path / "trained" / "expected_verdicts.json"
    file.write_text("{malformed")
    suite(here, "--attnres-write-expected")
    whole = json.loads(file.read_text())
    assert len(whole["claims"]) == 8
    suite(here, "--attnres-write-expected", "-k", "refuted")
    assert json.loads(file.read_text()) == whole
    refused = suite(here, "--attnres-write-expected", "-n", "2")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--attnres-write-expected needs one process: add -n 0*"])


def test_claims_that_cannot_be_decided_are_errors_with_a_remedy_and_others_go_on(suite):
    result = suite(claims=BROKEN)
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*the body negates a decision or asserts something else*",
            "*a claim takes quantities and plain parameters, no fixtures: tmp_path*",
            "*`layers` is range(6, 12); this model has layers 0 to 7*",
        ]
    )


def test_wrong_options_are_one_error_that_names_the_remedy(suite):
    for option, message in (
        ("--attnres-trained=/no/such/folder", "*/no/such/folder: there is no such folder*"),
        ("--attnres-trained=tiny", "*no reference checkpoint 'tiny'; there are:*"),
        ("--attnres-prompts=none.jsonl", "*none.jsonl: there is no such prompt file*"),
        ("--attnres-dtype=float8", "*--attnres-dtype is 'float8'; allowed: float32, bfloat16, float16*"),
        ("--attnres-device=tpu", "*--attnres-device is 'tpu'; allowed: auto, cpu, cuda*"),
        ("--attnres-device-map=auto", "*--attnres-device-map is 'auto'; allowed: balanced*"),
        ("--attnres-n-prompts=0", "*--attnres-n-prompts: '0' is not valid (give a whole number of at least 1)*"),
    ):
        result = suite(option, "-n", "0")
        assert result.ret == pytest.ExitCode.USAGE_ERROR, option
        result.stderr.fnmatch_lines([message])
    result = suite(option, "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_every_option_has_help_and_an_ini_twin(pytester):
    from attnres_core.plugin.options import OPTIONS

    text = pytester.runpytest_subprocess("--help").stdout.str()
    for option in OPTIONS:
        assert f"--attnres-{option.name}" in text
        assert re.search(rf"^\s+{option.ini} ", text, re.MULTILINE)


def test_tests_without_claims_write_no_report(pytester):
    pytester.makepyfile("def test_plain():\n    assert True")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert "attnres" not in result.stdout.str().replace(str(pytester.path), "").split("plugins:")[-1].split("\n", 1)[1]
    assert not (pytester.path / "reports").exists()
    assert not (pytester.path / ".attnres").exists()


def test_importing_the_public_face_imports_no_torch():
    import subprocess

    code = "import attnres_core as ac, sys; ac.drop; ac.claim; ac.estimate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_resolves():
    import types

    import attnres_core as ac
    from attnres_core import plugin, shipped  # noqa: F401 (a module of a public name's name would hide it)

    for name in ac.__all__:
        assert not isinstance(getattr(ac, name), types.ModuleType | None)
    with pytest.raises(AttributeError, match="has no attribute 'dorp'"):
        ac.dorp  # noqa: B018
