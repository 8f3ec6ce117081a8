"""Take the pictures of the README from the report.html of a run.

    make sim MODEL=bert SEQ=16
    .venv/bin/python docs/img/make.py out/bert-16-htg-z920/report.html

Needs playwright and Pillow, and a Chromium on PATH. Colours are cut to a palette to keep the
pictures small; nothing else is changed.
"""

from __future__ import annotations

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parent
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(report: Path) -> None:
    """Write every picture into this folder."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, timeout=60_000)
        page = open_page(browser, report, WIDE, "light")
        save("report", page.screenshot())
        save("schedules", page.locator("#schedules").screenshot())
        save("breakdown", page.locator("#breakdown").screenshot())
        save("graph", graph(page))
        page = open_page(browser, report, WIDE, "dark")
        save("report-dark", page.screenshot())
        save("timeline", page.locator("#timeline").screenshot())
        save("profile", page.locator("#profile").screenshot())
        page = open_page(browser, report, PHONE, "light")
        save("phone", page.screenshot())
        browser.close()


def open_page(browser: Browser, report: Path, size: dict[str, int], theme: str) -> Page:
    """Return the report in a window of its own, without the menu that stays on the screen."""
    page = browser.new_page(viewport=size, color_scheme=theme, reduced_motion="reduce")
    page.set_default_timeout(20_000)
    page.goto(report.resolve().as_uri())
    page.add_style_tag(content="nav { position: static !important; }")
    page.wait_for_timeout(300)
    return page


def graph(page: Page) -> bytes:
    """Return the model graph with the costs of a matrix multiplication of the first layer."""
    page.set_viewport_size({"width": WIDE["width"], "height": 1260})
    section = page.locator("#graph")
    section.evaluate("section => section.scrollIntoView()")
    page.wait_for_timeout(300)
    node = page.locator('.node:is(.f-pim, .f-split):has(.code:text-is("MM"))').nth(2).bounding_box()
    box = section.bounding_box()
    assert node is not None
    assert box is not None
    # Twice, so that the pointer moves: a scroll hides the costs.
    for offset in (2, 4):
        page.mouse.move(node["x"] + offset, node["y"] + 4)
    page.wait_for_timeout(300)
    return page.screenshot(clip=box)


def save(name: str, picture: bytes) -> None:
    """Write a picture in 256 colours."""
    path = FOLDER / f"{name}.png"
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make.py REPORT.html")
    main(Path(sys.argv[1]))
