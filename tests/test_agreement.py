"""Claims decided under several kinds of ablation, redundancy, and null claims of runs in half precision."""

import json

import numpy as np
import pytest
from small_suite import verdicts

import attnres_core as ac
from attnres_core.claims import under_each
from attnres_core.estimates import ClaimError, Decision, Linear, Statement
from attnres_core.judging import agreed
from attnres_core.statistics import Interval, Operator, Verdict
from attnres_core.vocabulary import Kind

S, R, I = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE  # noqa: E741
EFFECT = ac.drop(ac.CURRENT, ac.MLP).on(ac.TRAINED)


def decided(verdict, mean=1.0, operator=Operator.ABOVE):
    statement = Statement(Linear(((EFFECT, 1.0),)), operator, 0.5)
    return [Decision(statement, verdict, Interval(mean, mean - 1, mean + 1, 64, 0.01))]


@pytest.mark.parametrize(
    ("verdicts", "expected", "words"),
    [
        ((S, S), S, ""),
        ((R, R), R, ""),
        ((I, I), I, "drop INCONCLUSIVE, resample INCONCLUSIVE"),
        ((S, I), I, "drop SUPPORTED, resample INCONCLUSIVE"),
        ((R, I), R, "drop REFUTED, resample INCONCLUSIVE"),
        ((S, R), I, "the kinds of ablation disagree: drop SUPPORTED, resample REFUTED"),
    ],
)
def test_the_agreement_rule(verdicts, expected, words):
    assert agreed([decided(verdict) for verdict in verdicts], ["drop", "resample"]) == (expected, words)


def test_opposite_signs_are_no_agreement():
    up, down = decided(S, 1.0), decided(S, -0.1)
    verdict, words = agreed([up, down], ["drop", "resample"])
    assert (verdict, words) == (I, "the kinds of ablation disagree: the effects of drop, resample have opposite signs")
    null = [decided(S, mean, Operator.WITHIN) for mean in (0.1, -0.1)]  # of a null effect the sign says nothing
    assert agreed(null, ["drop", "resample"])[0] is S


def test_one_kind_is_as_before():
    assert agreed([decided(I)], [""]) == (I, "")


def test_every_removal_is_restated_and_nothing_else():
    control, mass = ac.matched_mass(ac.drop(ac.CURRENT, ac.MLP)), ac.mass(ac.CURRENT, ac.MLP)
    quantities = (EFFECT, control.on(ac.TRAINED), mass.on(ac.TRAINED))
    statement = Statement(Linear(tuple((quantity, 1.0) for quantity in quantities)), Operator.ABOVE, 0.0)
    used, statements = under_each((Kind.DROP, Kind.RESAMPLE), quantities, (statement,))
    assert list(map(str, used)) == [
        *(
            "drop(current, mlp, all) on trained [delta_nll]",
            "matched_mass(drop(current, mlp, all)) on trained [delta_nll]",
        ),
        "mass(current, mlp, all) on trained",
        "resample(current, mlp, all, 2 draws) on trained [delta_nll]",
        "matched_mass(resample(current, mlp, all)) on trained [delta_nll]",
    ]
    assert [len(each.form.terms) for each in statements] == [3, 3]
    with pytest.raises(ClaimError, match="`under` changes nothing here"):
        under_each((Kind.DROP, Kind.ZERO), quantities[2:], ())


@pytest.mark.parametrize(
    ("under", "message"),
    [
        ([ac.drop], "give two or more of drop, zero, mean, resample"),
        ([ac.drop, ac.uniform], "allowed: drop, zero, mean, resample"),
        ([ac.drop, "no such"], "`under` holds 'no such'"),
    ],
)
def test_what_a_claim_cannot_be_decided_under(under, message):
    with pytest.raises(ClaimError, match=message):
        ac.claim(effect=EFFECT, under=under)


CLAIMS = """
from attnres_core import CURRENT, KL, MLP, RECENT, TRAINED, claim, drop, resample, zero

@claim(shift=drop(CURRENT, MLP).on(TRAINED, metric=KL), under=[drop, zero, resample])
def test_agreed(shift):
    assert shift > 1e-6

@claim(effect=drop(RECENT, MLP).on(TRAINED, metric=KL), under=[drop, resample])
def test_disagreed(effect):
    assert effect > LEVEL
"""


def record_of(folder):
    return json.loads((folder / "reports" / "latest.json").read_text())


def test_agreement_in_a_run(suite, pytester, micro):
    """The second claim's threshold lies between what a drop and what another prompt's state does."""
    model = ac.load_model(micro / "trained")
    prompts = ac.load_prompts(micro / "prompts.jsonl").part(ac.prompts.Split.EXPLORATION)
    kinds = [kind(ac.RECENT, ac.MLP).on(ac.TRAINED, metric=ac.KL) for kind in (ac.drop, ac.resample)]
    levels = sorted(column.mean() for column in ac.measure(model, prompts, kinds).values())
    assert levels[1] > 2 * levels[0]  # (far enough apart for 40 prompts)
    claims = CLAIMS.replace("LEVEL", repr(float(np.sqrt(levels[0] * levels[1]))))
    result = suite("-n0", "-q", claims=claims)
    entries = verdicts(pytester)
    assert {name: entry["verdict"] for name, entry in entries.items()} == {
        "test_agreed": "SUPPORTED",
        "test_disagreed": "INCONCLUSIVE",
    }
    assert [kind["kind"] for kind in entries["test_agreed"]["under"]] == ["drop", "zero", "resample"]
    assert len(entries["test_agreed"]["statements"]) == 3
    assert {kind["verdict"] for kind in entries["test_disagreed"]["under"]} == {"SUPPORTED", "REFUTED"}
    assert entries["test_disagreed"]["disagreement"].startswith("the kinds of ablation disagree: drop ")
    result.stdout.fnmatch_lines(["*INCONCLUSIVE: the kinds of ablation disagree: drop *", "*under     resample: *"])
    page = (pytester.path / "reports" / "latest.html").read_text()
    assert "kinds disagree" in page
    assert "under drop, zero, resample" in page


NULL = """
from attnres_core import ATTN, CURRENT, MLP, KL, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_null(effect):
    assert abs(effect) < 5

@claim(shift=drop(CURRENT, MLP).on(TRAINED, metric=KL))
def test_some(shift):
    assert shift > 1e-6
"""


def test_a_claim_that_an_effect_is_small_is_measured_in_float32(suite, pytester, micro):
    suite("-n0", "-q", "--attnres-dtype=bfloat16", claims=NULL)
    found = {column["name"]: column for column in record_of(pytester.path)["columns"]}
    null, some = (found[f"drop(current, mlp, all) on trained [{metric}]"] for metric in ("delta_nll", "kl"))
    assert (null["dtype"], some["dtype"]) == ("float32", "bfloat16")
    model = ac.load_model(micro / "trained")
    prompts = ac.load_prompts(micro / "prompts.jsonl").part(ac.prompts.Split.EXPLORATION)
    columns = ac.measure(model, prompts, [EFFECT, ac.drop(ac.CURRENT, ac.MLP).on(ac.TRAINED, metric=ac.KL)])
    exact, rough = columns.values()
    assert null["mean"] == pytest.approx(exact.mean(), abs=1e-6)
    assert abs(some["mean"] - rough.mean()) > 1e-6  # (bfloat16 does show)
