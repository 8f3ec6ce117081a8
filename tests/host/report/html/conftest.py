"""The browser of the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.browser import launched_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the system's browser, without a window."""
    with launched_browser() as launched:
        yield launched
