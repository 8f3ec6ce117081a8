"""report.html in headless Chromium: nothing fails, nothing is fetched, everything can be used.

Driven by playwright with the system's browser; every wait has a bound, and a browser process that
outlives the tests fails them.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from support import report_samples as samples
from support.browser import PHONE, WIDE, WORST_CONTRAST, frame, opened

from pimloop.host.report.html import write_html
from pimloop.host.report.html.labels import device_title

REPORTS = {
    "large": samples.make_report,
    "split": samples.coexec_report,
    "medium": lambda: samples.make_report(layers=4),
    "tiny": samples.tiny_report,
    "bare": samples.bare_report,
    "hostile": samples.hostile_report,
}

SECTIONS = (
    "schedules", "breakdown", "splits", "graph", "timeline", "what-if", "roofline", "dram",
    "profile", "operators", "verification", "repeat",
)  # fmt: skip

#: Those that a report has only with what they show.
OPTIONAL = {"splits": ("split",), "what-if": ("large", "split", "tiny", "hostile")}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in REPORTS.items():
        write_html(make(), folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in REPORTS}


@pytest.mark.parametrize(
    ("name", "size", "theme"),
    [
        ("large", WIDE, "light"),
        ("large", WIDE, "dark"),
        ("large", PHONE, "light"),
        ("large", PHONE, "dark"),
        ("split", WIDE, "light"),
        ("split", PHONE, "dark"),
        ("tiny", WIDE, "light"),
        ("tiny", PHONE, "dark"),
        ("bare", WIDE, "dark"),
        ("bare", PHONE, "light"),
        ("hostile", WIDE, "light"),
        ("hostile", PHONE, "dark"),
    ],
)
def test_the_page_loads_without_errors_and_fits(browser, pages, name, size, theme):
    with opened(browser, pages[name], size, theme) as page:
        frame(page)
        identifiers = page.eval_on_selector_all("main > section", "all => all.map((s) => s.id)")
        assert identifiers == [s for s in SECTIONS if name in OPTIONAL.get(s, (name,))]
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], f"{width - size[0]} pixels stick out on the right"
        light = page.evaluate(
            """getComputedStyle(document.body).backgroundColor
              .match(/\\d+/g).reduce((sum, value) => sum + Number(value), 0)"""
        )
        assert (light > 600) == (theme == "light")


#: Tables that every desktop shows whole.
WHOLE = ("schedules", "splits", "what-if", "roofline", "operators", "verification")


@pytest.mark.parametrize("width", [1600, 1200])
@pytest.mark.parametrize("name", ["large", "split"])
def test_tables_are_not_cut(browser, pages, name, width):
    with opened(browser, pages[name], (width, 900)) as page:
        for section in WHOLE:
            cut = page.eval_on_selector_all(
                f"#{section} .scroll", "all => all.map((s) => s.scrollWidth - s.clientWidth)"
            )
            assert max(cut, default=0) <= 0, f"{section}: {max(cut)} pixels are cut"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(browser, pages, theme):
    """WCAG 2.1, 1.4.3: at least 4.5 to 1."""
    with opened(browser, pages["medium"], theme=theme) as page:
        page.select_option("#graph-schedule", "greedy")
        for selector in (
            ".node .name", ".part:not(:empty)", ".help", ".platform", "thead th", "nav a",
            ".card-meaning", ".good", ".detail", "td.num", "summary", ".quiet",
        ):  # fmt: skip
            assert page.evaluate(WORST_CONTRAST, selector) >= 4.5, selector


def _hover(page: Page, element: Locator) -> str:
    """Put the pointer on an element and return what the tooltip shows."""
    element.scroll_into_view_if_needed()
    # A scroll hides the tooltip, and is told to the page a frame later.
    frame(page)
    frame(page)
    element.hover()
    assert page.locator("#tip").is_visible()
    return page.locator("#tip").text_content() or ""


def test_hovering_an_operator_shows_its_costs(browser, pages):
    report = samples.make_report(layers=4)
    node = report["graph"]["nodes"][15]
    with opened(browser, pages["medium"]) as page:
        tip = _hover(page, page.locator('#graph-view [data-node="15"]'))
        assert node["id"] in tip
        assert "▸ PIM: " in tip
        assert "(simulated)" in tip
        page.locator("#graph h2").hover()
        assert page.locator("#tip").is_hidden()


def test_the_chosen_schedule_is_the_same_everywhere(browser, pages):
    with opened(browser, pages["medium"]) as page:
        schedules = samples.make_report(layers=4)["schedules"]
        pim = page.locator("#graph-view .node.f-pim")
        assert page.locator("#graph-view .node").count() == 219
        assert 0 < pim.count() == schedules["optimal"]["pim_nodes"]
        assert page.locator("#graph-view .edge.moved").count() > 0
        page.select_option("#graph-schedule", "cpu_serial")
        assert page.locator("#graph-view .node.f-cpu_serial").count() == 219
        assert page.locator("#graph-view .edge.moved").count() == 0
        assert page.locator("#timeline-schedule").input_value() == "cpu_serial"
        assert page.locator('.strip[aria-pressed="true"]').inner_text().startswith("CPU serial")
        page.locator(".strip", has_text="PIM first").click()
        assert page.locator("#graph-schedule").input_value() == "pim_first"
        assert pim.count() == schedules["pim_first"]["pim_nodes"]
        assert page.locator("#timeline-detail").inner_text().startswith("PIM first")


def test_the_graph_zooms_and_obeys_the_keyboard(browser, pages):
    with opened(browser, pages["medium"]) as page:
        view = page.locator("#graph-view")
        size = "document.querySelector('#graph-view svg').getBoundingClientRect().width"
        fitted = page.evaluate(size)
        page.click('[data-zoom="graph"] [data-do="in"]')
        assert page.evaluate(size) == pytest.approx(1.3 * fitted, rel=0.01)
        page.click('[data-zoom="graph"] [data-do="fit"]')
        assert page.evaluate(size) == pytest.approx(fitted, rel=0.01)
        view.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.locator("#graph-detail").inner_text().startswith("Gather_1")
        page.keyboard.press("ArrowDown")
        assert page.locator("#graph-detail").inner_text().startswith("MatMul_15")
        page.keyboard.press("Escape")
        assert page.locator("#graph-view .selected").count() == 0


def test_finding_an_operator_dims_the_others(browser, pages):
    with opened(browser, pages["medium"]) as page:
        page.fill("#graph-find", "softmax")
        assert page.locator("#graph-view .node:not(.dim)").count() == 4
        page.fill("#graph-find", "")
        assert page.locator("#graph-view .node.dim").count() == 0


def test_the_timeline_zooms_pans_and_explains(browser, pages):
    with opened(browser, pages["medium"]) as page:
        page.locator("#timeline").scroll_into_view_if_needed()
        frame(page)
        segments = page.locator("#timeline-view .segment")
        everything = segments.count()
        steps = samples.make_report(layers=4)["schedules"]["optimal"]["timeline"]
        assert everything == len(steps)
        page.click('[data-zoom="timeline"] [data-do="in"]')
        page.click('[data-zoom="timeline"] [data-do="in"]')
        assert 0 < segments.count() < everything
        shown = page.locator("#timeline-detail").inner_text()
        page.focus("#timeline-view")
        page.keyboard.press("ArrowRight")
        assert page.locator("#timeline-detail").inner_text() != shown
        page.keyboard.press("0")
        assert segments.count() == everything
        longest = max(range(everything), key=lambda i: steps[i]["us"])
        tip = _hover(page, page.locator(f'[data-segment="{longest}"]'))
        assert steps[longest]["name"] in tip


def test_the_table_of_operators_sorts_filters_and_grows(browser, pages):
    with opened(browser, pages["medium"]) as page:
        rows = page.locator("#operators-table tbody tr")
        assert rows.count() == 25
        page.locator("#operators-table thead button", has_text="CPU serial").click()
        first = rows.first.inner_text()
        report = samples.make_report(layers=4)
        dearest = max(report["graph"]["nodes"], key=lambda node: node["cost_us"]["cpu_serial"])
        assert dearest["id"] in first
        page.fill("#operators-find", "softmax")
        assert rows.count() == 4
        page.fill("#operators-find", "")
        page.get_by_role("button", name="Show all").click()
        assert rows.count() == 219


def test_the_breakdown_switches_between_operators_and_devices(browser, pages):
    with opened(browser, pages["medium"]) as page:
        by = '.breakdown[data-view="{}"]'
        assert page.locator(by.format("operator")).is_visible()
        assert page.locator(by.format("device")).is_hidden()
        page.check("input[value=device]")
        assert page.locator(by.format("operator")).is_hidden()
        assert page.locator(by.format("device")).is_visible()
        page.locator(by.format("device") + " summary").click()
        assert "PIM" in page.locator(by.format("device") + " table").inner_text()


def test_the_roofline_and_the_matrix_explain_themselves(browser, pages):
    with opened(browser, pages["medium"]) as page:
        tip = _hover(page, page.locator("#roofline-view .point").last)
        assert "% of the roof" in tip
        report = samples.make_report(layers=4)
        cells = page.locator("#matrix-view [data-cell]")
        assert cells.count() == 219 * report["profile"]["runs"]
        tip = _hover(page, page.locator('[data-cell="1,20"]'))
        assert tip.startswith("run 2\n")


def test_the_command_can_be_copied(browser, pages):
    with opened(browser, pages["medium"]) as page:
        page.click("#copy")
        # Not `wait_for_function`: it evaluates text, which the page's policy forbids on a retry.
        expect(page.locator("#copy")).to_have_text(re.compile("Copied|Selected"))
        assert page.locator("#command").inner_text() == (
            "pimloop sim tiny --seq 16 --platform htg-z920"
        )


def test_hostile_names_are_shown_and_never_run(browser, pages):
    with opened(browser, pages["hostile"]) as page:
        assert page.title().startswith("tiny")
        assert page.locator("img").count() == 0
        first = samples.hostile_report()["graph"]["nodes"][0]["id"]
        shown = page.locator("#operators-table tbody th").first.text_content()
        assert shown == first
        tip = _hover(page, page.locator('#graph-view [data-node="0"]'))
        assert tip.startswith(first)
        tip = _hover(page, page.locator("#schedules .bar-row").last)
        # A line separator is shown as a character that breaks no line.
        assert samples.HOSTILE.replace("\u2028", "\ufffd") in tip


def test_a_phone_can_use_it(browser, pages):
    with opened(browser, pages["medium"], PHONE) as page:
        page.locator('#graph-view [data-node="0"]').tap()
        assert page.locator("#graph-detail").inner_text().startswith("Gather_0")
        page.locator(".strip", has_text="Greedy").tap()
        assert page.locator("#timeline-schedule").input_value() == "greedy"


def test_without_scripts_the_numbers_are_there(browser, pages):
    with opened(browser, pages["medium"], script=False) as page:
        text = page.locator("body").inner_text()
        report = samples.make_report(layers=4)
        assert f"{report['speedup']['cpu_serial']:.2f}" in text
        assert "drawn by a script" in text
        assert page.locator("#schedules table.schedules").is_visible()
        assert page.locator(".stack .part").first.is_visible()


def test_it_prints(browser, pages):
    with opened(browser, pages["medium"]) as page:
        document = page.pdf(format="A4")
        assert document.startswith(b"%PDF-")
        pages_printed = len(re.findall(rb"/Type\s*/Page\b", document))
        assert 3 <= pages_printed <= 14
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()


@pytest.mark.full
def test_two_thousand_operators_are_drawn(browser, tmp_path):
    report = samples.make_report(layers=40)
    path = tmp_path / "report.html"
    write_html(report, path)
    assert path.stat().st_size < 3_000_000
    with opened(browser, path) as page:
        assert page.locator("#graph-view .node").count() == len(report["graph"]["nodes"]) == 2019
        page.select_option("#graph-schedule", "greedy")
        assert (
            page.locator("#graph-view .node.f-pim").count()
            == (report["schedules"]["greedy"]["pim_nodes"])
        )


def test_a_split_operator_shows_both_parts_and_why(browser, pages):
    """In the schedule that splits it: bars, a frame in the timeline, its share, other places."""
    report = samples.coexec_report()
    schedule = report["schedules"]["coexec"]
    operator = next(iter(schedule["splits"]))
    index = [node["id"] for node in report["graph"]["nodes"]].index(operator)
    with opened(browser, pages["split"]) as page:
        page.select_option("#graph-schedule", "coexec")
        frame(page)
        assert page.locator("#timeline-view .together").count() == len(schedule["splits"])
        first = page.locator("#splits .split-row").first
        sides = [side.bounding_box() for side in first.locator(".side").all()]
        assert sides[0]["x"] == sides[1]["x"]  # both parts begin together
        page.locator(f'#operators-table [data-operator="{index}"] button').click()
        detail = page.locator("#operators-table td.why")
        us = schedule["splits"][operator]["us"]
        apart = max(us.values()) - min(us.values())
        expect(detail).to_contain_text(f"both sides finish within {apart:.1f} µs of each other")
        first_done = device_title(min(us, key=us.__getitem__))
        expect(detail).to_contain_text(f"of each other, {first_done} first")
        alternatives = schedule["placement"]["alternatives"][operator]
        regrets = sorted(alternative["regret_us"] for alternative in alternatives)
        expect(detail).to_contain_text(f"until it takes {regrets[0]:.2f} µs longer here")
        shown = detail.locator("tbody tr")
        assert shown.count() == len(alternatives)
        page.locator(f'#graph-view [data-node="{index}"]').click()
        expect(page.locator("#graph-detail tbody tr")).to_have_count(len(alternatives))


def test_rounded_times_are_no_overlap(browser, tmp_path):
    """Steps one after the other are one row of a strip, whatever their decimals are."""
    report = samples.tiny_report()
    schedule = report["schedules"]["optimal"]
    rng, now, steps = random.Random(2), 0.0, []
    for number in range(200):
        us = rng.uniform(1.0, 9.0)
        lane = "pim" if number % 2 else "cpu_serial"
        steps.append({**schedule["timeline"][0], "lane": lane, "start_us": now, "us": us})
        now += us
    schedule["timeline"] = steps
    write_html(report, tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        heights = page.eval_on_selector_all(
            "#strips .strip:first-child rect", "all => all.map((r) => r.getAttribute('height'))"
        )
        assert len(heights) == 200
        assert set(heights) == {"16"}
