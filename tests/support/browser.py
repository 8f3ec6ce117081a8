"""Pages in headless Chromium, driven by playwright: what the tests of reports share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, PHONE = (1440, 900), (390, 844)
BOUND_MS = 20_000


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """Launch the system's browser; fail when a process of it is left behind."""
    executable = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    before = set(psutil.Process().children(recursive=True))
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, timeout=60_000)
        started = set(psutil.Process().children(recursive=True)) - before
        yield launched
        launched.close()
    _, alive = psutil.wait_procs(started, timeout=20)
    for process in alive:
        process.kill()
    assert not alive, "the browser outlived its tests"


@contextmanager
def opened(browser: Browser, path: Path, size=WIDE, theme="light", script=True) -> Iterator[Page]:
    """Open a page; on leaving, fail on any script error, console message or request."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        reduced_motion="reduce",
        java_script_enabled=script,
        has_touch=size == PHONE,
    )
    context.set_default_timeout(BOUND_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: None if request.url == path.as_uri() else wrong.append(request.url),
    )
    try:
        page.goto(path.as_uri())
        yield page
        assert wrong == []
    finally:
        context.close()


def frame(page: Page) -> None:
    """Wait until what was asked for is on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")


#: Contrast of the text of elements with what is behind them (WCAG 2.1), the worst of a selector.
WORST_CONTRAST = """(selector) => {
  const channel = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (css) => css.match(/[\\d.]+/g).slice(0, 3)
    .reduce((sum, v, i) => sum + channel(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const box = element.parentElement.querySelector(":scope > rect.box");
    if (box) return getComputedStyle(box).fill;
    let paper = element;
    while (getComputedStyle(paper).backgroundColor === "rgba(0, 0, 0, 0)") {
      paper = paper.parentElement;
    }
    return getComputedStyle(paper).backgroundColor;
  };
  const ratios = [...document.querySelectorAll(selector)].map((element) => {
    const ink = getComputedStyle(element)[element instanceof SVGElement ? "fill" : "color"];
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
  return Math.min(...ratios);
}"""
