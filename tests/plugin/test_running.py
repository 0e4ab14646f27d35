"""Running a suite as pytest users do: selections, stops, interrupts, other reporters; in real processes."""

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
import xml.etree.ElementTree as ElementTree

import pytest
from support.small_suite import CLAIMS, part_of, record_of, verdicts

from attnres_core.plugin.options import OPTIONS

pytestmark = pytest.mark.usefixtures("_quiet")


def test_junit_xml_carries_effect_interval_and_verdict_as_properties(suite, pytester):
    for workers in ("0", "2"):
        suite("-n", workers, "--junit-xml=out.xml")
        found = {}
        for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase"):
            found[case.get("name")] = {p.get("name"): p.get("value") for p in case.iter("property")}
        entry = verdicts(pytester)["test_refuted"]
        properties = found["test_refuted"]
        assert properties["attnres_verdict"] == "REFUTED"
        assert float(properties["attnres_effect"]) == entry["estimate"]
        assert [float(properties["attnres_low"]), float(properties["attnres_high"])] == entry["interval"]
        assert float(properties["attnres_threshold"]) == 5
        assert int(properties["attnres_n"]) == 40
        assert properties["attnres_statement"] == entry["statement"]
        assert properties["attnres_unit"] == "nats/token"
        assert properties["attnres_registration"] == entry["registration"] == "exploratory"
        assert properties["attnres_split"] == "exploration"
        assert found["test_supported"]["attnres_cites"] == "a paper"
        assert found["test_not_applicable"]["attnres_verdict"] == "NOT APPLICABLE"
        assert "attnres_effect" not in found["test_not_applicable"]


def test_x_stops_at_the_first_finding_and_the_report_says_so(suite, pytester):
    result = suite("-x", "-n", "0")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["incomplete: 2 of 8 claims decided; *", "*stopping after 1 failures*"])
    record = record_of(pytester, part_of(pytester))
    assert (record["complete"], record["collected"], len(record["claims"])) == (False, 8, 2)
    page = (pytester.path / part_of(pytester)).with_suffix(".html")
    assert "incomplete: 2 of 8 claims decided" in page.read_text()
    result.stdout.fnmatch_lines([f"report: {page} (of a part; latest.html is left as it was)"])
    assert not (pytester.path / "reports/latest.html").exists()


def test_lf_runs_what_did_not_hold_with_the_same_verdicts(suite, pytester):
    suite("-n", "0")
    before = verdicts(pytester)
    result = suite("-n", "0", "--lf")
    result.assert_outcomes(failed=2)
    again = verdicts(pytester, part_of(pytester))
    assert again == {name: before[name] for name in ("test_refuted", "test_inconclusive")}
    assert record_of(pytester, part_of(pytester))["complete"]
    assert verdicts(pytester) == before  # the report of the whole run stays


def test_k_and_node_ids_select_claims(suite, pytester):
    suite("-k", "closed_form or picked").assert_outcomes(passed=2)
    assert verdicts(pytester).keys() == {"test_closed_form", "test_picked"}
    suite("test_claims.py::test_refuted").assert_outcomes(failed=1)
    assert verdicts(pytester).keys() == {"test_refuted"}


def test_without_xdist_the_suite_runs_as_with_it(suite, pytester):
    suite("-n", "0")
    before = verdicts(pytester)
    result = suite("-p", "no:xdist", "--attnres-store=other")
    result.assert_outcomes(passed=5, failed=2, skipped=1)
    assert verdicts(pytester) == before


def test_collect_only_lists_and_measures_nothing(suite, pytester):
    result = suite("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_claims.py::test_supported", "*8 tests collected*"])
    assert not (pytester.path / ".attnres").exists()
    assert not (pytester.path / "reports").exists()


def test_nothing_selected_has_pytests_own_exit_code_and_leaves_no_report(suite, pytester):
    assert suite("-k", "nothing_like_this").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (pytester.path / "reports").exists()


def test_q_keeps_letters_findings_and_counts(suite):
    result = suite("-q", "-n", "0")
    result.stdout.fnmatch_lines(
        [
            ".RIn..*",
            "*FAILURES*",
            "*= verdicts =*",
            "7 claims: 4 SUPPORTED, 1 REFUTED*",
            "2 failed, 5 passed, 1 skipped*",
        ]
    )


