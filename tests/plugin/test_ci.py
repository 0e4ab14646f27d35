"""What a job of a CI sees of a run: its summary, and which verdicts fail it."""

import pytest
from support.small_suite import verdicts

from attnres_core.__main__ import main

pytestmark = pytest.mark.usefixtures("_quiet")


def test_the_card_is_added_to_the_summary_of_a_github_job(suite, pytester, monkeypatch):
    summary = pytester.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    suite("-n", "2", "-k", "refuted")
    told = summary.read_text()
    assert told.startswith("before\n# Replication card: trained")
    assert "REFUTED" in told


@pytest.mark.parametrize("workers", ["0", "2"])
def test_open_claims_may_pass_and_refuted_ones_never_do(suite, pytester, workers):
    given = ("-n", workers, "--attnres-allow=inconclusive")
    result = suite(*given, "-k", "inconclusive")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert verdicts(pytester)["test_inconclusive"]["verdict"] == "INCONCLUSIVE"
    assert suite(*given, "-k", "refuted").ret == pytest.ExitCode.TESTS_FAILED


def test_what_else_may_be_allowed_is_said(suite):
    result = suite("-n", "0", "--attnres-allow=refuted")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--attnres-allow: 'refuted' is not valid (allowed: inconclusive)*"])


def test_two_runs_on_the_same_prompts_are_compared_document_by_document(suite, pytester, micro, capsys):
    only = ("-n", "0", "-k", "supported or refuted or closed or picked")
    suite(*only, "--attnres-report=reports/one.html")
    suite(*only, "--attnres-report=reports/two.html", f"--attnres-trained={micro / 'kimi'}")
    main(["compare", *(str(pytester.path / "reports" / f"{name}.json") for name in ("one", "two")), "--paired"])
    told = capsys.readouterr().out
    assert "paired over the same 40 documents: " in told
    assert "    drop(embedding, mlp, early) on trained [delta_nll]\n" in told
    assert "1 about the worst prompt, which is no mean" in told
