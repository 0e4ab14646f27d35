"""Estimates, decisions and models as a notebook shows them; whatever they are called stays text."""

import dataclasses

import numpy as np

import attnres_core as ac
from attnres_core.claims.statements import Decision, Interval, Linear, Operator, Statement, Verdict

EFFECT = ac.drop(ac.EMBEDDING, ac.MLP, ac.EARLY).on(ac.TRAINED)


def decision(form=((EFFECT, 1.0),), constant=0.0, reason=""):
    statement = Statement(Linear(form, constant), Operator.ABOVE, 0.02)
    return Decision(statement, Verdict.SUPPORTED, Interval(0.5, -0.25, 0.75, 64, 0.025), reason)


def test_an_estimate_shows_its_number_interval_and_documents():
    column = np.arange(32.0)
    estimate = ac.estimate(column) - 0.5
    shown = estimate._repr_html_()
    assert f"<strong>+{estimate.mean:.4g}</strong>, 95 % interval [+{estimate.low:.4g}, +{estimate.high:.4g}]" in shown
    assert "n = 32" in shown
    assert str(estimate) == f"+{estimate.mean:.4g} [+{estimate.low:.4g}, +{estimate.high:.4g}], n = 32"


def test_a_decision_shows_verdict_statement_unit_and_reason():
    shown = decision(reason="too few & <b>")._repr_html_()
    assert shown.startswith(
        "<p><strong>SUPPORTED</strong>: <code>drop(embedding, mlp, early) on trained [delta_nll] &gt; 0.02"
    )
    assert "<strong>+0.5 nats/token</strong>, 95 % interval [\N{MINUS SIGN}0.25, +0.75], n = 64" in shown
    assert "<p>too few &amp; &lt;b&gt;</p>" in shown
    exact = dataclasses.replace(decision().interval, exact=True)
    assert ", exact, n = 64" in dataclasses.replace(decision(), interval=exact)._repr_html_()


def test_whatever_a_quantity_is_called_stays_text():
    assert "<script>" not in decision(form=(("<script>", 1.0),))._repr_html_()


def test_the_number_of_a_decision_has_a_true_minus():
    assert str(decision()) == (
        "SUPPORTED: +0.5 [\N{MINUS SIGN}0.25, +0.75] for drop(embedding, mlp, early) on trained [delta_nll] > 0.02"
    )


def test_a_model_shows_what_it_is():
    model = ac.load_model("tiny-open-block")
    assert repr(model).startswith(f"<{model.checkpoint.name}: dialect: ")
    shown = model._repr_html_()
    assert "<strong>tiny-open-block</strong>" in shown
    for name, value in (("dialect", "open_block"), ("layers", "12"), ("families", "embedding, current, recent, older")):
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in shown
    model.checkpoint = dataclasses.replace(model.checkpoint, folder=model.checkpoint.folder / "<script>")
    assert "<script>" not in model._repr_html_()
