"""Models around the trained one, and what their claims say: stock loading, kept steps, no-ops, single sites."""

import shutil

import pytest
from support.small_suite import record_of, verdicts

pytestmark = pytest.mark.usefixtures("_quiet")

AROUND_THE_MODELS = """
from attnres_core import (ATTN, CURRENT, EARLY, EMBEDDING, MLP, STOCK, TRAINED, UNTRAINED, at_step, claim,
    closed_form_error, drop)

@claim(attn=closed_form_error(ATTN).on(STOCK), mlp=closed_form_error(MLP).on(STOCK))
def test_stock_follows_the_closed_form(attn, mlp):
    assert attn < 1e-6
    assert mlp < 1e-6

@claim(effect=drop(CURRENT, MLP, EARLY).on(at_step(7)))
def test_kept(effect):
    assert effect > -9

@claim(effect=drop(CURRENT, MLP, EARLY).on(at_step(8)))
def test_not_kept(effect):
    assert effect > -9

@claim(effect=drop(EMBEDDING, ATTN, range(0, 1)).on(TRAINED))
def test_no_op(effect):
    assert abs(effect) < 0.01

@claim(effect=drop(EMBEDDING, ATTN, EARLY, per_site=True).on(TRAINED))
def test_per_site(effect):
    assert abs(effect) < 9

@claim(effect=drop(CURRENT, MLP).on(UNTRAINED))
def test_untrained(effect):
    assert abs(effect) < 9
"""


def test_controls_kept_steps_no_ops_and_single_sites(suite, pytester, micro, tmp_path):
    shutil.copytree(micro / "trained", tmp_path / "trained")
    shutil.copytree(micro / "trained", tmp_path / "trained/checkpoint-7")
    result = suite(f"--attnres-trained={tmp_path / 'trained'}", "-n", "0", claims=AROUND_THE_MODELS)
    result.stdout.fnmatch_lines(["attnres: step-7: trained/checkpoint-7 (Qwen3 backbone, open_block schedule, *"])
    found = verdicts(pytester)
    assert found["test_stock_follows_the_closed_form"]["verdict"] == "REFUTED"
    assert found["test_stock_follows_the_closed_form"]["estimate"] > 1e-6
    assert found["test_kept"]["verdict"] == "SUPPORTED"
    assert found["test_not_kept"]["verdict"] == "NOT APPLICABLE"
    assert found["test_not_kept"]["reason"] == "the trained checkpoint's folder holds no `step-8`; it holds: step-7"
    assert found["test_no_op"]["verdict"] == "NOT APPLICABLE"
    assert "is a no-op by construction: 0.attn read one tensor only" in found["test_no_op"]["reason"]
    assert found["test_per_site"]["no_ops"] == ["0.attn"]
    assert found["test_per_site"]["duplicates"] == ["0.attn"]
    rows = found["test_per_site"]["by_layer"]
    assert [row["site"] for row in rows] == ["0.attn", "1.attn", "2.attn"]
    assert sum(row["mean"] for row in rows) / 3 == pytest.approx(found["test_per_site"]["estimate"], abs=1e-6)
    assert found["test_untrained"]["verdict"] == "SUPPORTED"
    record = record_of(pytester)
    assert str(pytester.path) not in record["run"]["command"]
    models = record["models"]
    assert models.keys() == {"trained", "wrapped", "stock", "untrained", "step-7"}
    assert {model["path"] for model in models.values()} == {"trained", "vanilla", "checkpoint-7"}  # (all elsewhere)
    assert any(len(entry["by_layer"]) == 3 for entry in found.values())
    assert any("0.attn" in entry["no_ops"] for entry in found.values())
