"""The documentation site: built without a warning, whole, and in need of nothing from elsewhere."""

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.util.inventory import InventoryFile

import attnres_core
from attnres_core import testing

ROOT = Path(__file__).parents[2]
LOADED = {"img": "src", "link": "href", "script": "src", "source": "src", "iframe": "src"}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """What a page refers to, and what in it can be referred to."""

    def __init__(self, file):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if LOADED.get(tag) in given:
            self.loads.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    command += ["-c", "docs/site", "-d", str(folder / "doctrees"), ".", str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder / "html"


def names_on(site, page):
    """Python names that a page documents."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    found = [item for kind, items in inventory.data.items() if kind.startswith("py:") for item in items.items()]
    return {name for name, item in found if item.uri.partition("#")[0] == page}


def test_every_public_name_is_on_the_api_page(site):
    public = {f"attnres_core.{name}" for name in attnres_core.__all__}
    for name, value in vars(testing).items():
        own = inspect.isfunction(value) or inspect.isclass(value)
        if own and value.__module__ == testing.__name__ and not name.startswith("_"):
            public.add(f"{testing.__name__}.{name}")
    assert len(public) > 70
    assert sorted(public - names_on(site, "docs/api.html")) == []


def test_every_internal_link_leads_somewhere(site):
    pages = {file: Page(file) for file in site.rglob("*.html")}
    assert len(pages) > 12
    followed = 0
    for file, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            aim = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert aim.is_file(), f"{file}: {link}"
            if parts.fragment and aim.suffix == ".html":
                assert unquote(parts.fragment) in pages[aim].ids, f"{file}: {link}"
            followed += 1
    assert followed > 500


def test_a_page_loads_nothing_from_elsewhere(site):
    for file in site.rglob("*.html"):
        for load in Page(file).loads:
            assert not urlsplit(load).scheme, f"{file}: {load}"
            assert not urlsplit(load).netloc, f"{file}: {load}"
    for file in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", file.read_text()), file


def test_docstrings_are_read_as_they_are_written(site):
    page = (site / "docs" / "api.html").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    assert "Source 0: the token embedding." in text  # (what stands before the colon is no type)
    assert "kept as checkpoint-&lt;number&gt; in its folder" in text
    assert not re.search(r"`|Args:|Returns:$|&lt;function", text)
