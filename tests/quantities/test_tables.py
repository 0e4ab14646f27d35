"""The tables of kinds, metrics and summaries: every row is whole, and what goes with it is there."""

import inspect
from string import Formatter

import pytest
from support.every_kind import EVERY

import attnres_core as ac
from attnres_core.engine import metrics
from attnres_core.models.networks.interventions import act_of
from attnres_core.planning.requests import field_of, scored_for
from attnres_core.quantities import ablations
from attnres_core.quantities.ablations import REMOVALS, Kind
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.units import unit_of
from attnres_core.quantities.vocabulary import Summary


def places(text):
    """The names in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_whole_row_a_word_and_an_act(kind):
    spec = kind.spec
    assert spec.words
    assert spec.formula
    assert places(spec.words) <= {"f", "amount", "count", "times", "part"}
    assert places(spec.formula) <= {"amount", "count", "times", "letters"}
    assert "Estimand: " in inspect.getdoc(getattr(ablations, kind))
    assert getattr(ac, kind) is getattr(ablations, kind)
    assert spec.whole or callable(act_of(spec.others or kind))
    if spec.others:
        assert Kind(spec.others).spec.others == ""


def test_what_a_row_says_agrees_with_itself():
    for kind in Kind:
        spec = kind.spec
        assert spec.draws == 1 or spec.random, kind  # draws of what is not random are one intervention
        assert spec.removes or not (spec.fills or spec.recomputes), kind
        assert spec.needs_reference or not spec.fills, kind
    assert REMOVALS == ("drop", "zero", "mean", "resample", "optimal")  # the order in which errors and pages list them


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_found_by_its_name(kind):
    assert Kind(str(kind)) is kind
    assert kind == kind.value == f"{kind}" == kind.name.lower()


@pytest.mark.parametrize("summary", Summary)
def test_every_summary_has_a_whole_row_and_a_word(summary):
    spec = summary.spec
    assert spec.unit
    assert spec.words
    assert spec.formula
    assert places(spec.words) <= {"f"}
    word = getattr(ac, summary)
    given = [name for name in ("family", "sublayer") if name in inspect.signature(word).parameters]
    asked = word(*({"family": ac.OLDER, "sublayer": ac.ATTN}[name] for name in given))
    assert asked.kind is summary
    assert unit_of(asked.on(ac.TRAINED)) == spec.unit


@pytest.mark.parametrize("metric", Metric)
def test_every_metric_has_a_whole_row(metric):
    spec = metric.spec
    assert spec.unit
    assert spec.words
    assert places(spec.formula) == {"act"}
    assert spec.needs in ("", "answer", "foil", "sentence")
    assert spec.of_pairs is (spec.needs == "sentence")
    assert unit_of(ac.drop(ac.OLDER, ac.ATTN).on(ac.TRAINED, metric=str(metric))) == spec.unit
    assert getattr(ac, metric.name) is metric
    if spec.of_pairs:  # read off losses: nothing is scored
        assert metric not in scored_for([field_of(metric)])
        return
    assert metric in scored_for([field_of(metric)])
    assert callable(metrics.fast(metric))
    assert callable(metrics.plain(metric))


def test_of_what_is_no_quantity_the_unit_is_that_of_a_rise_in_loss():
    assert unit_of("a column") == "nats/token"


def test_every_kind_is_held_against_the_plain_reference():
    """Those of parallel streams against the models' own code: tests/models/test_hyper_connections.py."""
    assert {what.kind for what in EVERY} == {kind for kind in Kind if not kind.spec.of_streams}
