"""Figures of a record from Python: what the report draws, on its own."""

import json

import altair
import pytest
import vl_convert
from support.sample_record import sample_record

import attnres_core as ac
from attnres_core.report.html.figure import INK
from attnres_core.report.html.forest import forests


@pytest.fixture
def record(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(sample_record()))
    return ac.load_record(tmp_path / "r.json")


def texts(chart):
    return vl_convert.vegalite_to_svg(chart.to_json())


def test_the_forest_is_the_reports_and_draws_on_its_own(record):
    chart = ac.plot.forest(record)
    figures = forests(record.record["claims"])
    assert isinstance(chart, altair.VConcatChart)
    assert len(chart.vconcat) == len(figures)
    drawn = texts(chart)
    for figure in figures:
        for row in figure.spec["datasets"]["rows"]:
            assert row["numbers"] in drawn
    assert "undefined" not in drawn
    assert '"#ffffff"' in drawn
    assert INK not in drawn  # (too pale for a paper)


def test_a_part_can_be_drawn(record):
    first, second = (claim["title"] for claim in record.record["claims"][:2])
    drawn = texts(ac.plot.forest(record, only=first))
    assert first in drawn
    assert second not in drawn
    with pytest.raises(ValueError, match="no claim has 'nowhere' in its key or title"):
        ac.plot.forest(record, only="nowhere")


def test_what_is_no_record_is_refused_and_nothing_to_draw_is_said(record):
    with pytest.raises(ValueError, match=r"`record` is 'a.json'; give what `load_record\(path\)` returns"):
        ac.plot.forest("a.json")
    record.record["claims"].clear()
    with pytest.raises(ValueError, match="no claim of the record has an estimate to draw"):
        ac.plot.forest(record)
