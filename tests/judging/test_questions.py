"""What is asked about a claim, with which share of alpha, and what the answers come to."""

from types import SimpleNamespace

import numpy as np
import pytest

import attnres_core as ac
from attnres_core.claims.claim import Claim, under_each
from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import judge
from attnres_core.judging.judge import Judge
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint
from attnres_core.prompts import Split
from attnres_core.quantities.ablations import Kind
from attnres_core.quantities.vocabulary import Family
from attnres_core.registration.registry import Standing
from attnres_core.statistics.sequential import ONLY

ALPHA, N = 0.01, 256
FAMILIES = (Family.EMBEDDING, Family.CURRENT, Family.RECENT, Family.OLDER)
BOTH = (Kind.DROP, Kind.RESAMPLE)
PLACE = (ac.ATTN, ac.ALL)
CHECKPOINT = inspect_checkpoint(ac.reference("tiny-open-block"))


def weight(family):
    return ac.mass(family, *PLACE).on(ac.TRAINED)


def effect(family, kind=Kind.DROP, metric=ac.DELTA_NLL):
    return getattr(ac, kind)(family, *PLACE).on(ac.TRAINED, metric=metric)


def stated(*terms, operator=Operator.ABOVE, threshold=0.0):
    return Statement(Linear(tuple(terms)), operator, threshold)


def most():
    first, *others = (ac.most_massive(*PLACE, rank=rank, of=4) for rank in range(4))
    led = [stated((weight(first), 1.0), (weight(other), -1.0)) for other in others]
    return [*led, stated((effect(ac.most_causal(*PLACE)), 1.0), (effect(first), -1.0))]


def least():
    idle = ac.least_causal(*PLACE)
    small = [stated((effect(idle), 1.0), operator=Operator.WITHIN, threshold=0.01)]
    small.append(stated((effect(idle, metric=ac.KL), 1.0), operator=Operator.BELOW, threshold=0.01))
    return [stated((weight(idle), 1.0), threshold=0.1), *small]


def plain(count):
    return [stated((effect(family), 1.0)) for family in FAMILIES[:count]]