def test_ra_lists_every_outcome_with_its_reason(suite):
    result = suite("-rA", "-n", "0")
    result.stdout.fnmatch_lines(
        [
            "SUPPORTED test_claims.py::test_supported",
            "NOT APPLICABLE * test_claims.py:*: no attn site in the early band has a source of the family `older`*",
            "REFUTED test_claims.py::test_refuted - REFUTED: *",
            "INCONCLUSIVE test_claims.py::test_inconclusive - INCONCLUSIVE: *",
        ]
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_one_progress_bar_while_measuring_and_none_beside_the_tests(pytester, micro, workers):
    pytester.makepyfile(test_claims=CLAIMS)
    command = [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider"]
    command += [f"--attnres-{name}={micro / name}" for name in ("trained", "vanilla")]
    command += [f"--attnres-prompts={micro / 'prompts.jsonl'}"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(command, cwd=pytester.path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # (so a terminal ends)
        while read := os.read(ours, 65536):
            output += read
    os.close(ours)
    process.wait()
    screen = output.decode()
    bars = [match.start() for match in re.finditer("measuring: ", screen)]
    assert re.search(r"measuring: +\d+%.*\d+:\d+<.*, \d+ of \d+ bundles", screen)
    assert bars[-1] < screen.index("test_claims.py", bars[0])  # pytest's own progress begins after it


def test_no_progress_bar_where_there_is_no_terminal(suite):
    result = suite("-n", "0")
    assert not re.search(r"measuring: +\d+%", result.stdout.str() + result.stderr.str())


def interruptible():
    """A job that a shell started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


ATTACHED = {"start_new_session": True, "preexec_fn": interruptible}
INTERRUPTING = """
    import os, signal
    from attnres_core.engine.store import Store

    real = Store.add_units
    def add_units(self, *arguments):
        real(self, *arguments)
        try:  # one Ctrl-C a run, whatever the number of workers: a second would break off pytest's own teardown
            os.close(os.open("interrupted", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.killpg(os.getpgid(0), signal.SIGINT)
    Store.add_units = add_units
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_while_measuring_leaves_an_incomplete_report_and_what_was_measured(suite, pytester, micro, workers):
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeconftest(INTERRUPTING)
    arguments = [f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"]
    arguments += [f"--attnres-prompts={micro / 'prompts.jsonl'}", "-n", workers]
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(
        command,
        cwd=pytester.path,
        capture_output=True,
        text=True,
        **ATTACHED,
        timeout=120,
    )
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert re.search("incomplete: 0 of 8 claims decided; what was measured is kept", done.stdout)
    record = record_of(pytester, part_of(pytester))
    assert (record["complete"], record["collected"], record["claims"]) == (False, 8, [])
    assert record["run"]["bundles_measured"] == 0  # the interrupt came before its bundle was counted
    page = (pytester.path / part_of(pytester)).with_suffix(".html").read_text()
    assert "incomplete: 0 of 8 claims decided" in page
    assert not (pytester.path / "reports/latest.html").exists()
    assert list((pytester.path / ".attnres/units").rglob("*.safetensors"))  # and its units are kept

    (pytester.path / "conftest.py").unlink()
    suite("-n", "0").assert_outcomes(passed=5, failed=2, skipped=1)
    assert record_of(pytester)["complete"]


def test_ctrl_c_between_tests_leaves_a_report_of_the_claims_so_far(pytester, micro):
    slow = """
        import time
        def pytest_runtest_teardown(item):
            if item.name == "test_refuted":
                open("reached", "w").close()
                time.sleep(60)
    """
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeconftest(slow)
    arguments = [f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"]
    command = [sys.executable, "-m", "pytest", *arguments, f"--attnres-prompts={micro / 'prompts.jsonl'}", "-n", "0"]
    process = subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True, **ATTACHED)
    deadline = time.monotonic() + 120
    while not (pytester.path / "reached").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "incomplete: 2 of 8 claims decided" in output
    assert [entry["verdict"] for entry in record_of(pytester, part_of(pytester))["claims"]] == ["REFUTED", "SUPPORTED"]


def test_what_a_run_will_need_is_printed_before_anything_is_loaded(suite):
    result = suite("-n", "0", "-k", "supported")
    need = (
        "attnres: memory: a slot needs up to * MiB (weights * MiB, states * MiB, batch * MiB) beside the libraries; *"
    )
    result.stdout.fnmatch_lines([need])


# Every option at once, and what each changes: on the command line, and from the ini file. ----------------

BY_OPTION = {
    "trained": ("./kimi", lambda record: record["models"]["trained"]["dialect"] == "kimi_block"),
    "vanilla": ("./vanilla-copy", lambda record: record["models"]["wrapped"]["name"] == "vanilla-copy"),
    "recency-bias": ("3.5", lambda record: record["models"]["wrapped"]["recency_bias"] == 3.5),
    "num-blocks": ("3", lambda record: record["models"]["wrapped"]["num_blocks"] == 3),
    "prompts": ("few.jsonl", lambda record: record["settings"]["prompts"]["name"] == "few"),
    "prompt-sets": ("./sets", lambda record: record["settings"]["prompt_sets"]["others"]["confirmation"] == 20),
    "n-prompts": ("20", lambda record: record["settings"]["prompts"]["confirmation"] == 20),
    "device": ("cpu", lambda record: record["settings"]["device"] == "cpu"),
    "dtype": ("bfloat16", lambda record: record["settings"]["dtype"] == "bfloat16"),
    "memory": ("2GiB", lambda record: record["complete"]),
    "executor": ("local", lambda record: record["complete"]),
    "store": ("kept", lambda record: record["run"]["bundles_measured"] > 0),
    "report": ("else/where.html", lambda record: record["complete"]),
    "quick": ("true", lambda record: record["settings"]["quick"]),
    "sequential": ("true", lambda record: record["settings"]["sequential"]),
    "allow": ("inconclusive", lambda record: record["complete"]),
    "write-expected": ("true", lambda record: record["complete"]),
}


STOPPING = {"register", "budget-claims", "plan", "shard"}
"""These run no test; tests/judging/test_registry.py and tests/plugin/test_job_arrays.py have them."""

OF_ADAPTERS = {"adapter"}
"""Tested in test_adapted_suite.py."""
OF_HUB_IDS = {"revision", "vanilla-revision"}  # tests/models/test_hub.py has them

OF_CLUSTERS = {"ray-address"}  # tests/engine/test_ray.py has it

OF_CUDA_DEVICES = {"device-map"}  # tests/models/test_device_map.py has it


def test_every_option_is_tested():
    assert BY_OPTION.keys() | STOPPING | OF_ADAPTERS | OF_HUB_IDS | OF_CLUSTERS | OF_CUDA_DEVICES == {
        option.name for option in OPTIONS
    }


@pytest.mark.parametrize("where", ["command line", "ini file"])
def test_every_option_does_what_it_says_from_either_place(pytester, micro, where):
    for folder, source in (("kimi", "kimi"), ("vanilla-copy", "vanilla")):
        shutil.copytree(micro / source, pytester.path / folder)
    lines = (micro / "prompts.jsonl").read_text().splitlines(keepends=True)
    (pytester.path / "few.jsonl").write_text("".join(lines[:48]))
    if where == "ini file":
        twins = "".join(f"attnres_{key.replace('-', '_')} = {value}\n" for key, (value, _) in BY_OPTION.items())
        pytester.makeini(f"[pytest]\n{twins}")
        arguments = []
    else:
        flags = {option.name for option in OPTIONS if option.flag}
        arguments = [
            f"--attnres-{key}" + ("" if key in flags else f"={value}") for key, (value, _) in BY_OPTION.items()
        ]
    (pytester.path / "sets").mkdir()
    shutil.copy(micro / "prompts.jsonl", pytester.path / "sets" / "others.jsonl")
    over = "@claim(effect=drop(CURRENT, MLP).on(TRAINED, prompts='others'))\ndef test_supported_too(effect):\n"
    pytester.makepyfile(test_claims=f"{CLAIMS}\n{over}    assert effect > -50\n")
    pytester.runpytest_subprocess(*arguments, "-n", "0", "-k", "supported or closed")
    record = record_of(pytester, "else/where.json")
    assert [name for name, (_, holds) in BY_OPTION.items() if not holds(record)] == []
    assert (pytester.path / "else/where.html").is_file()
    assert (pytester.path / "kept/units").is_dir()
    assert (pytester.path / "kimi/expected_verdicts.json").is_file()
    assert not (pytester.path / ".attnres").exists()
    assert not (pytester.path / "reports").exists()
