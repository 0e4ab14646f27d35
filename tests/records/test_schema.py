"""The record's schema: what is written keeps to it, what is read is held against it, place by place."""

import copy
import json
import re
import subprocess
import sys

import pytest
from support.sample_record import sample_record
from support.small_suite import CLAIMS, part_of, record_of

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.prompts import Split
from attnres_core.records.reading import checked, read_record
from attnres_core.records.schema import VERSION, ClaimEntry, OperatorSign, Record, SplitName, VerdictWord
from attnres_core.records.validation import Mismatch, check
from attnres_core.records.writing import record_text
from attnres_core.report.verdict_signs import SHAPES, SIGNS

UNTRACED = """

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_untraced(effect):
    assert not effect > 0
"""


@pytest.fixture
def record():
    return sample_record()


def test_the_sample_record_keeps_to_the_schema(record):
    assert checked(record) is record


@pytest.mark.usefixtures("_quiet")
def test_a_real_record_keeps_to_the_schema_whole_or_part_with_errors_and_looks(suite, pytester):
    suite("-n", "0", "--attnres-sequential", claims=CLAIMS + UNTRACED)
    whole = record_of(pytester)  # (which checks it)
    found = {claim["verdict"] for claim in whole["claims"]}
    assert found == {"SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT APPLICABLE", "ERROR"}
    assert whole["run"]["early"] is not None
    assert any(claim["chosen"] for claim in whole["claims"])
    assert json.loads(record_text(whole)) == whole
    suite("-n", "0", "-k", "refuted or closed_form", "--maxfail=1", claims=CLAIMS)
    assert not record_of(pytester, part_of(pytester))["complete"]


def test_what_is_written_is_what_is_read(record, tmp_path):
    (tmp_path / "run.json").write_text(record_text(record))
    assert read_record(tmp_path / "run.json") == record


@pytest.mark.parametrize("version", [1, VERSION + 1])
def test_a_record_of_another_version_is_refused_with_both_versions_and_what_to_do(record, tmp_path, version):
    file = tmp_path / "old.json"
    file.write_text(json.dumps(record | {"schema": version}))
    with pytest.raises(ValueError, match=f"a record of version {version}, .* reads version {VERSION}") as caught:
        read_record(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "make the run again with this one" in str(caught.value)
    assert "read the record with the one that wrote it" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r["claims"][3].pop("interval"), "claims[3]: lacks `interval`"),
        (lambda r: r["claims"][3].update(family="x"), "claims[3]: has `family`, which no ClaimEntry has"),
        (lambda r: r["claims"][3].update(interval="x"), 'claims[3].interval: "x" is not a list'),
        (lambda r: r["claims"][3].update(interval=[0, "x"]), 'claims[3].interval[1]: "x" is not a finite number'),
        (lambda r: r["claims"][3].update(control=1), "claims[3].control: 1 is not true or false"),
        (lambda r: r["claims"][3].update(n=True), "claims[3].n: true is not a whole number"),
        (lambda r: r["claims"][3].update(n=1.5), "claims[3].n: 1.5 is not a whole number"),
        (lambda r: r["claims"][3].update(n=10**400), "is not a whole number"),
        (lambda r: r["claims"][3].update(alpha=float("inf")), "claims[3].alpha: Infinity is not a finite number"),
        (lambda r: r["claims"][3].update(alpha=10**400), "is not a finite number"),
        (lambda r: r["claims"][3].update(title=None), "claims[3].title: null is not text"),
        (lambda r: r["claims"][3].update(estimand=[]), "claims[3].estimand: a list is not a EstimandEntry"),
        (lambda r: r["claims"][3].update(verdict="YES"), "claims[3].verdict: \"YES\" is not one of 'SUPPORTED', "),
        (lambda r: r["claims"][3].update(deciding=1), "claims[3].deciding: 1 is none of its 1 statements"),
        (lambda r: r["claims"][3].update(deciding=-1), "claims[3].deciding: -1 is none of its 1 statements"),
        (lambda r: r["counts"].update(YES=1), "a key of counts: \"YES\" is not one of 'SUPPORTED', "),
        (lambda r: r["models"]["wrapped"].pop("digest"), "models['wrapped']: lacks `digest`"),
        (lambda r: r["models"].pop("trained"), "models: lacks `trained`"),
        (lambda r: r["maps"]["trained"][2].pop("mass"), "maps['trained'][2]: lacks `mass`"),
        (lambda r: r["run"].pop("seed"), "run: lacks `seed`"),
        (lambda r: r.pop("columns"), "lacks `columns`"),
        (lambda r: r.update(columns={}), "columns: an object is not a list"),
    ],
)
def test_what_is_missing_unknown_or_of_another_type_is_named_with_its_place(record, change, problem):
    changed = copy.deepcopy(record)
    change(changed)
    with pytest.raises(Mismatch, match=re.escape(problem)):
        checked(changed)


def test_an_effect_that_was_not_measured_may_be_missing_from_a_map(record):
    assert "delta_nll" not in record["maps"]["wrapped"][0]
    record["maps"]["wrapped"][0]["delta_nll"] = None
    checked(record)


def test_what_is_no_object_is_no_record():
    with pytest.raises(Mismatch, match="the whole: a list is not a Record"):
        check([], Record)
    with pytest.raises(Mismatch, match="the whole: null is not a ClaimEntry"):
        check(None, ClaimEntry)


def test_the_schema_s_words_are_those_of_the_values_they_stand_for():
    assert set(VerdictWord.__args__) == {*(verdict.value for verdict in Verdict), "ERROR"} == set(SIGNS)
    assert set(OperatorSign.__args__) == {operator.value for operator in Operator}
    assert set(SplitName.__args__) == {split.value for split in Split}


def test_every_verdict_has_its_own_letter_name_and_shape():
    for field in ("letter", "name", "shape"):
        assert len({getattr(sign, field) for sign in SIGNS.values()}) == len(SIGNS)
    assert {sign.shape for sign in SIGNS.values()} == set(SHAPES)


def test_reading_a_record_loads_nothing_heavy():
    code = "import sys, attnres_core.records.reading; print(*{'numpy', 'scipy', 'torch', 'pandas'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""
