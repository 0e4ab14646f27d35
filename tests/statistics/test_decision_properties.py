"""Properties of the decision layer, and other people's code as its oracles: scipy and statsmodels.

Columns lie on a grid of 1/1024, so that shifts and scales by powers of two are exact and equalities can be exact too.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

import attnres_core as ac
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, Together, adjust, combine, judge
from attnres_core.prompts import load_prompts
from attnres_core.statistics import intervals
from attnres_core.statistics.intervals import bootstrap_t, bootstraps, describe_gate
from attnres_core.statistics.multiplicity import benjamini_yekutieli, holm, max_t

ABOVE, BELOW, WITHIN = Operator.ABOVE, Operator.BELOW, Operator.WITHIN
SUPPORTED, REFUTED, INCONCLUSIVE = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE
EFFECT = ac.drop(ac.EMBEDDING, ac.MLP).on(ac.TRAINED)
ALPHA = 0.05
standard_error, strata_of = intervals.standard_error, intervals.strata_of
FEW, MANY = settings(max_examples=20), settings(max_examples=60)


def ask(operator, threshold, alpha=ALPHA, refuters=1, quantity=EFFECT):
    return Question(Statement(Linear(((quantity, 1.0),)), operator, float(threshold)), alpha, refuters)


def decided(column, *questions, strata=None) -> list[Decision]:
    found = judge(questions, {EFFECT: np.asarray(column, float)}, strata)
    return [found[question] for question in questions]


def made(column, alpha=ALPHA, strata=None):
    (found,) = bootstraps([column], [alpha], strata)
    assert not isinstance(found, str)
    return found


FAMILIES = {
    "normal": lambda rng, n: rng.normal(0.2, 1, n),
    "skewed": lambda rng, n: rng.lognormal(0, 0.8, n) - 1,
    "long left tail": lambda rng, n: -rng.lognormal(0, 1.2, n),
    "heavy": lambda rng, n: rng.standard_t(3, n),
    "mostly zero": lambda rng, n: rng.normal(0.3, 1, n) * (rng.random(n) < 0.4),
    "counts": lambda rng, n: rng.poisson(1.5, n) - 1.0,
}


def sample(family, seed, n):
    return FAMILIES[family](np.random.default_rng(seed), n)


@st.composite
def grids(draw, n=32, families=tuple(FAMILIES)):
    """Columns on a grid of 1/1024 that pass the gates at every level used here."""
    column = sample(draw(st.sampled_from(families)), draw(st.integers(0, 10**6)), n)
    column = np.round(np.clip(column, -60, 60) * 1024) / 1024
    assume(not describe_gate(column, 0.01))
    return column


scores = st.lists(st.floats(-8, 8), min_size=2, max_size=6)
alphas = st.sampled_from([0.05, 0.03, 0.01])
refuters = st.sampled_from([1, 3])


def at(column, score, strata=None):
    """The threshold that lies `score` standard errors under the mean, on the columns' grid."""
    return round((column.mean() - score * standard_error(column, strata)) * 1024) / 1024


@MANY
@given(grids(), scores, alphas, refuters)
def test_a_harder_threshold_turns_support_into_refutation_and_never_back(column, scores, alpha, refuters):
    order = [SUPPORTED, INCONCLUSIVE, REFUTED]
    for operator in Operator:
        thresholds = [abs(at(column, score)) if operator is WITHIN else at(column, score) for score in scores]
        thresholds.sort(reverse=operator is not ABOVE)
        found = decided(column, *(ask(operator, m, alpha, refuters) for m in thresholds))  # easiest first
        for values in ([order.index(decision.verdict) for decision in found], [d.p_value for d in found]):
            assert values == sorted(values)


