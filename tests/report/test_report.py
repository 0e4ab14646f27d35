"""The report: one self-contained page that tells a run truthfully and trusts none of its strings."""

from __future__ import annotations

import base64
import copy
import csv
import gzip
import hashlib
import html
import html.parser
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import sample_record

from attnres_core.report import numbers, wording
from attnres_core.report.html import answer, figure, map_chart
from attnres_core.report.html import page as report
from attnres_core.report.html.page import json_block, render, write
from attnres_core.report.html.pathways import family_drops

HOSTILE = "</script><!--\u2028<img src=x onerror=alert(1)><b id=pwned>\"'&{{ 7*7 }}"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
URL_ATTRIBUTES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "style"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and JSON blocks of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.blocks: dict[str, str] = {}
        self.words: list[str] = []
        self._open: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        given = dict(attrs)
        self._open = given.get("id") or given.get("data-chart") or "script" if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.blocks[self._open] = self.blocks.get(self._open, "") + data
        else:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def unpacked(self, block: str) -> bytes:
        """What a block holds as base64 of its gzip."""
        return gzip.decompress(base64.b64decode(self.blocks[block]))


def hostile(value: Any) -> Any:
    """The value with a hostile string appended to every text in it but the words of the schema."""
    if isinstance(value, dict):
        choices = {"op", "verdict", "role", "metric", "split", "kind", "sublayer", "attestation"}
        choices |= {"family"} if "metric" in value else set()
        return {key: item if key in choices else hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> str:
    return render(record)


def test_the_page_loads_nothing(page: str) -> None:
    loads = [(name, value) for name, value in Page(page).attributes if name in URL_ATTRIBUTES]
    assert all(value.startswith("#") for _, value in loads), loads
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(Page(page).tags)


def test_the_policy_allows_only_the_scripts_that_the_page_carries(page: str) -> None:
    policy = next(value for _, value in Page(page).attributes if value.startswith("default-src 'none'"))
    assert policy.count("'sha256-") == 4
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_the_drawing_library_is_packed_and_is_what_the_policy_names(page: str) -> None:
    script = Page(page).unpacked("library")
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"'sha256-{digest}'" in page[: page.index("</head>")].replace("&#39;", "'")
    assert b"vegaEmbed" in script


def test_what_does_not_grow_with_the_claims_is_small(page: str, record: dict[str, Any]) -> None:
    empty = record | {"claims": [], "columns": [], "maps": {}, "routing": {}, "examples": {}, "estimands": {}}
    assert len(render(empty).encode()) < 500_000
    assert len(page.encode()) < 800_000


def test_the_record_block_is_the_record(record: dict[str, Any], page: str) -> None:
    assert json.loads(Page(page).unpacked("record")) == record


def test_the_same_record_gives_the_same_bytes(record: dict[str, Any], page: str) -> None:
    assert render(copy.deepcopy(record)) == page


def test_hostile_strings_add_no_element(record: dict[str, Any], page: str) -> None:
    attacked = Page(render(hostile(record)))
    assert sorted(set(attacked.tags)) == sorted(set(Page(page).tags))
    assert attacked.tags.count("script") == Page(page).tags.count("script")
    assert json.loads(attacked.unpacked("record")) == hostile(record)


def test_a_json_block_is_ascii_without_angle_brackets() -> None:
    block = json_block({"text": HOSTILE})
    assert block.isascii()
    assert not set("<>&") & set(block)
    assert json.loads(block) == {"text": HOSTILE}


def test_every_claim_and_its_reason_are_on_the_page(record: dict[str, Any], page: str) -> None:
    words = "\n".join(Page(page).words)
    missing = [c["title"] for c in record["claims"] if c["title"] not in words or c["reason"] not in words]
    assert missing == []


def test_every_chart_has_its_words_and_its_table(page: str) -> None:
    charts = [json.loads(block) for name, block in Page(page).blocks.items() if name.startswith("chart-")]
    assert len(charts) == 8
    assert all(chart["description"] for chart in charts)
    forests = page.count('id="chart-forest-')
    assert page.count("Data as a table:") == len(charts) - forests - 1
    assert page.count("As a table: ") == forests + 1 == 5  # the claims, and above the bars


def test_an_expected_refutation_is_marked_with_its_reason(page: str) -> None:
    assert "as expected" in page
    assert "the 124M study reports the opposite at this size" in page


def test_a_claim_shows_the_statement_that_decided_it(record: dict[str, Any]) -> None:
    claim = next(c for c in record["claims"] if c["title"].startswith("Current state matters more early"))
    decided_by = wording.deciding(claim)
    assert decided_by is not None
    assert (claim["verdict"], decided_by["verdict"], decided_by["estimate"]) == ("REFUTED", "REFUTED", -0.61)


def test_where_kinds_disagree_the_finding_says_so_and_quotes_no_interval(record: dict[str, Any]) -> None:
    found = copy.deepcopy(next(c for c in record["claims"] if c["verdict"] == "SUPPORTED"))
    found |= {
        "verdict": "INCONCLUSIVE",
        "disagreement": "the kinds of ablation disagree: drop SUPPORTED, resample REFUTED",
    }
    assert wording.finding(found) == f"No verdict: {found['disagreement']}."


def test_where_a_gate_forbids_a_verdict_the_finding_quotes_no_interval(record: dict[str, Any]) -> None:
    found = copy.deepcopy(next(c for c in record["claims"] if c["verdict"] == "INCONCLUSIVE"))
    found["statements"][0] |= {"low": None, "high": None}
    assert wording.finding(found).startswith("No verdict may rest on these numbers")


@pytest.mark.parametrize(
    ("op", "estimate", "verdict", "words"),
    [
        (">", 0.5, "SUPPORTED", "lies wholly above 0.02"),
        (">", -0.5, "REFUTED", "lies wholly at or below 0.02"),
        (">", 0.02, "INCONCLUSIVE", "does not settle whether it is above 0.02"),
        ("<", -0.5, "SUPPORTED", "lies wholly below 0.02"),
        ("<", 0.5, "REFUTED", "lies wholly at or above 0.02"),
        ("abs<", 0.0, "SUPPORTED", f"lies wholly between {MINUS}0.02 and +0.02"),
        ("abs<", 0.5, "REFUTED", "lies wholly beyond \N{PLUS-MINUS SIGN}0.02"),
        ("abs<", 0.02, "INCONCLUSIVE", f"does not settle whether it is between {MINUS}0.02 and +0.02"),
    ],
)
def test_the_finding_says_where_the_interval_lies(op: str, estimate: float, verdict: str, words: str) -> None:
    made = sample_record.claim("A claim", sample_record.statement("effect", op, estimate, 0.01, 0.02), group=None)
    assert made["verdict"] == verdict
    assert words in wording.finding(made)


def test_controls_are_counted_apart(record: dict[str, Any]) -> None:
    controls = [c for c in record["claims"] if c["control"]]
    told = wording.answer(record["claims"])
    assert told.startswith(f"Of {len(record['claims']) - len(controls)} claims, ")
    assert told.endswith(f"{len(controls)} of {len(controls)} controls held.")


def test_only_our_own_dated_folders_are_removed(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "render", lambda record: "page")
    other = tmp_path / "2020-01-01T00-00-00Z"
    other.mkdir()
    (other / "somebody.txt").write_text("else's")
    for minute in range(22):
        run = record["run"] | {"started": f"2026-11-22T17:{minute:02}:00+00:00"}
        write(record | {"run": run}, tmp_path / "run.html")
    assert (other / "somebody.txt").read_text() == "else's"


def test_a_failed_control_is_announced(record: dict[str, Any]) -> None:
    broken = copy.deepcopy(record)
    control = next(claim for claim in broken["claims"] if claim["control"])
    control["verdict"] = "REFUTED"
    assert "1 control did not hold." in render(broken)
    assert "did not hold." not in render(record)


def test_an_incomplete_run_says_how_far_it_came(record: dict[str, Any]) -> None:
    partial = copy.deepcopy(record) | {"complete": False}
    partial["claims"][0] |= {
        "verdict": "ERROR",
        "statements": [],
        "deciding": None,
        "estimate": None,
        "interval": None,
        "n": None,
    }
    assert "incomplete: 30 of 31 claims decided" in render(partial)


def test_an_empty_record_renders(record: dict[str, Any]) -> None:
    empty = copy.deepcopy(record) | {"claims": [], "columns": [], "routing": {}, "models": {}, "counts": {}}
    assert "This run holds no claims." in render(empty)


def test_a_run_without_a_wrapped_model_renders(record: dict[str, Any]) -> None:
    alone = copy.deepcopy(record)
    del alone["models"]["wrapped"], alone["routing"]["wrapped"]
    alone["columns"] = [column for column in alone["columns"] if column["role"] == "trained"]
    assert "attn, trained" in render(alone)


@pytest.mark.parametrize("missing", [{}, {"sites": [], "sources": [], "mass": [], "entropy": [], "peak": []}])
def test_routing_without_sites_renders(record: dict[str, Any], missing: dict[str, Any]) -> None:
    quiet = copy.deepcopy(record) | {"routing": {"trained": missing}}
    assert "This run recorded no routing." in render(quiet)


def test_the_files_are_written_and_nothing_else(record: dict[str, Any], tmp_path: Path) -> None:
    assert write(record, tmp_path / "run.html") == tmp_path / "run.html"
    files, dated = ["run.effects.csv", "run.html", "run.json"], tmp_path / "2026-11-22T17-40-00Z"
    assert sorted(path.name for path in tmp_path.iterdir()) == [dated.name, *files]
    assert sorted(path.name for path in dated.iterdir()) == files
    assert json.loads((tmp_path / "run.json").read_text()) == record == json.loads((dated / "run.json").read_text())


def test_the_page_says_what_stands_behind_the_lock(record: dict[str, Any]) -> None:
    told = f"({len(record['claims'])} claims); committed c0ffeec0ffee on 2026-11-23"
    assert told in " ".join(render(record).split())
    del record["settings"]["registrations"]["attestation"]
    assert "committed c0ffee" not in render(record)


def test_a_part_of_a_run_replaces_no_report(record: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.html").write_text("of a whole run")
    found = write(record, tmp_path / "run.html", part=True)
    assert found == tmp_path / "2026-11-22T17-40-00Z" / "run.html"
    assert found.is_file()
    assert (tmp_path / "run.html").read_text() == "of a whole run"
    assert not (tmp_path / "run.json").exists()


def test_the_newest_dated_reports_stay(record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "render", lambda record: "page")
    (tmp_path / "notes").mkdir()
    for minute in range(23):
        run = record["run"] | {"started": f"2026-11-22T17:{minute:02}:00+00:00"}
        write(record | {"run": run}, tmp_path / "run.html")
    dated = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("2026"))
    assert dated == [f"2026-11-22T17-{minute:02}-00Z" for minute in range(3, 23)]
    assert (tmp_path / "notes").is_dir()


@pytest.mark.parametrize("broken", [{"question": float("nan")}, {"claims": None}])
def test_a_failure_keeps_the_old_files(record: dict[str, Any], tmp_path: Path, broken: dict[str, Any]) -> None:
    paths = tmp_path / "run.html", tmp_path / "run.json"
    for path in paths:
        path.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write(record | broken, paths[0])
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failing_disk_leaves_no_temporary_file(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write(record, tmp_path / "run.html")
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_unicode_is_written(record: dict[str, Any], tmp_path: Path) -> None:
    write(record | {"question": "lone \udc80 surrogate"}, tmp_path / "run.html")
    assert json.loads((tmp_path / "run.json").read_text())["question"] == "lone \udc80 surrogate"


def test_reporting_imports_no_torch() -> None:
    code = "import sys, attnres_core.report.html.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.8349, "nats/token", "+1.83"),
        (-0.19, "nats/token", f"{MINUS}0.190"),
        (0.0, "nats/token", "0"),
        (0.9996, "depth weight", "1.00"),
        (0.0831, "nats", "0.0831"),
        (0.163, "correlation", "+0.163"),
        (0.4, "logits", "+0.400"),
        (0.4, "nats/token per mass", "+0.400"),
        (0.00031, None, "0.000310"),
        (2.98e-8, None, f"2.98{TIMES}10⁻⁸"),
        (1234.6, None, "1,235"),
        (None, None, "\N{EN DASH}"),
    ],
)
def test_numbers_have_three_digits_and_effects_a_sign(value: float | None, unit: str | None, shown: str) -> None:
    assert numbers.number(value, unit) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.02, "0.02"), (0.00078, "0.00078"), (1e-6, "10⁻⁶"), (10.0, "10")])
