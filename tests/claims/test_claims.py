"""What a claim's body may say, and the error that names the remedy when it says something else."""

import math

import pytest

import attnres_core as ac
from attnres_core.claims.statements import ClaimError, Linear, Operator
from attnres_core.claims.tracing import trace
from attnres_core.quantities.quantity import Quantity

A = ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY).on(ac.TRAINED)
B = ac.drop(ac.EMBEDDING, ac.MLP, ac.LATE).on(ac.TRAINED)
ERROR = ac.closed_form_error(ac.ATTN).on(ac.WRAPPED)
WEIGHT = ac.mass(ac.OLDER, ac.ATTN).on(ac.TRAINED)


def traced(body):
    names = body.__code__.co_varnames[: body.__code__.co_argcount]
    return trace(body, {name: {"a": A, "b": B, "error": ERROR, "weight": WEIGHT}[name] for name in names}, {})


def test_one_comparison_is_one_statement():
    def body(a):
        assert a > 0.02

    (statement,) = traced(body)
    assert statement.form == Linear(((A, 1.0),))
    assert (statement.operator, statement.threshold) == (Operator.ABOVE, 0.02)
    assert str(statement) == "drop(embedding, mlp, early) on trained [delta_nll] > 0.02"


def test_contrasts_constants_and_factors_move_to_the_threshold():
    def body(a, b):
        assert 2 * a - b / 4 + 1 > a + 3

    (statement,) = traced(body)
    assert dict(statement.form.terms) == {A: 1.0, B: -0.25}
    assert statement.threshold == 2.0


def test_equivalence_is_one_statement():
    def body(a, b):
        assert abs(a - b) < 0.01

    (statement,) = traced(body)
    assert statement.operator is Operator.WITHIN
    assert str(statement).startswith("|drop(embedding, mlp, early)")


def test_several_assertions_and_and_are_all_recorded():
    def body(a, b):
        assert a > 0.02
        assert b < 0.5 and a - b > 0  # noqa: PT018

    assert [statement.operator for statement in traced(body)] == [Operator.ABOVE, Operator.BELOW, Operator.ABOVE]


def test_reversed_comparisons_are_the_same_statements():
    def body(a):
        assert 0.02 < a

    (statement,) = traced(body)
    assert (statement.operator, statement.threshold) == (Operator.ABOVE, 0.02)


def negated(a):
    assert not a > 0.02


def branching(a):
    if a > 0.02:
        return


def alternative(a, b):
    assert a > 0.02 or b > 0.02


def ignored(a):
    a > 0.02  # noqa: B015


def kept(a, b):
    holds = a > 0.02
    assert b > 0
    assert holds


def nothing(a):
    pass


def reads_mean(a):
    assert a.mean > 0.02


def truth(a):
    assert a


def equal(a):
    assert a == 0.02


def at_least(a):
    assert a >= 0.02


def large_magnitude(a):
    assert abs(a) > 0.02


def zero_margin(a):
    assert abs(a) < 0


def ratio(a, b):
    assert a / b > 2


def product(a, b):
    assert a * b > 2


def itself(a):
    assert a - a > 0


def text(a):
    assert a > "0.02"


def number(a):
    assert float(a) > 0.02


def mixed_worst(error, a):
    assert error + a < 1


def turned_worst(error):
    assert 1 - error > 0


def counts_nothing(a, weight):
    assert a + 0 * weight > 1


def mixed_units(a, weight):
    assert a + weight > 1


def logarithm(a):
    assert math.log(a) > 1


def missing_name(a):
    assert a > MIN_EFFECTS


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (negated, "the body negates a decision or asserts something else; `not effect > m` would pass on inconclusive"),
        (branching, "the body goes on when `.*` is not supported; every decision must be asserted: no `if`, no `or`"),
        (alternative, "the body goes on when"),
        (ignored, "the body goes on when"),
        (kept, "the body goes on when"),
        (nothing, "the body decides nothing; assert a comparison of its estimates: `assert effect > MIN_EFFECT`"),
        (reads_mean, "the body reads a number of .*; a claim compares estimates: `effect > MIN_EFFECT`"),
        (truth, "an estimate is neither true nor false; compare it: `effect > MIN_EFFECT`"),
        (equal, r"no data can show that a mean equals a number; state `abs\(x - value\) < margin`"),
        (at_least, "`>=` and `>` are the same claim about a mean; write `>`"),
        (large_magnitude, r"only `abs\(x\) < margin` can be decided; for a large effect state its side"),
        (zero_margin, r"the margin of `abs\(x\) < margin` is 0; give a positive number"),
        (ratio, "write a ratio `a / b > k` as two statements: `a > k \\* b` and `b > 0`"),
        (product, "a product of two estimates is no mean of a column; claims are linear contrasts"),
        (itself, "both sides of the comparison are the same quantity; nothing is left to decide"),
        (text, "an estimate is compared with '0.02'; compare it with a number or another estimate"),
        (number, "an estimate is not a number; compare it, or use `.mean` outside a claim"),
        (logarithm, "an estimate is not a number; compare it, or use `.mean` outside a claim"),
        (missing_name, "the body raised NameError: name 'MIN_EFFECTS' is not defined; it is called with symbolic"),
        (mixed_units, r"`.* > 1` adds nats/token and depth weight; a sum of different units has none: state one for"),
        (mixed_worst, "a largest deviation stands alone, as `x < tolerance` or `x > tolerance`"),
        (turned_worst, "a largest deviation stands alone, as `x < tolerance` or `x > tolerance`"),
        (counts_nothing, "has a term that counts zero times; leave it out"),
    ],
)
def test_bodies_that_cannot_be_decided_are_errors_with_the_remedy(body, message):
    with pytest.raises(ClaimError, match=message):
        traced(body)


def test_a_keyword_that_is_no_quantity_is_an_error():
    with pytest.raises(ClaimError, match=r"`effect` is .*, no Quantity; did you forget .on\(TRAINED\)\?"):
        ac.claim(effect=ac.drop(ac.EMBEDDING, ac.MLP))


def test_a_quantity_without_a_parameter_is_an_error():
    with pytest.raises(ClaimError, match="test_x has no parameter effect; name it in the test's signature"):

        @ac.claim(effect=A)
        def test_x():
            """Takes nothing."""


def test_quantities_are_hashable_and_equal_by_value():
    assert A == ac.drop("embedding", "mlp", "early").on("trained")
    assert isinstance(A, Quantity)
    assert len({A, B, A}) == 2