@MANY
@given(grids(), st.floats(0.001, 3), alphas, refuters)
def test_equivalence_is_both_its_one_sided_statements_and_blind_to_sign(column, margin, alpha, refuters):
    forms = ((WITHIN, margin), (BELOW, margin), (ABOVE, -margin))
    both, upper, lower = decided(column, *(ask(*form, alpha, refuters) for form in forms))
    (mirrored,) = decided(-column, ask(WITHIN, margin, alpha, refuters))
    assert both.verdict is mirrored.verdict is combine([upper, lower])
    assert both.p_value == mirrored.p_value == max(upper.p_value, lower.p_value)


@FEW
@given(grids(families=("normal", "counts")), alphas)
def test_the_verdict_turns_exactly_at_the_limits(column, alpha):
    limits = made(column, alpha).interval(alpha)
    low, high = limits.low, limits.high
    assume(math.isfinite(low) and math.isfinite(high))
    turns = (np.nextafter(low, -99), low, np.nextafter(high, -99), high, np.nextafter(high, 99))
    above, below = ([d.verdict for d in decided(column, *(ask(op, m, alpha) for m in turns))] for op in (ABOVE, BELOW))
    assert above == [SUPPORTED, INCONCLUSIVE, INCONCLUSIVE, REFUTED, REFUTED]
    assert below == [REFUTED, REFUTED, INCONCLUSIVE, INCONCLUSIVE, SUPPORTED]


@MANY
@given(grids(), alphas, refuters)
def test_no_statement_is_both_supported_and_refuted(column, alpha, refuters):
    """Because the limits enclose the mean, and those that refute enclose those that support."""
    bootstrap = made(column, alpha)
    wide, strict = bootstrap.interval(alpha), bootstrap.interval(alpha / refuters)
    assert strict.low <= wide.low < wide.mean < wide.high <= strict.high
    tail = stats.skew(column) * stats.norm.isf(alpha) / math.sqrt(32)
    assert (math.isinf(wide.low), math.isinf(wide.high)) == (tail <= -1, tail >= 1)


@MANY
@given(grids(), st.floats(-8, 8), alphas, refuters, st.sampled_from(Operator))
def test_support_is_a_p_value_of_at_most_alpha(column, score, alpha, refuters, operator):
    """The converse fails only where a long tail's limit is discarded, which p-values leave out."""
    limits, m = made(column, alpha).interval(alpha), at(column, score)
    thresholds = [m, *(end + step for end in (limits.low, limits.high) for step in (-1e-9, 1e-9) if math.isfinite(end))]
    thresholds = [abs(m)] if operator is WITHIN else thresholds
    for decision in decided(column, *(ask(operator, m, alpha, refuters) for m in thresholds)):
        if decision.verdict is SUPPORTED:
            assert decision.p_value <= alpha * (1 + 1e-9)
        elif decision.p_value <= alpha * (1 - 1e-9):
            assert "limit is discarded (long tail)" in limits.note
        if decision.verdict is REFUTED:
            assert decision.p_value >= (1 - alpha / refuters) * (1 - 1e-9)


