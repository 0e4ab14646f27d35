"""The noise floor: every effect is held against float32 and the plain path, and margins against the noise floor."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.small_suite import verdicts

import attnres_core as ac
from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.engine.plain_path import plain_chunk
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.judging.decisions import Question, judge
from attnres_core.planning.requests import ROUTING, resolved
from attnres_core.statistics.intervals import noise_floor


def test_the_floor_is_the_mean_error_and_its_student_half_width():
    errors = np.array([1.0, 2.0, 3.0, 6.0]) * 1e-6
    expected = 3e-6 + stats.t.ppf(0.99, 3) * errors.std(ddof=1) / 2
    assert noise_floor(errors, 0.01) == pytest.approx(expected)
    assert noise_floor(-errors, 0.01) == pytest.approx(expected)
    assert noise_floor(np.zeros(32), 0.01) == 0


@pytest.mark.parametrize("errors", [[], [1e-7], [0.0, math.nan], [0.0, math.inf]])
def test_no_floor_is_infinite(errors):
    assert noise_floor(np.array(errors), 0.01) == math.inf


@pytest.mark.parametrize("name", ["open_block_11", "open_full_13", "open_reset_12", "kimi_block_14"])
def test_the_plain_path_is_model_logits_with_the_ablation(conformance, name):
    """Prompt by prompt, unpadded: NLL and KL from `model.logits` alone; and the fast path agrees."""
    model = ac.load_model(conformance / name)
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 96, size).tolist() for size in (5, 17, 9)]
    ablations = [ac.drop(family, "mlp", "late") for family in ("embedding", "current", "recent")]
    interventions = [i for ablation in ablations for i in resolved(ablation, model.checkpoint).check().interventions]
    plain, fast = plain_chunk(model, ids, interventions), sweep_chunk(model, ids, interventions)
    for ablation, intervention in zip(ablations, interventions, strict=True):
        for row, tokens in enumerate(ids):
            clean, ablated = (
                model.logits(torch.tensor([tokens]), ablation=a)[0, :-1].log_softmax(-1) for a in (None, ablation)
            )
            rise = (clean - ablated).gather(1, torch.tensor(tokens[1:])[:, None]).mean()
            kl = (clean.exp() * (clean - ablated)).sum(-1).mean()
            for unit in (plain[intervention.key], fast[intervention.key]):
                assert unit["delta_nll"][row] == pytest.approx(float(rise), abs=1e-5)
                assert unit["kl"][row] == pytest.approx(float(kl), abs=1e-5)
    assert np.abs(plain[ROUTING]["mean"] - fast[ROUTING]["mean"]).max() < 1e-6


def judged(threshold, noise, operator=Operator.ABOVE):
    column = np.random.default_rng(0).normal(1, 0.1, 64)
    question = Question(Statement(Linear((("x", 1.0),)), operator, threshold), 0.01, noise=noise)
    return judge([question], {"x": column})[question]


def test_limits_are_moved_out_by_the_floor():
    still, moved = judged(0.0, 0.0).interval, judged(0.0, 0.25).interval
    assert (moved.low, moved.high, moved.noise) == (still.low - 0.25, still.high + 0.25, 0.25)
    assert moved.mean == still.mean
    assert judged(0.0, 0.25).verdict is Verdict.SUPPORTED
    assert judged(0.0, 0.98).verdict is Verdict.INCONCLUSIVE  # what the arithmetic alone could have made


@pytest.mark.parametrize(("margin", "decided"), [(0.5, True), (0.49, False)])
@pytest.mark.parametrize("operator", [Operator.ABOVE, Operator.WITHIN, Operator.BELOW])
def test_a_margin_must_be_ten_floors(margin, decided, operator):
    decision = judged(margin, 0.05, operator)
    assert (decision.verdict is not Verdict.INCONCLUSIVE) is decided
    assert ("is under 10 x the noise floor" in decision.reason) is not decided


def test_an_infinite_floor_decides_nothing():
    assert "the noise floor of this effect is not finite" in judged(0.5, math.inf).reason


CLAIMS = """
from attnres_core import EARLY, EMBEDDING, MLP, TRAINED, claim, drop

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_fine(effect):
    assert abs(effect) < {margin}
"""


@pytest.mark.usefixtures("_quiet")
def test_a_margin_that_float32_cannot_tell_from_zero_is_not_registered(suite):
    result = suite("-n", "0", "--attnres-register", claims=CLAIMS.replace("{margin}", "1e-8"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: these claims cannot be registered:", "*::test_fine: the margin 1e-08 is under 10 x the noise floor *"]
    )
    assert suite("-n", "0", "--attnres-register", claims=CLAIMS.replace("{margin}", "5")).ret != result.ret


@pytest.mark.usefixtures("_quiet")
def test_bfloat16_is_held_against_float32(suite, pytester):
    claims = CLAIMS.replace("abs(effect) < {margin}", "effect > -5")  # (null claims are measured in float32 anyway)
    floors = []
    for dtype in ("float32", "bfloat16"):
        suite("-n", "0", f"--attnres-dtype={dtype}", claims=claims)
        (statement,) = verdicts(pytester)["test_fine"]["statements"]
        floors.append(statement["noise_floor"])
    assert 0 < floors[0] < 1e-6 < 1e-4 < floors[1] < 0.1


def test_an_exact_decision_is_no_finer_than_float32_rounding():
    """Constant depth weights a rounding error above the threshold support nothing."""
    quantity = ac.mass("current", "mlp").on("trained")
    for offset, verdict in ((2e-8, Verdict.INCONCLUSIVE), (-2e-8, Verdict.INCONCLUSIVE), (1e-4, Verdict.SUPPORTED)):
        column = np.full(64, 0.25 + offset)
        question = Question(Statement(Linear(((quantity, 1.0),)), Operator.ABOVE, 0.25), 0.01)
        assert judge([question], {quantity: column})[question].verdict is verdict


def test_one_document_is_no_constant():
    quantity = ac.mass("current", "mlp").on("trained")
    question = Question(Statement(Linear(((quantity, 1.0),)), Operator.ABOVE, 0.25), 0.01)
    decision = judge([question], {quantity: np.array([0.9])})[question]
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "at least 16 are needed" in decision.reason
