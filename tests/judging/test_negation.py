"""What refutes a claim with picks: the negation of its title, for every family that could stand where a pick does."""

import math

import numpy as np
import pytest

from attnres_core import ALL, ATTN, TRAINED, drop, least_causal, mass, most_causal, most_massive
from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, judge
from attnres_core.judging.family_selection import filled_statement
from attnres_core.judging.negation import negation
from attnres_core.judging.outcomes import of_group
from attnres_core.quantities.vocabulary import Family
from benchmarks.calibration.options import QUICK
from benchmarks.calibration.picks import TRUTHS, Truth, cells, least, most, moved_least, moved_most, rates

FAMILIES = (Family.CURRENT, Family.EMBEDDING, Family.OLDER)
ALPHA = 0.01
FIRST, SECOND, THIRD = (most_massive(ATTN, ALL, rank=rank) for rank in range(3))
CAUSAL, IDLE = most_causal(ATTN, ALL), least_causal(ATTN, ALL)


def weight(family):
    return mass(family, ATTN, ALL).on(TRAINED)


def effect(family):
    return drop(family, ATTN, ALL).on(TRAINED)


def above(*terms, threshold=0.0):
    return Statement(Linear(tuple(terms)), Operator.ABOVE, threshold)


MOST = (
    above((weight(FIRST), 1.0), (weight(SECOND), -1.0)),
    above((weight(FIRST), 1.0), (weight(THIRD), -1.0)),
    above((effect(CAUSAL), 1.0), (effect(FIRST), -1.0)),
)
LEAST = (above((weight(IDLE), 1.0), threshold=0.1), Statement(Linear(((effect(IDLE), 1.0),)), Operator.WITHIN, 0.01))


def columns(masses, effects, n=256, sd=0.01):
    rng = np.random.default_rng(0)
    means = {weight(f): m for f, m in zip(FAMILIES, masses, strict=True)}
    means |= {effect(f): e for f, e in zip(FAMILIES, effects, strict=True)}
    return {quantity: rng.normal(mean, sd, n) for quantity, mean in means.items()}


def refuted(statements, chosen, masses, effects):
    picks = {pick: FAMILIES for s in statements for q, _ in s.form.terms for pick in q.picks}
    made = negation(statements, chosen, picks)
    questions = [Question(s, ALPHA, made.refuters) for s in made.statements]
    found = judge(questions, columns(masses, effects))
    return made.holds({question.statement: decision for question, decision in found.items()})


MOST_CHOSEN = dict(zip((FIRST, SECOND, THIRD, CAUSAL), (*FAMILIES, Family.EMBEDDING), strict=True))


@pytest.mark.parametrize(
    ("masses", "effects", "expected"),
    [
        ((0.5, 0.3, 0.2), (0.6, 0.1, 0.1), True),  # current leads in both
        ((0.3173, 0.3185, 0.2), (0.628, 0.073, 0.07), False),  # the published case: who leads in mass is open
        ((0.3, 0.5, 0.2), (0.6, 0.1, 0.1), False),  # another leads in mass
        ((0.5, 0.3, 0.2), (0.6, 0.1, 0.9), False),  # the family that was not chosen is more causal
    ],
)
def test_the_most_massive_is_refuted_when_it_leads_in_mass_and_in_effect_over_every_other(masses, effects, expected):
    assert refuted(MOST, MOST_CHOSEN, masses, effects) is expected


@pytest.mark.parametrize(
    ("masses", "effects", "expected"),
    [
        ((0.5, 0.4, 0.02), (0.6, 0.1, 0.0), True),  # two have a role, the third has no mass
        ((0.5, 0.3, 0.2), (0.6, 0.1, 0.0), False),  # the third, not chosen, is idle and massive
    ],
)
def test_there_is_a_family_is_refuted_when_every_family_fails(masses, effects, expected):
    assert refuted(LEAST, {IDLE: Family.EMBEDDING}, masses, effects) is expected


def test_the_rankings_are_the_claims_own_statements_and_only_the_content_divides_alpha():
    made = negation(MOST, MOST_CHOSEN, dict.fromkeys(MOST_CHOSEN, FAMILIES))
    assert set(made.rankings) == {filled_statement(s, MOST_CHOSEN) for s in MOST[:2]}
    assert (made.refuters, len(made.fillings)) == (1, 2)
    assert negation(LEAST, {IDLE: Family.OLDER}, {IDLE: FAMILIES}).refuters == 3  # (one of them within a margin)