def halves(n=32):
    return strata_of(["a"] * (n // 2) + ["b"] * (n // 2))


@MANY
@given(grids(), st.floats(-8, 8), st.integers(-30, 30), st.integers(-(2**16), 2**16), st.booleans(), refuters)
def test_units_origin_and_sign_change_no_verdict_and_no_p_value(column, score, power, steps, stratified, refuters):
    """Exactly: the same documents are drawn, and on the grid every operation on the column is exact."""
    strata = halves() if stratified else None
    m, unit, shift = at(column, score, strata), 2.0**power, steps / 1024
    (plain,) = decided(column, ask(ABOVE, m, refuters=refuters), strata=strata)
    (scaled,) = decided(unit * column, ask(ABOVE, unit * m, refuters=refuters), strata=strata)
    (shifted,) = decided(column + shift, ask(ABOVE, m + shift, refuters=refuters), strata=strata)
    (mirrored,) = decided(-column, ask(BELOW, -m, refuters=refuters), strata=strata)
    assert {d.verdict for d in (scaled, shifted, mirrored)} == {plain.verdict}
    assert {d.p_value for d in (scaled, shifted, mirrored)} == {plain.p_value}
    low, mean, high = plain.interval.low, plain.interval.mean, plain.interval.high
    assert (scaled.interval.low, scaled.interval.high) == (unit * low, unit * high)
    assert (mirrored.interval.low, mirrored.interval.mean, mirrored.interval.high) == (-high, -mean, -low)
    assert (shifted.interval.low, shifted.interval.high) == pytest.approx((low + shift, high + shift), rel=1e-12)


@FEW
@given(grids(families=("normal", "skewed", "heavy")), st.floats(-4, 4), st.floats(1e-6, 1e6))
def test_any_unit_gives_the_same_p_value_to_float32_rounding(column, score, unit):
    """Statistics within rounding of the score may change sides: a few of the resamples, not more."""
    m = column.mean() - score * standard_error(column) + 1e-5
    plain, scaled = made(column), made(unit * column)
    assert scaled.p_value(ABOVE, unit * m) == pytest.approx(plain.p_value(ABOVE, m), abs=8 / len(plain.statistics))


@FEW
@given(st.permutations(range(24)))
def test_the_order_of_the_file_changes_no_number(tmp_path_factory, order):
    rows = [{"id": f"p{index}", "text": f"word {index}", "split": "confirmation"} for index in range(24)]
    values = dict(zip((row["id"] for row in rows), sample("normal", 1, 24), strict=True))
    found = []
    for lines in (rows, [rows[index] for index in order]):
        file = tmp_path_factory.mktemp("order") / "prompts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in lines))
        prompts = load_prompts(file)
        found.append((prompts.digest, decided([values[p.id] for p in prompts.prompts], ask(ABOVE, 0.1))))
    assert found[0] == found[1]


@FEW
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10**6), st.booleans())
def test_permuted_columns_have_the_same_limits_within_monte_carlo_error(family, seed, stratified):
    """Rank 200 of one draw lies within ranks 200 +- 100 of the other: five standard errors, whatever the column."""
    column, labels = sample(family, seed, 32), np.array([index % 2 for index in range(32)])
    assume(not describe_gate(column, ALPHA))
    turns = (np.arange(32), np.random.default_rng(seed).permutation(32))
    one, other = (
        np.sort(made(column[t], strata=strata_of(labels[t]) if stratified else None).statistics) for t in turns
    )
    for a, b in ((one, other), (-one[::-1], -other[::-1])):
        assert a[99] <= b[199] or np.isclose(a[99], b[199], rtol=1e-4)
        assert b[199] <= a[299] or np.isclose(b[199], a[299], rtol=1e-4)


@MANY
@given(st.lists(st.sampled_from("abcdef"), max_size=80), st.integers(2, 12))
def test_strata_hold_every_document_once_and_none_is_small(labels, least):
    groups = strata_of(labels, least)
    assert sorted(np.concatenate([*groups, []])) == list(range(len(labels)))
    assert len(groups) <= 1 or min(map(len, groups)) >= least
    whole = [name for name in set(labels) if labels.count(name) >= least]
    assert all(sum(any(labels[row] == name for row in rows) for rows in groups) == 1 for name in whole)
    assert len(whole) <= len(groups) <= len(whole) + 1


@FEW
@given(grids(), st.lists(st.sampled_from("abc"), min_size=32, max_size=32))
def test_new_names_for_the_strata_in_the_same_order_change_nothing(column, labels):
    one, other = (strata_of(names) for names in (labels, [f"collection {name}" for name in labels]))
    assert decided(column, ask(ABOVE, 0.125), strata=one) == decided(column, ask(ABOVE, 0.125), strata=other)


@FEW
@given(grids(n=40), st.lists(st.sampled_from("abc"), min_size=40, max_size=40))
def test_standard_error_is_that_of_a_stratified_mean_and_one_stratum_is_none(column, labels):
    groups = strata_of(labels)
    closed = sum((len(rows) / 40 * stats.sem(column[rows])) ** 2 for rows in groups)
    assert standard_error(column, groups) == pytest.approx(math.sqrt(closed), rel=1e-12)
    one, none = made(column, strata=strata_of(["a"] * 40)), made(column)
    assert (one.error, one.freedom) == (none.error, none.freedom) == (pytest.approx(stats.sem(column)), 39)
    assert np.array_equal(one.statistics, none.statistics)


