"""One browser and one record for the tests of the report; without Chromium those that need it skip and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from support.sample_record import sample_record


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium (Debian: `apt-get install chromium`), driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; the page's scripts are not run")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def record() -> Any:
    """A made-up record; tests of one file share it, and change copies."""
    return sample_record()