def test_either_limit_beyond_a_margin_refutes_so_it_counts_twice():
    within = Statement(Linear(((effect(Family.CURRENT), 1.0),)), Operator.WITHIN, 0.02)
    assert negation((within,), {}, {}).refuters == 2


def test_a_claim_without_picks_is_refuted_by_any_of_its_statements():
    plain = tuple(above((effect(family), 1.0), threshold=0.02) for family in FAMILIES)
    assert negation(plain, {}, {}).refuters == 3
    assert refuted(plain, {}, (0.5, 0.3, 0.2), (0.6, 0.1, 0.0))
    assert not refuted(plain, {}, (0.5, 0.3, 0.2), (0.6, 0.1, 0.1))


def test_a_pick_without_statements_of_mass_must_have_its_rank_all_the_same():
    claim = (above((effect(FIRST), 1.0), threshold=0.5),)
    assert refuted(claim, {FIRST: Family.CURRENT}, (0.5, 0.3, 0.2), (0.1, 0.9, 0.1))
    assert not refuted(claim, {FIRST: Family.CURRENT}, (0.3, 0.3, 0.2), (0.1, 0.9, 0.1))


PEOPLE = cells(QUICK)
LEVEL, RUNS = 0.05, 240
BEFORE = {  # the least that the former rule must have come to there
    "two tied in mass; one of them leads in effect": 0.3,
    "one idle, its mass at .10": 0.3,
    "one idle, all three at their margins": 0.3,
    "its effect at the margin; another has none, but KL": 0.9,
}


@pytest.mark.parametrize("truth", [truth for truth in TRUTHS if not truth.shipped], ids=lambda truth: truth.name)
def test_with_the_truth_at_the_margin_verdicts_are_seldom_wrong(truth):
    """Runs with their own exploration and confirmation documents; the bound stands four standard errors above alpha.

    Refuting by the picked families alone is wrong in a third of the same runs or more, where choices are close.
    """
    found = rates(truth, PEOPLE, RUNS, LEVEL)
    for verdict in (Verdict.REFUTED, Verdict.SUPPORTED):
        assert found["now", verdict][0] <= LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)
    assert found["before", Verdict.REFUTED][0] >= BEFORE.get(truth.name, 0)


@pytest.mark.parametrize(
    ("statements", "columns", "expected"),
    [
        (most, moved_most((2, 0, 0, 0), (0, 2, 0, 0)), Verdict.SUPPORTED),
        (most, moved_most((2, 0, 0, 0), (2, 0, 0, 0)), Verdict.REFUTED),
        (least, moved_least((0.2, 0.3, 0.3, 0.3), (0, 5, 5, 5), (0, 5, 5, 5)), Verdict.SUPPORTED),
        (least, moved_least((0.2, 0.3, 0.3, 0.3), (5, 5, 5, 5), (5, 5, 5, 5)), Verdict.REFUTED),
        (least, moved_least((0.02, 0.3, 0.3, 0.3), (0, 5, 5, 5), (0, 5, 5, 5)), Verdict.REFUTED),
    ],
)
def test_what_is_clear_is_found_in_every_run(statements, columns, expected):
    found = rates(Truth("clear", statements, columns), PEOPLE, 48, LEVEL)
    assert found["now", expected][0] == 1


def test_a_title_that_names_the_most_massive_is_supported_only_where_it_leads():
    """The body leaves the ranks out; the verdict does not."""
    statement = above((effect(FIRST), 1.0), threshold=0.02)
    picks = {FIRST: FAMILIES}
    made = negation([statement], {FIRST: Family.CURRENT}, picks)
    for masses, leads in (((0.5, 0.3, 0.2), True), ((0.3, 0.3, 0.2), False)):
        questions = [Question(s, ALPHA, made.refuters) for s in made.statements]
        found = {q.statement: d for q, d in judge(questions, columns(masses, (0.5, 0.0, 0.0))).items()}
        own = filled_statement(statement, {FIRST: Family.CURRENT})
        expected = Verdict.SUPPORTED if leads else Verdict.INCONCLUSIVE
        assert found[own].verdict is Verdict.SUPPORTED
        assert of_group((found[own],), made, found) is expected