@FEW
@given(grids(), st.integers(-(2**14), 2**14))
def test_a_shift_of_one_whole_stratum_is_no_noise(column, steps):
    one, other = (
        (standard_error(c, s), bootstrap_t(c[:, None], 99, s).tolist(), max_t([c], [1.0], s, 999), d.p_value)
        for c, s in ((column, halves()), (column + np.repeat([0.0, steps / 64], 16), halves()))
        for d in decided(c, ask(ABOVE, c.mean() - 0.25), strata=s)
    )
    assert one == other


def spoilt(column, places, value):
    return np.where(np.isin(range(32), places), value, column)


numbers, places = st.floats(-1e6, 1e6), st.lists(st.integers(0, 15), min_size=1, max_size=5)
degenerate = st.one_of(
    st.builds(lambda column, n: column[:n], grids(), st.integers(0, 15)),
    st.builds(spoilt, grids(), places, st.sampled_from([np.nan, np.inf, -np.inf])),
    st.builds(
        lambda few, x, n: np.array([*few, *[x] * n]), st.lists(numbers, max_size=5), numbers, st.integers(16, 80)
    ),
)


@settings(max_examples=200)
@given(degenerate, st.sampled_from(Operator), numbers, refuters, st.booleans())
def test_degenerate_columns_decide_nothing(column, operator, threshold, refuters, stratified):
    """At 0.05 a verdict needs 6 values off the mode; here are at most 5."""
    strata = strata_of([index % 2 for index in range(len(column))]) if stratified else None
    (decision,) = decided(column, ask(operator, abs(threshold), refuters=refuters), strata=strata)
    assert (decision.verdict, decision.p_value) == (INCONCLUSIVE, None)
    assert (decision.interval.low, decision.interval.high) == (-math.inf, math.inf)
    assert decision.reason == decision.interval.gate != ""


def test_what_is_just_not_degenerate_is_decided():
    for column in (sample("normal", 3, 16) + 9, np.append(np.ones(26), np.linspace(0.5, 1.5, 6))):
        assert decided(column, ask(ABOVE, 0))[0].verdict is SUPPORTED


def test_only_a_routing_column_is_decided_by_its_constant_value():
    mass = ac.mass(ac.EMBEDDING, ac.MLP).on(ac.TRAINED)
    for quantity, verdict in ((mass, SUPPORTED), (EFFECT, INCONCLUSIVE)):
        question = ask(ABOVE, 0.25, quantity=quantity)
        assert judge([question], {quantity: np.full(64, 0.5)})[question].verdict is verdict


@pytest.mark.parametrize(
    ("column", "strata"),
    [
        (np.repeat([0.0, 1.0], 32), halves(64)),  # constant within each stratum: ZeroDivisionError
        (1e-200 * sample("normal", 0, 64), None),  # squares underflow: ZeroDivisionError
        (np.repeat([0.0, 1.0], 32) + 0.01 * (np.arange(64) == 0), halves(64)),  # one document in 64 decides: SUPPORTED
        (
            sample("normal", 0, 64) + 0.1 - sample("normal", 0, 64),
            None,
        ),  # constant but for rounding: SUPPORTED, scipy warns
        (np.append(sample("normal", 0, 64), [np.inf, -np.inf]), None),  # numpy warns of inf - inf
    ],
    ids=["constant in each stratum", "underflow", "one document", "rounding", "both infinities"],
)
def test_degenerate_columns_pass_nothing_and_warn_of_nothing(column, strata):
    (decision,) = decided(column, ask(ABOVE, -9), strata=strata)
    assert (decision.verdict, decision.p_value) == (INCONCLUSIVE, None)