def test_chosen_numbers_are_shown_as_chosen(value: float, shown: str) -> None:
    assert numbers.given(value) == shown


def test_a_missing_limit_is_infinite() -> None:
    assert numbers.interval((None, 0.5), "nats/token") == f"[{MINUS}∞, +0.500]"


def test_every_statement_is_a_row_of_effects_csv(record: dict[str, Any], tmp_path: Path) -> None:
    """Numbers as in the record; text that a spreadsheet would run stays text."""
    record = copy.deepcopy(record)
    record["claims"][0]["title"] = '=HYPERLINK("http://evil")'
    write(record, tmp_path / "run.html")
    rows = list(csv.DictReader((tmp_path / "run.effects.csv").read_text().splitlines()))
    statements = [(claim, statement) for claim in record["claims"] for statement in claim["statements"]]
    assert len(rows) == len(statements) > 10
    for row, (claim, statement) in zip(rows, statements, strict=True):
        assert row["claim"] == claim["node_id"]
        assert row["claim_verdict"] == claim["verdict"]
        assert row["statement"] == statement["text"]
        assert (row["p_holm"], row["p_by"]) == (str(claim["p_holm"]), str(claim["p_by"]))
        assert row["estimate"] == ("" if statement["estimate"] is None else str(statement["estimate"]))
        assert row["high"] == ("" if statement["high"] is None else str(statement["high"]))
    assert rows[0]["title"].startswith("'=")


