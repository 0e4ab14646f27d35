"""Claims decided under several kinds of ablation, redundancy, and null claims of runs in half precision."""

import numpy as np
import pytest
from support.small_suite import record_of, verdicts

import attnres_core as ac
from attnres_core.claims.claim import under_each
from attnres_core.claims.statements import ClaimError, Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import agreed
from attnres_core.quantities.ablations import Kind

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
        ((I, I), I, ""),
        ((S, I), I, "drop SUPPORTED, resample INCONCLUSIVE"),
        ((R, I), R, "drop REFUTED, resample INCONCLUSIVE"),
        ((S, R), I, "the kinds of ablation disagree: drop SUPPORTED, resample REFUTED"),
    ],
)
def test_the_agreement_rule(verdicts, expected, words):
    assert agreed([decided(verdict) for verdict in verdicts], ["drop", "resample"]) == (expected, words)


def test_opposite_signs_are_no_agreement():
    up, down = decided(S, 1.5), decided(S, -1.5)  # their intervals are one wide on either side
    verdict, words = agreed([up, down], ["drop", "resample"])
    assert (verdict, words) == (I, "the kinds of ablation disagree: the effects of drop, resample have opposite signs")
    unsigned = [decided(S, mean) for mean in (0.1, -0.1)]  # intervals that hold zero have no sign
    assert agreed(unsigned, ["drop", "resample"])[0] is S


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
        (ac.drop, "give a list of two or more of"),
        ("drop", "give a list of two or more of"),
    ],
)
def test_what_a_claim_cannot_be_decided_under(under, message):
    with pytest.raises(ClaimError, match=message):
        ac.claim(effect=EFFECT, under=under)


def test_a_claim_that_compares_two_kinds_cannot_be_decided_under_them():
    one, other = EFFECT, ac.resample(ac.CURRENT, ac.MLP).on(ac.TRAINED)
    statement = Statement(Linear(((one, 1.0), (other, -1.0))), Operator.ABOVE, 0.0)
    with pytest.raises(ClaimError, match=r"under drop, two quantities of .* are the same"):
        under_each((Kind.DROP, Kind.RESAMPLE), (one, other), (statement,))


UNMATCHED = """
from attnres_core import CURRENT, KL, MLP, TRAINED, claim, drop, matched_mass

READ = drop(CURRENT, MLP)

@claim(effect=READ.on(TRAINED, metric=KL), control=matched_mass(READ).on(TRAINED, metric=KL))
def test_beyond(effect, control):
    assert effect - control > MARGIN
"""


def test_a_control_that_cannot_take_as_much_decides_nothing(suite, pytester):
    """In a wrapped-like bias the current source holds most of the mass: others cannot make it up."""
    suite("-n0", "-q", claims=UNMATCHED.replace("MARGIN", "-5").replace("TRAINED", "WRAPPED"))
    entry = verdicts(pytester)["test_beyond"]
    assert entry["verdict"] == "INCONCLUSIVE"
    assert "not matched: `drop(current, mlp, all)` takes 100% of the mass" in entry["reason"]


LOST = """
from attnres_core import CURRENT, EMBEDDING, LOGIT_DIFFERENCE, MLP, TRAINED, claim, drop, mass_and_effect, random_sites

@claim(lost=drop(CURRENT, MLP).on(TRAINED, metric=LOGIT_DIFFERENCE))
def test_without_answers(lost):
    assert lost > 0

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_healthy(effect):
    assert abs(effect) < 5

@claim(linear=mass_and_effect("pearson").on(TRAINED))
def test_of_noise(linear):
    assert linear > 0.8

@claim(elsewhere=random_sites(drop(CURRENT, MLP, "early", per_site=True)).on(TRAINED))
def test_per_site_control(elsewhere):
    assert abs(elsewhere) < 5
"""


def test_one_claim_s_trouble_is_its_own(suite, pytester):
    suite("-n0", "-q", claims=LOST)
    found = verdicts(pytester)
    assert found["test_without_answers"]["verdict"] == "ERROR"
    assert "needs prompts with a field `foil`; prompts/exploration has none" in found["test_without_answers"]["reason"]
    assert found["test_healthy"]["verdict"] == found["test_per_site_control"]["verdict"] == "SUPPORTED"
    assert found["test_of_noise"]["verdict"] == "INCONCLUSIVE"  # random weights: single sites do next to nothing
    assert "scatter too much over these documents to be compared" in found["test_of_noise"]["reason"]


CLAIMS = """
from attnres_core import CURRENT, KL, MLP, RECENT, TRAINED, claim, drop, resample, zero

@claim(shift=drop(CURRENT, MLP).on(TRAINED, metric=KL), under=[drop, zero, resample])
def test_agreed(shift):
    assert shift > 0

@claim(effect=drop(RECENT, MLP).on(TRAINED, metric=KL), under=[drop, resample])
def test_disagreed(effect):
    assert effect > LEVEL
"""


def test_agreement_in_a_run(suite, pytester, micro):
    """The second claim's threshold lies between what a drop and what another prompt's state does."""
    model = ac.load_model(micro / "trained")
    prompts = ac.load_prompts(micro / "prompts.jsonl").part(ac.prompts.Split.EXPLORATION)
    kinds = [kind(ac.RECENT, ac.MLP).on(ac.TRAINED, metric=ac.KL) for kind in (ac.drop, ac.resample)]
    levels = sorted(column.mean() for column in ac.measure(model, prompts, kinds).values())
    assert levels[1] > 2 * levels[0]  # (far enough apart for 40 prompts)
    claims = CLAIMS.replace("LEVEL", repr(float(np.sqrt(levels[0] * levels[1]))))
    result = suite("-n2", "-q", claims=claims)  # (what workers send must be plain data)
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
    suite("-n0", "-q", "--attnres-dtype=bfloat16", claims=NULL.split("@claim(shift")[0])  # with nothing in bfloat16
    assert verdicts(pytester)["test_null"]["verdict"] == "SUPPORTED"
    suite("-n0", "-q", "--attnres-dtype=bfloat16", claims=NULL)
    found = {column["name"]: column for column in record_of(pytester)["columns"]}
    null, some = (found[f"drop(current, mlp, all) on trained [{metric}]"] for metric in ("delta_nll", "kl"))
    assert (null["dtype"], some["dtype"]) == ("float32", "bfloat16")
    model = ac.load_model(micro / "trained")
    prompts = ac.load_prompts(micro / "prompts.jsonl").part(ac.prompts.Split.EXPLORATION)
    columns = ac.measure(model, prompts, [EFFECT, ac.drop(ac.CURRENT, ac.MLP).on(ac.TRAINED, metric=ac.KL)])
    exact, rough = columns.values()
    assert null["mean"] == pytest.approx(exact.mean(), abs=1e-6)
    assert abs(some["mean"] - rough.mean()) > 1e-6  # (bfloat16 does show)