def spread(mean, sd, seed):
    """A column of this mean and standard deviation, and of no skewness."""
    half = np.random.default_rng(seed).normal(size=N // 2)
    column = np.concatenate([half, -half])
    return mean + sd * column / column.std(ddof=1)


class Known:
    """Columns at hand, the same on both splits; the arithmetic has no error."""

    def __init__(self, means, sd=0.01):
        self.columns = {quantity: spread(mean, sd, seed) for seed, (quantity, mean) in enumerate(means.items())}
        resolved = SimpleNamespace(check=lambda: SimpleNamespace(no_op=""))
        self.material = SimpleNamespace(
            dtype="float32", checkpoint=lambda role: CHECKPOINT, resolved=lambda quantity: resolved
        )

    def column(self, quantity, split, documents=None):
        return self.columns[quantity]

    def loss(self, *_):
        return ""

    def check_answers(self, *_):
        pass

    def check_tokens(self, *_):
        pass

    def noise_floor(self, form, alpha):
        return 0.0


def known(masses=(0.4, 0.3, 0.2, 0.1), effects=(0.0,) * 4, resampled=None, shifts=(0.0,) * 4, **given):
    """Of four families: masses, and effects under `drop` and under `resample`."""
    means = {weight(family): mean for family, mean in zip(FAMILIES, masses, strict=True)}
    for kind, found in ((Kind.DROP, effects), (Kind.RESAMPLE, resampled or effects)):
        means |= {effect(family, kind): mean for family, mean in zip(FAMILIES, found, strict=True)}
        means |= {effect(family, kind, ac.KL): mean for family, mean in zip(FAMILIES, shifts, strict=True)}
    return Known(means, **given)


def prepared(statements, under, measurements):
    """The judge and the claim with its picks made."""
    quantities = dict.fromkeys(quantity for statement in statements for quantity, _ in statement.form.terms)
    asked, every = under_each(under, list(quantities), statements)
    claim = Claim("test_a.py::test", "", "", None, asked, every, under)
    judging = Judge(measurements, "", sequential=False, whole=True)
    outcome = judging.prepare(claim, Standing(Split.CONFIRMATION, ALPHA, "registered"), {})
    assert not outcome.error, outcome.error
    return judging, outcome


def decided(statements, under, measurements):
    judging, outcome = prepared(statements, under, measurements)
    questions = judging.questions(outcome, ONLY)
    found = judge(questions, measurements.columns)
    return outcome.decided(tuple(found[question] for question in questions), None)


@pytest.mark.parametrize(
    ("statements", "under", "sharing"),
    [
        (plain(1), (), 1),
        (plain(3), (), 3),
        (plain(3), BOTH, 6),  # each kind's statements may refute it
        (most(), (), 1),  # statements of rank refute nothing, and one filling alone can be the true one
        (most(), BOTH, 2),
        (least(), (), 4),  # one of its statements is within a margin, beyond which either limit may lie
        (least(), BOTH, 8),
    ],
)
def test_all_that_may_refute_a_claim_share_its_alpha(statements, under, sharing):
    judging, outcome = prepared(statements, under, known())
    questions = judging.questions(outcome, ONLY)
    assert {(question.alpha, question.refuters) for question in questions} == {(ALPHA, sharing)}
    assert len(questions) >= len(outcome.claim.statements)


@pytest.mark.parametrize(
    ("under", "errors", "expected"),
    [((), 2.47, Verdict.REFUTED), (BOTH, 2.47, Verdict.INCONCLUSIVE), (BOTH, 2.75, Verdict.REFUTED)],
)
def test_two_kinds_refute_at_half_of_alpha_each(under, errors, expected):
    """2.34 standard errors are alpha, 2.60 half of it."""
    below = known(effects=(-errors / 16,) * 4, sd=1.0)
    assert decided(plain(1), under, below).verdict is expected


LEADS, FOLLOWS = (0.9, 0.1, 0.1, 0.1), (0.1, 0.9, 0.1, 0.1)
"""Effects of the family that leads in mass, and of the three others."""


@pytest.mark.parametrize(
    ("effects", "resampled", "expected", "words"),
    [
        (FOLLOWS, FOLLOWS, Verdict.SUPPORTED, ""),
        (LEADS, LEADS, Verdict.REFUTED, ""),
        (LEADS, (0.9, 0.1, 0.1, 0.9), Verdict.REFUTED, "drop REFUTED, resample INCONCLUSIVE"),
        (LEADS, (0.9, 0.1, 0.1, 1.2), Verdict.REFUTED, "drop REFUTED, resample INCONCLUSIVE"),  # older was not chosen
        (FOLLOWS, LEADS, Verdict.INCONCLUSIVE, "the kinds of ablation disagree: drop SUPPORTED, resample REFUTED"),
    ],
)
def test_picks_under_two_kinds_of_ablation(effects, resampled, expected, words):
    """Families are chosen by mass and `drop` whatever the kind; each kind is refuted by the effects that it has."""
    found = decided(most(), BOTH, known(effects=effects, resampled=resampled))
    assert (found.verdict, found.disagreement) == (expected, words)


def test_picks_under_two_kinds_are_not_refuted_where_the_lead_in_mass_is_open():
    tied = known(masses=(0.4, 0.4, 0.1, 0.1), effects=LEADS)
    assert decided(most(), BOTH, tied).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("resampled", "expected"),
    [
        ((0.5, 0.5, 0.5, 0.5), Verdict.REFUTED),  # no family is idle
        ((0.5, 0.5, 0.0, 0.5), Verdict.REFUTED),  # recent is, under one of the kinds
    ],
)
def test_there_is_a_family_under_two_kinds(resampled, expected):
    every = known(effects=(0.5, 0.4, 0.5, 0.5), resampled=resampled)
    assert decided(least(), BOTH, every).verdict is expected
