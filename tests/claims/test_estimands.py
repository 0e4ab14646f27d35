"""What a statement estimates, in words and in symbols: every kind, metric and summary has its own."""

import pytest

import attnres_core as ac
from attnres_core.claims.estimands import estimands, symbols, words
from attnres_core.claims.statements import Linear, Operator, Statement

REMOVALS = [kind(ac.OLDER, ac.ATTN, ac.LATE) for kind in (ac.drop, ac.zero, ac.mean, ac.resample, ac.keep)]
REWRITES = [kind(ac.MLP) for kind in (ac.uniform, ac.average, ac.shuffle, ac.schedule)]
CONTROLS = [control(REMOVALS[0]) for control in (ac.matched_mass, ac.matched_count, ac.random_sites, ac.random_sources)]
ABLATIONS = [ac.keep_top(2, ac.MLP), *REMOVALS, *REWRITES, *CONTROLS, ac.amplify(ac.OLDER, ac.ATTN, by=-2)]
METRICS = (
    "delta_nll",
    "kl",
    "logit_difference",
    "answer_probability",
    "top1_agreement",
    "delta_entropy",
    "sentence_lead",
)
METRICS += ("sentence_accuracy",)
SUMMARIES = [
    *(kind(ac.OLDER, ac.ATTN, ac.LATE) for kind in (ac.mass, ac.uniform_mass, ac.turn)),
    *(kind(ac.ATTN, ac.LATE) for kind in (ac.entropy, ac.peak, ac.spread, ac.closed_form_error)),
    ac.sentence_accuracy(),
    ac.loss(),
]
PREDICTIONS = [ac.summary_and_loss(kind, of) for kind in ("slope", "spearman") for of in SUMMARIES[:4]]
STATISTICS = [ac.mass_and_effect(kind, ac.ATTN) for kind in ("slope", "pearson", "spearman", "kendall")]
STATISTICS += [ac.turn_and_effect(kind, ac.ATTN) for kind in ("slope", "spearman")]


DROP = ac.drop(ac.OLDER, ac.ATTN, ac.LATE)
VARIANTS = [
    DROP,
    ac.drop(ac.OLDER, ac.MLP, ac.LATE),
    *(ac.drop(family, ac.ALL_SUBLAYERS, ac.LATE) for family in (ac.OLDER, ac.NONRECENT)),
    ac.drop(ac.OLDER, ac.ATTN, ac.MID),
    ac.drop(ac.OLDER, ac.ATTN, range(2, 4)),
    ac.drop(ac.CURRENT, ac.ATTN, ac.LATE),
    *(ac.drop(ac.OLDER, ac.ATTN, ac.LATE, **{option: True}) for option in ("per_site", "copies")),
    ac.drop(ac.OLDER, ac.ATTN, ac.LATE, stream="k"),
    ac.zero(ac.OLDER, ac.ATTN, ac.LATE, recomputed=True),
    ac.resample(ac.OLDER, ac.ATTN, ac.LATE, draws=3),
    ac.amplify(ac.OLDER, ac.ATTN, by=-4),
    *(ac.interchange(ac.OLDER, ac.ATTN, ac.LATE, part=part) for part in (ac.STATES, ac.WEIGHTS, ac.BOTH)),
    *(ac.interchange(ac.ANY, ac.ALL_SITES), ac.placebo(ac.interchange(ac.ANY, ac.ALL_SITES)), ac.donor_gap()),
    *(ac.sharpen(ac.MLP, by=2), ac.sharpen(ac.MLP, by=0.5), ac.keep_wired(2, ac.MLP)),
    *(ac.drop(ac.OLDER, ac.ATTN, ac.LATE, via=ac.reads(path, ac.MLP)) for path in (ac.CURRENT, ac.ANY)),
    *(ac.drop(ac.OLDER, ac.ATTN, ac.LATE, via=via) for via in (ac.FINAL, ac.reads(ac.OLDER, ac.FINAL))),
    *(ac.permute(ac.MLP), ac.permute(ac.MLP, keeping=ac.CURRENT), ac.permute(ac.MLP, draws=2)),
]


def every():
    """Quantities of every kind, no two the same."""
    found = [what.on(ac.TRAINED) for what in (*ABLATIONS, *VARIANTS, *SUMMARIES, *STATISTICS, *PREDICTIONS)]
    found += [DROP.on(ac.WRAPPED), *(DROP.on(ac.TRAINED, at=at) for at in ("first_third", "last"))]
    for what in (DROP, *STATISTICS[:2]):
        metrics = METRICS[1:] if what is DROP else METRICS[1:-2]  # (of pairs there is no association)
        found += [what.on(ac.TRAINED, metric=metric) for metric in metrics]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("tell", [words, symbols])
def test_no_two_quantities_are_told_in_the_same_way(tell):
    told = {}
    for quantity in every():
        text = tell(quantity)
        assert told.setdefault(text, quantity) == quantity, (text, str(told[text]), str(quantity))
        assert text
        assert "{" not in text


def test_a_drop_is_told_whole():
    quantity = ac.drop(ac.OLDER, ac.ATTN, ac.LATE, per_site=True).on(ac.WRAPPED, at="first_third")
    assert words(quantity) == (
        "the mean rise in next-token loss, nats per token, when the older source is masked and the rest of the weights "
        "scaled up to one in what attention in late layers reads, in the wrapped model; one layer at a time, averaged "
        "over the layers; over the first third of each prompt's predictions"
    )
    minus, arrow, total = "\N{MINUS SIGN}", "\N{LEFTWARDS ARROW}", "\N{GREEK CAPITAL LETTER SIGMA}"
    assert symbols(quantity) == (
        f"mean over s in S of E_d[L(x_d | do(a_F {arrow} 0, a {arrow} a / {total}a at s)) {minus} L(x_d)], F = older, "
        "S = attention in late layers, the wrapped model, over the first third of each prompt's predictions"
    )


@pytest.mark.parametrize(
    ("via", "seen"),
    [
        (ac.FINAL, "the read-out"),
        (ac.reads(ac.ANY, ac.ATTN, ac.LATE), "attention in late layers"),
        (ac.reads(ac.OLDER, ac.MLP, range(3, 5)), "MLP in layers 3-4, as part of the older source,"),
    ],
)
def test_a_path_is_told_by_who_sees_what_changes(via, seen):
    told = words(ac.drop(ac.CURRENT, ac.MLP, ac.EARLY, via=via).on(ac.TRAINED))
    assert told.endswith(f"; what this changes in their outputs is seen by {seen} and by no other read")


@pytest.mark.parametrize(
    ("operator", "relation"),
    [(Operator.ABOVE, "A \N{MINUS SIGN} 0.5 B > 0.02"), (Operator.WITHIN, "|A \N{MINUS SIGN} 0.5 B| < 0.02")],
)
def test_statements_name_their_terms_once(operator, relation):
    one, other = (ac.drop(ac.OLDER, ac.ATTN, band).on(ac.TRAINED) for band in (ac.LATE, ac.MID))
    first = Statement(Linear(((one, 1.0), (other, -0.5))), operator, 0.02)
    second = Statement(Linear(((other, -1.0),)), Operator.BELOW, 0)
    found = estimands([first, second])
    assert found == {"relations": [relation, "\N{MINUS SIGN}B < 0"], "terms": {"A": str(one), "B": str(other)}}
