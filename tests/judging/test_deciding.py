"""Which statement is shown for a claim of several: the one that its verdict hangs on."""

import math

import pytest

from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import deciding

S, R, I = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE  # noqa: E741
N = 100


def decision(verdict, low, high, *, operator=Operator.ABOVE, threshold=0.0, error=1.0):
    """With a standard error of `error`; None makes it exact."""
    sd = math.nan if error is None else error * math.sqrt(N)
    interval = Interval((low + high) / 2, low, high, N, 0.01, sd, exact=error is None)
    return Decision(Statement(Linear((("x", 1.0),)), operator, threshold), verdict, interval)


def shown(verdict, *decisions):
    return deciding([decisions], verdict)


def test_of_a_supported_claim_it_is_the_tightest_in_its_own_standard_errors():
    assert shown(S, decision(S, 9, 11), decision(S, 2, 4), decision(S, 5, 7)) == 1
    assert shown(S, decision(S, 9, 11, error=5), decision(S, 2, 4, error=0.1)) == 0


@pytest.mark.parametrize(
    ("low", "high", "operator", "slack"),
    [
        (2.5, 9, Operator.ABOVE, 0.5),
        (-9, 1.25, Operator.BELOW, 0.75),
        (-1.0, 0.5, Operator.WITHIN, 1.0),  # the lower side is the nearer one
        (-0.5, 1.75, Operator.WITHIN, 0.25),
    ],
)
def test_slack_is_from_the_threshold_to_the_limit_that_supports(low, high, operator, slack):
    own = decision(S, low, high, operator=operator, threshold=2)
    assert shown(S, decision(S, slack + 0.01, 9), own) == 1
    assert shown(S, decision(S, slack - 0.01, 9), own) == 0


def test_what_is_exact_comes_last_and_among_its_like_by_share():
    exact = decision(S, 1e-9, 1e-9, error=None)
    assert shown(S, exact, decision(S, 90, 99)) == 1
    near, far = (decision(S, value, value, threshold=1, error=None) for value in (1.5, 300))
    assert shown(S, far, near) == 1
    assert shown(S, decision(S, 2e-4, 2e-4, threshold=1e-4, error=None), near) == 1  # half of it against a third


def test_of_a_refuted_claim_it_is_the_one_that_refutes_by_most():
    barely, clearly = decision(R, -9, -1), decision(R, -9, -5)
    assert shown(R, decision(S, 0.1, 9), barely, clearly, decision(I, -1, 1)) == 2
    outside = decision(R, 8, 12, operator=Operator.WITHIN, threshold=2)
    assert shown(R, clearly, outside) == 1


def test_of_an_inconclusive_claim_it_is_the_first_that_is():
    assert shown(I, decision(S, 1, 2), decision(I, -1, 9), decision(I, -9, 1)) == 1


def test_of_several_kinds_it_is_of_the_first_that_has_the_verdict():
    first, second = (decision(S, 5, 6), decision(S, 3, 4)), (decision(S, 1, 2), decision(S, 7, 8))
    assert deciding([first, second], S) == 1
    opened = (decision(I, -1, 1), decision(S, 3, 4))
    assert deciding([opened, (decision(S, 1, 2), decision(R, -9, -8))], R) == 3


def test_where_no_decision_has_the_verdict_it_is_the_first_and_without_any_none():
    assert deciding([(decision(S, 1, 2),), (decision(R, -2, -1),)], I) == 0
    assert deciding([()], S) is None
