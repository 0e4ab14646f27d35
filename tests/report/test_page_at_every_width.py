"""The page as somebody sees it: three widths, light and dark, on paper, and what is saved from it.

Two pages are opened once, and drawn again for each width: of a made-up record, and of all claims that ship. The first
screens and the charts of the former are held against pictures in `pictures/`, charts in narrow windows in the light
scheme alone: the dark one changes nothing but colours. After a change that is meant to be seen:
`ATTNRES_KEEP_PICTURES=1 pytest` this file, then LOOK at the pictures that changed.

Two pictures are compared in tiles: the mean colour of each square of 16 pixels. Letters that are smoothed otherwise, or
moved by a pixel, change a tile by a few hundredths of its range; a mark, a label or a line that comes, goes or changes
its colour changes its tiles by more. Where the browser has other fonts, lines break elsewhere: those are not compared.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shipped_record import shipped_record

from attnres_core.report.html.page import write

PICTURES = Path(__file__).parent / "pictures"
WIDTHS, SCHEMES, HEIGHT = (390, 800, 1280), ("light", "dark"), 800
CHARTS = ("forest-0", "scatter", "pairs", "map", "heatmap")
TILE = 16
"""CSS pixels on a side; letters are smaller."""
STEP, SHARE = 12, 0.01
"""A tile has changed beyond so many of 255 steps; a picture has where more than this share of its tiles have."""


@pytest.fixture(scope="module")
def page(browser: Any, record: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from opened(browser, record, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def shipped(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from opened(browser, shipped_record(), tmp_path_factory.mktemp("shipped"))


def opened(browser: Any, record: Any, folder: Path) -> Iterator[Any]:
    """The record's page in the browser; it must have complained of nothing when it is closed."""
    path = folder / "run.html"
    write(record, path)
    context = browser.new_context(viewport={"width": 1280, "height": HEIGHT}, accept_downloads=True)
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"file://{path}")
    yield page
    assert complaints == []
    context.close()


