"""report.html of a generation in headless Chromium, on a desktop and on a phone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.browser import PHONE, WIDE, WORST_CONTRAST, frame, opened
from support.tiny_decoders import config_json

from pimloop.host.cli import main
from pimloop.host.report.generation.numbers import GROUPS
from pimloop.host.report.html.labels import format_us

SECTIONS = ["schedules", "prefill", "decode", "growth", "tokens", "repeat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a generation of a tiny decoder."""
    path = tmp_path_factory.mktemp("generation")
    (path / "config.json").write_text(json.dumps(config_json("llama")))
    command = ["sim", str(path / "config.json"), "--seq", "4", "--generate", "3"]
    assert main([*command, "--no-plots", "--quiet", "--out", str(path / "out")]) == 0
    return path / "out"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_page_of_a_generation_fits_and_can_be_read(browser, folder, size, theme):
    """Wide tables scroll in a frame of their own; no text is cut, none is pale."""
    with opened(browser, folder / "report.html", size, theme) as page:
        frame(page)
        sections = page.eval_on_selector_all("main > section", "all => all.map((s) => s.id)")
        assert sections == SECTIONS
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        outside = page.evaluate(
            """() => [...document.querySelectorAll("main *")]
              .filter((e) => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth)
              .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []
        for selector in (".help", ".platform", "thead th", "td.num", ".part:not(:empty)", ".quiet"):
            assert page.evaluate(WORST_CONTRAST, selector) >= 4.5, selector
        if size == WIDE:
            cut = page.eval_on_selector_all(
                ".scroll", "all => all.map((s) => s.scrollWidth - s.clientWidth)"
            )
            assert max(cut) <= 0


#: Of the labels in bars: how many can be seen, and of each of these what is cut of it, in pixels.
_LABELS = """() => [...document.querySelectorAll(".part:not(:empty)")].map((part) => {
  const range = document.createRange();
  range.selectNodeContents(part);
  const text = range.getBoundingClientRect(), box = part.getBoundingClientRect();
  if (text.top >= box.bottom) return null;
  return Math.max(box.left - text.left, text.right - box.right, text.bottom - box.bottom);
}).filter((cut) => cut !== null)"""


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_label_in_a_bar_is_whole_or_not_there(browser, folder, size):
    with opened(browser, folder / "report.html", size) as page:
        cut = page.evaluate(_LABELS)
        assert len(cut) > 5
        assert max(cut) <= 0.5


def test_the_parts_of_a_bar_are_in_a_table(browser, folder):
    """A phone shows no text on hovering."""
    report = json.loads((folder / "generation.json").read_text())
    with opened(browser, folder / "report.html", PHONE) as page:
        for phase in ("prefill", "decode"):
            details = page.locator(f"#{phase} details").first
            assert not details.locator("table").is_visible()
            details.locator("summary").tap()
            rows = details.locator("tbody tr")
            assert rows.count() == len(report["schedules"]) > 5
            for row, schedule in zip(rows.all(), report["schedules"], strict=True):
                groups = schedule["phases"][phase]["groups_us"]
                total = sum(groups.values())
                cells = row.locator("td").all_inner_texts()
                assert cells == [
                    f"{format_us(groups[g])} ({100 * groups[g] / total:.1f} %)" for g in GROUPS
                ]


def test_the_pages_of_both_phases_are_linked(browser, folder):
    with opened(browser, folder / "report.html") as page:
        links = page.eval_on_selector_all("main a", "all => all.map((a) => a.getAttribute('href'))")
    assert links == ["prefill/report.html", "decode/report.html"]
    for link in links:
        with opened(browser, folder / link, PHONE) as page:
            frame(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
