"""The seam for executors: a run goes through the one that its option names, and tells what that one did."""

import json

import pytest
from support.small_suite import verdicts

pytestmark = pytest.mark.usefixtures("_quiet")
CLAIM = """
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_a_claim(effect):
    assert effect > -5
"""
COUNTING = """
from attnres_core.engine import executors
from attnres_core.engine.executors.local import LocalExecutor


class Counting(LocalExecutor):
    def carry_out(self, bundles, tell=lambda settled: None):
        with open("bundles.txt", "a") as stream:
            stream.write("".join(f"{bundle.id}\\n" for bundle in bundles))
        return super().carry_out(bundles, tell)


executors.EXECUTORS["counting"] = Counting
"""


def test_a_row_of_the_table_is_chosen_by_its_name(suite, pytester):
    result = suite("-n", "0", "--attnres-executor=counting", claims=CLAIM, conftest=COUNTING)
    assert result.ret == 0
    bundles = set((pytester.path / "bundles.txt").read_text().split())
    record = json.loads((pytester.path / "reports/latest.json").read_text())
    assert record["run"]["bundles_measured"] == len(bundles) > 0
    assert verdicts(pytester)["test_a_claim"]["verdict"] == "SUPPORTED"


@pytest.mark.parametrize("workers", ["0", "1"])
def test_another_name_is_an_error_that_lists_them(suite, workers):
    result = suite("-n", workers, "--attnres-executor=cluster", claims=CLAIM)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no executor 'cluster'; allowed: local*"])