def axes_of(spec: Any) -> list[dict[str, Any]]:
    """The axes of every y channel in a chart's specification."""
    if isinstance(spec, list):
        return [axis for each in spec for axis in axes_of(each)]
    if not isinstance(spec, dict):
        return []
    own = [y["axis"] for y in [spec.get("encoding", {}).get("y", {})] if isinstance(y, dict) and y.get("axis")]
    return own + [axis for name, part in spec.items() if name != "datasets" for axis in axes_of(part)]


def test_no_y_axis_is_drawn_along_the_bottom(record: dict[str, Any]) -> None:
    blocks = Page(render(record)).blocks
    drawn = [axis for name, block in blocks.items() if name.startswith("chart-") for axis in axes_of(json.loads(block))]
    assert drawn
    assert {axis.get("orient", "left") for axis in drawn} == {"left"}


def test_whatever_a_tooltip_of_the_map_names_is_in_its_rows(record: dict[str, Any]) -> None:
    spec = json.loads(Page(render(record)).blocks["chart-map"])
    for panel in spec["concat"]:
        for part in panel.get("layer", [panel]):
            named = {line["field"] for line in part["encoding"]["tooltip"]}
            assert named
            assert all(named <= row.keys() for row in spec["datasets"][(part.get("data") or panel["data"])["name"]])


