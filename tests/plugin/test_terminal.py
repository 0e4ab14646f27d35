"""What a run says at its end, and while it measures."""

import copy
import io
import re
import time
from types import SimpleNamespace

import pytest
from _pytest.terminal import TerminalReporter
from support.sample_record import sample_record

from attnres_core.engine.run_folder import DECIDED, RunFolder
from attnres_core.plugin.progress import ProgressBar, progress_line
from attnres_core.plugin.terminal import verdict_table
from attnres_core.report.wording import deciding


@pytest.fixture
def claims():
    entries = copy.deepcopy(sample_record()["claims"])
    for entry in entries:
        entry["expected"] = None
    return sorted(entries, key=lambda entry: entry["node_id"])


def lines(claims, width=None, **given):
    return [line for line, _ in verdict_table(claims, width, **given)]


def own(claims, claim, width=None, **given):
    """The lines of one claim: from its name to the next one's."""
    name = claim["node_id"].split("::")[1].removeprefix("test_")
    told = lines(claims, width, **given)
    start = next(place for place, line in enumerate(told) if line.endswith(name))
    after = (place for place in range(start + 1, len(told)) if not told[place].startswith("    "))
    return told[start : next(after)]


def of(claims, verdict):
    return next(claim for claim in claims if claim["verdict"] == verdict)


def test_a_supported_claim_takes_a_line_with_its_effect_and_unit(claims):
    (line,) = own(claims, of(claims, "SUPPORTED"))
    statement = deciding(of(claims, "SUPPORTED"))
    assert re.match(r"  SUPPORTED +[+\N{MINUS SIGN}]?[\d.,]+ " + statement["unit"], line)


def test_what_did_not_hold_is_told_with_interval_threshold_and_why(claims):
    heading, numbers, *_ = own(claims, of(claims, "REFUTED"))
    assert heading.startswith("  REFUTED ")
    assert re.fullmatch(r" +[+\N{MINUS SIGN}]?[\d.,]+ [a-z/ ]+ \[.+, .+\], claimed (>|<|within) .+", numbers)
    claim = of(claims, "INCONCLUSIVE")
    claim["needed_prompts"] = 411
    assert [line.strip() for line in own(claims, claim)][2:] == ["about 411 prompts would decide it"]


def test_verbose_tells_of_every_claim_so(claims):
    assert len(own(claims, of(claims, "SUPPORTED"), full=True)) >= 2


def test_a_changed_verdict_is_told_at_length_and_counted(claims):
    claim = of(claims, "SUPPORTED")
    claim["expected"] = {"verdict": "REFUTED", "reason": "it was so"}
    told = own(claims, claim)
    assert len(told) >= 3
    assert told[-1].strip() == "expected REFUTED: it was so"
    name = claim["node_id"].split("::")[1].removeprefix("test_")
    assert lines(claims)[-1] == f"1 not as expected: {name} SUPPORTED"
    claim["expected"]["verdict"] = "SUPPORTED"
    assert len(own(claims, claim)) == 1
    assert not [line for line in lines(claims) if "not as expected" in line]


@pytest.mark.parametrize("width", [80, 120])
def test_claims_fit_the_terminal_and_stay_apart(claims, width):
    told = [line for line in lines(claims, width) if line.startswith("  ")]
    assert max(map(len, told)) <= width
    everything = "\n".join(lines(claims))
    assert all(claim["node_id"].split("::")[1].removeprefix("test_") in everything for claim in claims)


def test_sources_have_a_row_each_whose_counts_add_up(claims):
    told = lines(claims, 80)
    start = next(place for place, line in enumerate(told) if line.startswith("by cited source"))
    rows = told[start + 1 : told.index("", start)]
    counted = [claim for claim in claims if not claim["control"]]
    numbers = [list(map(int, re.findall(r"(?<=  )\d+(?=  |$)", row))) for row in rows]
    assert all(total == sum(counts) for total, *counts in numbers)
    assert sum(total for total, *_ in numbers) == len(counted)
    for claim in claims:
        claim["cites"] = None
    assert not [line for line in lines(claims) if line.startswith("by cited source")]


@pytest.fixture
def measuring(request, tmp_path):
    """A run of 20 bundles that is watched where there is no terminal, and what is told of it."""
    folder, told = RunFolder(tmp_path, "run").open(), io.StringIO()
    folder.announce([SimpleNamespace(cost=10)] * 20, 0, ["what it works on"])

    def watch(apart):
        reporter = TerminalReporter(request.config, told)
        bar = ProgressBar(folder, reporter, header=False, apart=apart)
        for done in range(20):
            folder.finish(SimpleNamespace(id=str(done), cost=10))
            time.sleep(0.3 if done % 4 == 3 else 0)
        folder.leave_record(DECIDED, {})
        bar.close()
        return told.getvalue().splitlines()

    return watch


def test_without_a_terminal_a_line_tells_every_tenth_with_the_time_left(measuring):
    told = measuring(apart=0)
    assert len(told) >= 3  # (of the four pauses; a slow machine may miss one)
    assert all(re.fullmatch(r"attnres: measuring: \d\d % \(\d+ of 20 bundles\), about .+ left", line) for line in told)
    shares = [int(re.search(r"(\d+) %", line)[1]) for line in told]
    assert shares == sorted(set(shares))


def test_a_short_run_tells_nothing_of_its_progress(measuring):
    assert measuring(apart=60) == []


@pytest.mark.parametrize(("done", "told"), [(1, 0), (10, 1)], ids=["under a hundredth", "a hundredth"])
def test_the_first_line_waits_for_a_hundredth(request, tmp_path, monkeypatch, done, told):
    """One of a thousand bundles, measured while models load, would announce hours."""
    monkeypatch.setattr("attnres_core.plugin.progress.FIRST", 0)
    folder, out = RunFolder(tmp_path, "run").open(), io.StringIO()
    folder.announce([SimpleNamespace(cost=10)] * 1000, 0, ["what it works on"])
    bar = ProgressBar(folder, TerminalReporter(request.config, out), header=False, apart=0)
    for bundle in range(done):
        folder.finish(SimpleNamespace(id=str(bundle), cost=10))
    time.sleep(0.6)
    folder.leave_record(DECIDED, {})
    bar.close()
    assert len(out.getvalue().splitlines()) == told


def test_the_time_left_goes_on_at_the_pace_so_far():
    assert (
        progress_line(12, 40, 60, "12 of 40 bundles")
        == "attnres: measuring: 30 % (12 of 40 bundles), about 2 min 20 s left"
    )


def test_a_long_fit_is_told_of_where_there_is_no_terminal(measuring, tmp_path, monkeypatch):
    monkeypatch.setattr("attnres_core.plugin.progress.FIT_APART", 0)
    RunFolder(tmp_path, "run").open().tell_fit("fitting optimal at 3.mlp from zero: step 40 of 80")
    assert "attnres: fitting optimal at 3.mlp from zero: step 40 of 80" in measuring(apart=60)