def test_a_long_tail_within_strata_is_not_hidden_by_their_distance():
    column = np.append(stats.lognorm(2).rvs(32, random_state=1), stats.lognorm(2).rvs(32, random_state=2))
    plain, apart = (made(c, strata=halves(64)).interval(0.01) for c in (column, column + np.repeat([0.0, 1000.0], 32)))
    assert (plain.high, apart.high) == (math.inf, math.inf)


@MANY
@given(grids(n=24), st.floats(-6, 6), st.floats(0.01, 4), st.integers(0, 10**6))
def test_a_p_value_is_never_below_those_of_scipy_s_t_test_and_statsmodels_tost(column, score, margin, seed):
    m, other, bootstrap = at(column, score), sample("heavy", seed, 24), made(column)
    for operator, side in ((ABOVE, "greater"), (BELOW, "less")):
        oracle = stats.ttest_1samp(column, m, alternative=side).pvalue
        assert bootstrap.p_value(operator, m) >= oracle * (1 - 1e-9)
    oracle, *_ = ttost_paired(column + other, other, -margin, margin)
    assert bootstrap.p_value(WITHIN, margin) >= oracle * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_on_normal_columns_p_values_are_those_of_the_t_test_and_tost(seed):
    """To the bootstrap's Monte-Carlo error and what the skewness of 256 draws moves it by."""
    column = sample("normal", seed, 256)
    bootstrap = made(column, 0.01)
    for score in (-1.5, -0.5, 0.5, 1.0, 2.0):
        m = column.mean() - score * stats.sem(column)
        for operator, side in ((ABOVE, "greater"), (BELOW, "less")):
            oracle = stats.ttest_1samp(column, m, alternative=side).pvalue
            assert bootstrap.p_value(operator, m) == pytest.approx(oracle, abs=0.02)
    for margin in (0.2, 0.3, 0.35):
        oracle, *_ = ttost_paired(column, np.zeros(256), -margin, margin)
        assert bootstrap.p_value(WITHIN, margin) == pytest.approx(oracle, abs=0.02)


@FEW
@given(grids(), st.floats(-4, 4), st.floats(-50, 50))
def test_with_equal_strata_the_t_half_is_the_regression_on_their_dummies(column, score, apart):
    column = column + np.repeat([0.0, apart], 16)
    m = at(column, score, halves())
    fit = OLS(column, np.repeat(np.eye(2), 16, axis=0)).fit().t_test(([[0.5, 0.5]], [m]))
    found = made(column, strata=halves())
    assert found.error == pytest.approx(float(fit.sd.item()), rel=1e-9)
    assert found.freedom == fit.df_denom == 30
    assert found.p_value(ABOVE, m) >= stats.t.sf(float(fit.tvalue.item()), fit.df_denom) * (1 - 1e-6)


@pytest.mark.parametrize("family", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("sizes", [(40,), (10, 30), (8, 12, 20)])
def test_resampled_statistics_are_distributed_as_those_of_scipy_s_bootstrap(family, sizes):
    """Kolmogorov-Smirnov at 0.001; scipy resamples several samples independently, which is what strata are."""
    parts = [(1 + place) * sample(family, place, size) for place, size in enumerate(sizes)]
    column, n = np.concatenate(parts), sum(sizes)

    def studentised(*samples, axis):
        mean = sum(part.mean(axis) * size / n for part, size in zip(samples, sizes, strict=True))
        variance = sum(part.var(axis, ddof=1) * size for part, size in zip(samples, sizes, strict=True)) / n**2
        return (mean - column.mean()) / np.sqrt(variance)

    oracle = stats.bootstrap(parts, studentised, n_resamples=8000, vectorized=True, method="percentile", random_state=1)
    found = bootstrap_t(column[:, None], 8000, strata=strata_of(np.repeat(range(len(sizes)), sizes)))[0]
    assert stats.ks_2samp(found, oracle.bootstrap_distribution).pvalue > 0.001


@settings(max_examples=10)  # statsmodels collects garbage at every call
@example([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02])  # sorted: 4 x .005, 3 x .01, 2 x .03, then 1 x .04 < .06
@example([0.6, 0.7], [1.0, 1.0])
@example([], [])
@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.none())
def test_holm_is_that_of_hand_and_of_statsmodels(p_values, by_hand):
    oracle = multipletests(p_values, method="holm")[1] if by_hand is None else by_hand
    assert holm(p_values) == pytest.approx(oracle, abs=1e-12)