def parts_of(spec: Any) -> list[dict[str, Any]]:
    """All objects in a chart's specification."""
    if isinstance(spec, list):
        return [part for each in spec for part in parts_of(each)]
    return (
        [spec, *parts_of([part for name, part in spec.items() if name != "datasets"])] if isinstance(spec, dict) else []
    )


def test_no_bar_is_as_long_as_a_bent_scale_makes_it(record: dict[str, Any]) -> None:
    """A bar between two given places (the zone that would support a claim) is shading; other bars stand on 0."""
    blocks = Page(render(record)).blocks
    parts = [
        part for name, block in blocks.items() if name.startswith("chart-") for part in parts_of(json.loads(block))
    ]
    bars = [part["encoding"] for part in parts if isinstance(part.get("mark"), dict) and part["mark"]["type"] == "bar"]
    lengths = [bar for bar in bars if "x2" not in bar]
    assert lengths
    assert {bar["x"]["scale"].get("type", "linear") for bar in lengths} == {"linear"}
    assert {bar["x"]["scale"]["domain"][0] for bar in lengths} == {0}


def test_zero_is_the_palest_colour_on_light_paper_and_the_darkest_on_dark() -> None:
    def light(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    on_light, on_dark = ([light(colour) for colour in colours] for colours in map_chart.DIVERGING)
    assert on_light.index(max(on_light)) == on_dark.index(min(on_dark)) == 2
    assert on_light == sorted(on_light[:3]) + sorted(on_light[3:], reverse=True)
    assert on_dark == sorted(on_dark[:3], reverse=True) + sorted(on_dark[3:])


def test_what_was_not_measured_has_a_mark_of_its_own(record: dict[str, Any]) -> None:
    """Neither an empty place nor the mark of zero: the sample's wrapped model lacks all effects of single sites."""
    specs = {
        name: json.loads(block) for name, block in Page(render(record)).blocks.items() if name.startswith("chart-")
    }
    panels = [panel for panel in specs["chart-map"]["concat"] if panel["title"].startswith("wrapped")]
    effects = [panel for panel in panels if panel["title"].endswith("effect")]
    assert len(effects) == 2
    for panel in effects:
        assert [layer["mark"]["type"] for layer in panel["layer"]] == ["rect", "text"]
    words = " ".join(" ".join(Page(render(record)).words).split())
    assert "96 of 192 effects were measured; a dash marks the others" in words


def ticks(axis: figure.Axis, pixels: int) -> list[float]:
    return list(axis.axis("title", "bottom", pixels).to_dict()["values"])


def test_ticks_keep_their_labels_apart() -> None:
    """On a symlog axis of ±100 bent at 0.01: zero and its neighbours lie log(1 + x / 0.01) of 2 log(10,001) apart."""
    axis = figure.Axis(0.01, -100.0, 100.0)
    for pixels, sizes in ((1000, [0.1, 1, 10, 100]), (300, [1, 100]), (120, [100])):
        assert ticks(axis, pixels) == [*(-size for size in reversed(sizes)), 0, *sizes]
        places = [axis._forward(tick) / (2 * math.log(10_001)) * pixels for tick in ticks(axis, pixels)]
        gaps = [after - before for before, after in itertools.pairwise(places)]
        assert min(gaps) >= figure.LABEL_PIXELS["bottom"]
        assert axis.axis("title", "bottom", pixels).to_dict()["format"] == ".4~g"  # (`~g` writes 10 as 1e+1)


def test_the_page_answers_its_own_question() -> None:
    """Of the drops of single families that claims decide: which are causal, and which have no role."""
    drop = sample_record.sample_record()
    columns = {(c["family"], c["sublayer"], c["layers"]): c for c in drop["columns"] if c["role"] == "trained"}

    def decided(family: str, op: Any, estimate: float, **given: Any) -> Any:
        own = sample_record.statement("effect", op, estimate, 0.001, 0.02) | {
            "column": columns[family, "mlp", "mid"]["name"]
        }
        return sample_record.claim(f"about {family}", own, group=None, **given)

    helps = decided("embedding", ">", 0.03)
    helps["statements"][0]["text"] = f"-{helps['statements'][0]['column']} > 0.02"  # (dropping it lowers the loss)
    wrapped = next(c for c in drop["columns"] if c["role"] == "wrapped")
    other = sample_record.statement("effect", ">", 3.0, 0.1, 0.02) | {"column": wrapped["name"]}
    drop["claims"] = [
        helps,
        decided("embedding", ">", 0.5),
        decided("current", ">", 4.0),
        decided("recent", "abs<", 0.001),
        decided("older", ">", 0.001),
        sample_record.claim("of another model", other, group=None),
    ]
    found = {what: [(f.pathway, f.effect) for f in own] for what, own in answer.pathway_findings(drop).items()}
    assert found == {
        "causal": [("current → mid mlp", "+4.00"), ("embedding → mid mlp", "+0.500")],
        "no role": [("recent → mid mlp", "+0.00100")],
        "less": [("older → mid mlp", "+0.00100")],
    }
    told = " ".join(" ".join(Page(render(drop)).words).split())
    assert "2 pathways are causal in attnres-tiny-12L: current → mid mlp (+4.00) , embedding" in told
    drop["claims"] = []
    assert "No supported claim says of a single pathway" in render(drop)


def test_numbers_that_are_none_are_written_as_what_they_are() -> None:
    assert numbers.number(float("nan"), "nats/token") == "NaN"
    assert numbers.number(float("-inf")) == f"{MINUS}∞"


def test_a_drop_at_every_site_is_in_no_chart_of_single_sublayers(record: dict[str, Any]) -> None:
    """It is one column of several sublayers; charts of pathways show those of one."""
    drops = family_drops(record["columns"])
    for sublayer in ("all_sites", "all_sublayers"):
        assert family_drops([column | {"sublayer": sublayer} for column in drops]) == []
        everywhere = [column | {"sublayer": sublayer} for column in record["columns"]]
        assert "<html" in render(record | {"columns": everywhere})