def see(page: Any, width: int = 1280, scheme: str = "light") -> None:
    """Give the page this width and scheme, with all filters and claims as at first, and wait until it is drawn."""
    page.emulate_media(media="screen", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.evaluate(
        """async () => {
            for (const one of document.querySelectorAll("details[open]")) one.open = false;
            clear();
            await redraw();
            scrollTo(0, 0);
        }"""
    )


FAULTS = """() => {
    const faults = [], box = (one) => one.getBoundingClientRect();
    for (const svg of document.querySelectorAll("svg.marks")) {
        const own = box(svg), seen = box(svg.closest(".scroll")), chart = svg.closest(".chart").id || "distribution";
        if (own.width === 0) continue;
        const boxed = (selector) => [...svg.querySelectorAll(selector)].map((one) => ({ one, ...box(one).toJSON() }));
        const texts = boxed("text").filter(({ one, width }) => one.textContent.trim() && width > 0);
        texts.forEach((text, index) => {
            for (const other of texts.slice(index + 1)) {
                const wide = Math.min(text.right, other.right) - Math.max(text.left, other.left);
                const high = Math.min(text.bottom, other.bottom) - Math.max(text.top, other.top);
                if (wide > 2 && high > 3)
                    faults.push(`${chart}: ${text.one.textContent} lies on ${other.one.textContent}`);
            }
        });
        const marks = boxed(".mark-symbol path, .mark-rect path, .mark-rule line").filter(({ width }) => width > 1);
        for (const { one, left, right, bottom } of [...texts, ...marks])
            if (left < seen.left - 1 || right > seen.right + 1 || bottom > own.bottom + 1)
                faults.push(`${chart}: ${one.textContent || one.getAttribute("aria-label")} is cut off`);
    }
    const wider = document.documentElement.scrollWidth - innerWidth;
    return wider > 0 ? [...faults, `the page is ${wider} px wider than the window`] : faults;
}"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_lies_on_another_and_nothing_is_cut_off(page: Any, width: int, scheme: str) -> None:
    see(page, width, scheme)
    assert page.locator("main > section > figure svg.marks").count() == 8
    claim = page.locator("details.claim", has_text="Current state matters more early")
    claim.locator("> summary").click()
    for title in ("Over documents", "By path"):
        claim.locator(".folds summary", has_text=title).click()
    claim.locator(".chart svg").nth(1).wait_for()
    assert page.evaluate(FAULTS) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_all_shipped_claims_are_drawn_apart(shipped: Any, width: int) -> None:
    see(shipped, width)
    assert shipped.locator("[id^=chart-forest] :is(.words_label_marks, .words_above_marks) text").count() > 100
    assert shipped.evaluate(FAULTS) == []


def test_all_shipped_claims_take_under_twenty_sheets(shipped: Any, tmp_path: Path) -> None:
    see(shipped)
    assert 10 < sheets(shipped, tmp_path / "page.pdf") < 20


def sheets(page: Any, pdf: Path) -> int:
    """The sheets of paper that the page takes, in its own style for paper."""
    page.emulate_media(media="print")  # (`see` asked for the screen's)
    page.pdf(path=pdf, format="A4")
    return len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes()))


def test_a_fault_would_be_found(page: Any) -> None:
    see(page)
    page.evaluate(
        """() => {
            const texts = document.querySelectorAll("#chart-scatter .role-axis-label text");
            texts[1].setAttribute("transform", texts[0].getAttribute("transform"));
            document.querySelector("#chart-pairs svg").style.marginLeft = "900px";
        }"""
    )
    found = page.evaluate(FAULTS)
    assert any("chart-scatter" in fault and "lies on" in fault for fault in found)
    assert any("chart-pairs" in fault and "is cut off" in fault for fault in found)


COMPARED = """async ({ one, other, tile }) => {
    const tiles = async (picture) => {
        const image = new Image();
        image.src = picture;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [Math.ceil(image.width / tile), Math.ceil(image.height / tile)];
        const whole = document.createElement("canvas");
        [whole.width, whole.height] = [image.width, image.height];
        const pencil = whole.getContext("2d", { willReadFrequently: true });
        pencil.drawImage(image, 0, 0);
        const { data } = pencil.getImageData(0, 0, image.width, image.height);
        const sums = new Float64Array(canvas.width * canvas.height * 4);
        for (let y = 0; y < image.height; y++)
            for (let x = 0; x < image.width; x++) {
                const from = 4 * (y * image.width + x);
                const to = 4 * (Math.floor(y / tile) * canvas.width + Math.floor(x / tile));
                for (const channel of [0, 1, 2]) sums[to + channel] += data[from + channel];
                sums[to + 3] += 1;
            }
        return { size: [image.width, image.height], sums };
    };
    const [a, b] = [await tiles(one), await tiles(other)];
    if (a.size.some((length, index) => Math.abs(length - b.size[index]) > 2)) return { sizes: [a.size, b.size] };
    const count = Math.min(a.sums.length, b.sums.length) / 4;
    const steps = Array.from({ length: count }, (_, at) => Math.max(...[0, 1, 2].map((channel) =>
        Math.abs(a.sums[4 * at + channel] / a.sums[4 * at + 3] - b.sums[4 * at + channel] / b.sums[4 * at + 3]))));
    return { steps };
}"""
HALVED = """async ({ picture }) => {
    const image = new Image();
    image.src = picture;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(image.width / 2), Math.round(image.height / 2)];
    const pencil = canvas.getContext("2d");
    pencil.imageSmoothingQuality = "high";
    pencil.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
}"""
FONTS = """() => {
    const pencil = document.createElement("canvas").getContext("2d");
    const fonts = ["15px system-ui, sans-serif", "600 13px system-ui, sans-serif", "12px ui-monospace, monospace"];
    return fonts.map((font) => {
        pencil.font = font;
        return Math.round(pencil.measureText("The quick brown fox measures 0123456789 nats/token").width);
    });
}"""


def url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def halved(page: Any, picture: bytes) -> bytes:
    """The picture at half its size, as it is kept."""
    return base64.b64decode(page.evaluate(HALVED, {"picture": url(picture)}).partition(",")[2])


def changed(page: Any, one: bytes, other: bytes) -> str:
    """How two pictures differ, in words; empty where they look the same."""
    found = page.evaluate(COMPARED, {"one": url(one), "other": url(other), "tile": TILE // 2})
    if "sizes" in found:
        return f"their sizes are {found['sizes']}"
    beyond = sum(step > STEP for step in found["steps"])
    share = beyond / len(found["steps"])
    return f"{share:.1%} of {len(found['steps'])} tiles differ" if share > SHARE else ""


def held_against(page: Any, name: str, shot: bytes, tmp_path: Path) -> None:
    """Compare a picture with the one that is kept, or keep it."""
    kept, fonts = PICTURES / f"{name}.png", PICTURES / "fonts.json"
    now = halved(page, shot)
    if os.environ.get("ATTNRES_KEEP_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        kept.write_bytes(now)
        fonts.write_text(json.dumps(page.evaluate(FONTS)) + "\n")
    if page.evaluate(FONTS) != json.loads(fonts.read_text()):
        pytest.skip("this browser has other fonts than the one that the pictures are from: lines break elsewhere")
    difference = changed(page, kept.read_bytes(), now)
    if difference:
        (tmp_path / f"{name}.png").write_bytes(now)
    assert not difference, (
        f"{name}: {difference}. Look at {kept} and at {tmp_path / name}.png; if the change is meant, run this file "
        "with ATTNRES_KEEP_PICTURES=1 and commit the pictures"
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_screen_looks_as_it_did(page: Any, width: int, scheme: str, tmp_path: Path) -> None:
    see(page, width, scheme)
    held_against(page, f"first-screen-{width}-{scheme}", page.screenshot(), tmp_path)


def test_the_first_screen_answers(page: Any) -> None:
    """The question, its answer, the counts and the verdicts by source are seen before anybody scrolls."""
    see(page)
    for selector in ("h1", ".answer", ".counts", ".facts", "nav", ".sources"):
        assert page.locator(selector).bounding_box()["y"] >= 0, selector
        assert page.locator(selector).evaluate("one => one.getBoundingClientRect().bottom") <= HEIGHT, selector


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (800, "light"), (390, "light")])
def test_charts_look_as_they_did(page: Any, width: int, scheme: str, tmp_path: Path) -> None:
    see(page, width, scheme)
    for key in CHARTS:
        shot = page.locator(f"#chart-{key}").screenshot()
        held_against(page, f"{key}-{width}-{scheme}", shot, tmp_path)


def test_a_picture_that_changed_would_be_found(page: Any) -> None:
    """A colour, a missing mark and a dark page; the same page twice looks the same."""
    see(page)
    chart = page.locator("#chart-map")
    before = halved(page, chart.screenshot())
    assert changed(page, before, halved(page, chart.screenshot())) == ""
    page.evaluate("document.querySelectorAll('#chart-map .mark-rect')[1].style.opacity = 0")
    assert "tiles differ" in changed(page, before, halved(page, chart.screenshot()))
    see(page, scheme="dark")
    assert "tiles differ" in changed(page, before, halved(page, chart.screenshot()))


def test_an_opened_claim_fits_one_screen(page: Any) -> None:
    see(page)
    for claim in page.locator("details.claim").all():
        claim.evaluate("one => { one.open = true; fill(one); }")
        height = claim.evaluate("one => one.getBoundingClientRect().height")
        assert height <= HEIGHT, claim.inner_text()[:80]
        claim.evaluate("one => { one.open = false; }")


def test_paper_breaks_no_number(page: Any, tmp_path: Path) -> None:
    see(page)
    closed = sheets(page, tmp_path / "closed.pdf")
    page.evaluate("document.querySelectorAll('details.claim').forEach((one, index) => { one.open = index < 3; })")
    page.wait_for_function("() => document.querySelectorAll('.folds').length >= 3")
    assert sheets(page, tmp_path / "opened.pdf") > closed  # (what somebody opened is printed)
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins
    broken = page.evaluate(
        r"""() => [...document.querySelectorAll("td, .value, .whole")]
            .filter((one) => one.checkVisibility() && /^[\[+\u2212<>\d][^a-z]*$/.test(one.textContent.trim()))
            .filter((one) => {
                const range = document.createRange();
                range.selectNodeContents(one);
                const boxes = [...range.getClientRects()];
                return boxes.some((box) => box.top > boxes[0].bottom - 1);
            }).map((one) => one.textContent)"""
    )
    assert broken == []
    heights = page.evaluate("[...document.querySelectorAll('figure')].map((one) => one.getBoundingClientRect().height)")
    assert max(heights) < 1017  # of a sheet, in its margins


def saved(page: Any, button: Any) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        button.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_figure_is_saved_as_svg_and_png_for_white_paper(page: Any) -> None:
    see(page, scheme="dark")
    tools = page.locator("#figure-forest-0 .tools")
    name, svg = saved(page, tools.get_by_role("button", name="SVG"))
    text = svg.decode()
    assert name == "attnres-tiny-12l-nats-token.svg"
    assert text.startswith("<svg")
    assert "Embedding source is necessary for early MLP" in text
    assert '"#ffffff"' in text
    assert "#85898f" not in text  # the page's grey, of words on any paper
    name, png = saved(page, tools.get_by_role("button", name="PNG"))
    assert name == "attnres-tiny-12l-nats-token.png"
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) > 2000  # pixels across: twice the page's


def test_tables_and_claims_are_saved_as_csv(page: Any, record: Any) -> None:
    see(page)
    name, content = saved(page, page.get_by_role("button", name="verdicts by source as CSV"))
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert name == "attnres-tiny-12l-verdicts-by-source.csv"
    assert rows[0][:3] == ["source", "claims", "SUPPORTED"]
    assert [row[:2] for row in rows[1:]] == [["arXiv:2606.13168", "26"], ["no source", "1"]]
    page.select_option("[name=group]", "Wrapped baseline")
    page.wait_for_function("() => document.querySelector('.matching').textContent.startsWith('3 of 31')")
    _, content = saved(page, page.locator("#verdicts > p .tools button"))
    shown = list(csv.DictReader(io.StringIO(content.decode())))
    claims = {claim["node_id"]: claim for claim in record["claims"]}
    assert len(shown) == 3
    for row in shown:
        assert float(row["estimate"]) == claims[row["claim"]]["estimate"]
        assert row["verdict"] == claims[row["claim"]]["verdict"]


def test_csv_holds_numbers_as_numbers_and_no_formula(page: Any) -> None:
    written = [
        "\u22120.190",
        "+1,235",
        "5.77\u00d710\u207b\u2078",
        "[+0.1, +0.2]",
        "=1+1",
        "+x",
        "@a",
        'a "b", c',
        "1.0",
    ]
    read = ["-0.190", "+1235", "5.77e-8", "[+0.1, +0.2]", "'=1+1", "'+x", "'@a", 'a "b", c', "1.0"]
    assert list(csv.reader([page.evaluate("rows => csv(rows)", [written]).rstrip()])) == [read]


def test_filters_say_when_nothing_matches_and_what_no_chart_shows(page: Any) -> None:
    see(page)
    told = page.locator(".filters output")
    assert told.inner_text() == "31 of 31 claims shown. 2 claims of these have no estimate and are in no chart."
    page.fill("[name=text]", "nothing has this in it")
    page.locator("#evidence .nothing").wait_for()
    assert page.locator("#verdicts .nothing").is_visible()
    assert page.locator("details.claim:visible").count() == 0
    page.locator("#verdicts [data-clear]").click()
    page.locator("#evidence .nothing").wait_for(state="hidden")
    assert page.locator("details.claim:visible").count() == 31


def test_a_source_leads_to_its_claims(page: Any) -> None:
    see(page)
    page.locator("[data-source='no source']").click()
    page.wait_for_function("() => document.querySelector('.matching').textContent.startsWith('1 of 31')")
    assert page.locator("details.claim:visible").all_inner_texts()[0].startswith("Wrapped weights do not depend")


def test_every_claim_and_figure_has_a_link_of_its_own(page: Any, record: Any) -> None:
    see(page)
    figures = page.locator("main > section > figure")
    for figure in figures.all():
        assert figure.locator(".tools a").get_attribute("href") == f"#{figure.get_attribute('id')}"
    page.evaluate("location.hash = 'figure-map'")
    page.wait_for_function("() => Math.abs(document.querySelector('#figure-map').getBoundingClientRect().top) < 3")
    page.fill("[name=text]", "Embedding")
    page.wait_for_function("() => document.querySelector('.matching').textContent.startsWith('7 of')")
    hidden = next(claim for claim in record["claims"] if claim["title"].startswith("Recent block"))
    page.evaluate("id => { location.hash = encodeURIComponent(id); }", hidden["node_id"])
    opened = page.locator("details.claim[open]")
    opened.wait_for()  # although the filter had hidden it
    assert hidden["title"] in opened.inner_text()
    link = opened.locator("dd a", has_text=hidden["node_id"])
    assert link.get_attribute("href") == page.evaluate("location.hash")


def test_navigation_has_the_headings_in_their_order(page: Any) -> None:
    assert page.locator("nav a").all_inner_texts() == page.locator("h2").all_inner_texts()
    assert page.locator("nav a").all_inner_texts()[:3] == [
        "Verdicts by source",
        "What disagrees",
        "The evidence for each claim",
    ]
