"""How many documents would decide a claim: told where they would decide all of it that is open."""

import numpy as np

from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.judging.decisions import Question, judge
from attnres_core.records.claim_entry import needed_documents

COLUMN = np.random.default_rng(3).normal(0.03, 0.1, 64)


def decided(*thresholds, column=COLUMN):
    stated = [Statement(Linear((("x", 1.0),)), Operator.ABOVE, threshold) for threshold in thresholds]
    questions = [Question(statement, 0.001) for statement in stated]
    found = judge(questions, {"x": column})
    return [found[question] for question in questions]


def test_the_statement_that_needs_most_is_told_and_none_where_one_needs_more_than_any():
    some, more = (needed_documents(decided(threshold)) for threshold in (0.0, 0.01))
    assert 64 < some < more
    assert needed_documents(decided(0.0, 0.01)) == more
    assert needed_documents(decided(0.0, float(COLUMN.mean()))) is None
    assert needed_documents(decided(-10.0)) is None  # (nothing is open)


def test_nothing_is_told_where_a_gate_forbids_a_verdict():
    assert needed_documents(decided(0.0, column=COLUMN[:8])) is None
