"""What a statement estimates, in words and in symbols: every kind, metric and summary has its own."""

import pytest

import attnres_core as ac
from attnres_core.estimands import estimand, symbols, words
from attnres_core.estimates import Linear, Statement
from attnres_core.statistics import Operator

REMOVALS = [kind(ac.OLDER, ac.ATTN, ac.LATE) for kind in (ac.drop, ac.zero, ac.mean, ac.resample, ac.keep)]
REWRITES = [kind(ac.MLP) for kind in (ac.uniform, ac.average, ac.shuffle, ac.schedule)]
CONTROLS = [control(REMOVALS[0]) for control in (ac.matched_mass, ac.matched_count, ac.random_sites)]
ABLATIONS = [ac.keep_top(2, ac.MLP), *REMOVALS, *REWRITES, *CONTROLS, ac.amplify(ac.OLDER, ac.ATTN, by=-2)]
METRICS = ("delta_nll", "kl", "logit_difference", "answer_probability")
SUMMARIES = [
    *(kind(ac.OLDER, ac.ATTN, ac.LATE) for kind in (ac.mass, ac.uniform_mass)),
    *(kind(ac.ATTN, ac.LATE) for kind in (ac.entropy, ac.peak, ac.spread, ac.closed_form_error)),
]
STATISTICS = [ac.mass_and_effect(kind, ac.ATTN) for kind in ("slope", "pearson", "spearman", "kendall")]


def every():
    yield from (what.on(ac.TRAINED) for what in (*ABLATIONS, *SUMMARIES, *STATISTICS))
    yield from (ac.drop(ac.OLDER, ac.ATTN, ac.LATE).on(ac.TRAINED, metric=metric) for metric in METRICS[1:])


def test_no_two_quantities_are_told_in_the_same_words():
    told = [words(quantity) for quantity in every()]
    assert len(set(told)) == len(told)
    assert all("{" not in text and text.endswith(tuple("leds0123456789")) for text in told)


def test_every_quantity_has_a_formula():
    assert all(symbols(quantity) and "{" not in symbols(quantity) for quantity in every())


def test_a_drop_is_told_whole():
    quantity = ac.drop(ac.OLDER, ac.ATTN, ac.LATE, per_site=True).on(ac.WRAPPED, at="first_third")
    assert words(quantity) == (
        "the mean rise in next-token loss, nats per token, when the older source is masked and the rest of the weights "
        "scaled up to one in what attention in late layers reads, in the wrapped model; one layer at a time, averaged "
        "over the layers; over the first third of each prompt's predictions"
    )
    minus, arrow = "\N{MINUS SIGN}", "\N{LEFTWARDS ARROW}"
    assert symbols(quantity) == (
        f"E_d[L(x_d | do(a_F {arrow} 0, a {arrow} a / \N{GREEK CAPITAL LETTER SIGMA}a)) {minus} L(x_d)], F = older"
    )


@pytest.mark.parametrize(
    ("operator", "relation"),
    [(Operator.ABOVE, "A \N{MINUS SIGN} 0.5 B > 0.02"), (Operator.WITHIN, "|A \N{MINUS SIGN} 0.5 B| < 0.02")],
)
def test_a_statement_names_its_terms(operator, relation):
    one, other = (ac.drop(ac.OLDER, ac.ATTN, band).on(ac.TRAINED) for band in (ac.LATE, ac.MID))
    found = estimand(Statement(Linear(((one, 1.0), (other, -0.5))), operator, 0.02))
    assert found["relation"] == relation
    assert [(term["name"], term["words"]) for term in found["terms"]] == [("A", words(one)), ("B", words(other))]