def test_benjamini_yekutieli_is_that_of_hand():
    """m / rank x p x (1 + 1/2 + ... + 1/m), and never more than that of a larger p-value."""
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    by_hand = [4 / 1 * 0.001, 4 / 3 * 0.02, 4 / 3 * 0.02, 1]
    found = benjamini_yekutieli([0.001, 0.019, 0.02, 0.9])
    assert found == pytest.approx([min(1, p * harmonic) for p in by_hand])
    assert benjamini_yekutieli([]) == []


def test_exact_claims_count_in_no_adjustment():
    """Ten sure findings would make the share of false ones among all look smaller than it is among the tested."""
    columns = {"a": sample("normal", 1, 64), "b": sample("normal", 2, 64)}
    statements = {name: Statement(Linear(((name, 1.0),)), ABOVE, -0.35) for name in columns}
    found = judge([Question(s, ALPHA) for s in statements.values()], columns)
    tested = {name: [found[Question(s, ALPHA)]] for name, s in statements.items()}
    value = Interval(mean=1.0, low=1.0, high=1.0, n=64, alpha=ALPHA, exact=True)
    exact = {f"exact {place}": [Decision(statements["a"], SUPPORTED, value, "", 0.0)] for place in range(10)}
    with_exact, without = (adjust([Together(claims, columns)]) for claims in (tested | exact, tested))
    assert {name: with_exact[name] for name in tested} == without
    assert 0 < without["a"].p < without["a"].holm < 1
    assert {(with_exact[name].holm, with_exact[name].by) for name in exact} == {(0.0, 0.0)}


@pytest.mark.parametrize("score", [1.0, 2.0, 2.5])
def test_max_t_of_independent_columns_is_one_minus_the_product(score):
    columns = [sample("normal", seed, 256) for seed in range(8)]
    alone = [max_t([column], [score])[0] for column in columns]
    assert max_t(columns, [score])[0] == pytest.approx(1 - math.prod(1 - p for p in alone), abs=0.015)


@FEW
@given(st.lists(grids(), min_size=1, max_size=4), st.floats(-4, 6), st.booleans())
def test_max_t_is_at_least_the_resampled_p_value_and_at_most_their_sum(columns, score, stratified):
    """The same documents are drawn in any company: 3 in 2000 is for rounding at the score; copies cost nothing."""
    strata, few, score = halves() if stratified else None, 3 / 2000, score + 1e-3
    alone = [max_t([column], [score], strata, 1999)[0] for column in columns]
    together = max_t(columns, [score], strata, 1999)[0]
    assert max(alone) - few <= together <= sum(alone) + few
    assert max_t([columns[0]] * 3, [score] * 3, strata, 1999) == pytest.approx([alone[0]] * 3, abs=few)
    single = float((made(columns[0], strata=strata).statistics >= score).mean())  # other draws: five standard errors
    assert abs(alone[0] - single) <= 5 * math.sqrt(single * (1 - single) * (1 / 1999 + 1 / 3999)) + few


def test_adjusting_never_lowers_a_p_value():
    column = np.repeat([-1.0, 1.0], [12, 4]) + np.linspace(0, 0.01, 16)  # 0.012; the bootstrap alone says 0.002
    statement = Statement(Linear((("x", 1.0),)), ABOVE, float(column.mean() - 2.5 * stats.sem(column)))
    decision = judge([Question(statement, ALPHA)], {"x": column})[Question(statement, ALPHA)]
    found = adjust([Together({"claim": [decision]}, {"x": column})])["claim"]
    assert decision.p_value == found.p == found.holm == found.by <= found.max_t
