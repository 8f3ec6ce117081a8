"""Reports of older versions: read, with what they had wrong left out."""

from __future__ import annotations

import json

from support import report_samples as samples

from pimloop.host.report.build import read_report
from pimloop.host.report.format.versions import FORMAT, upgrade
from pimloop.host.report.html.page import render
from pimloop.host.report.html.rates import rate_rows


def test_version_2_is_read_without_the_numbers_it_had_wrong(tmp_path):
    old = samples.version_2()
    (tmp_path / "report.json").write_text(json.dumps(old), encoding="utf-8")
    report = read_report(tmp_path)
    assert report["executed_kind"] == "simulated"
    for point, before in zip(report["roofline"]["points"], old["roofline"]["points"], strict=True):
        assert point["ideal_bytes"] == before["bytes"]
        assert point["bytes"] is point["limited_by"] is None
    assert {"row_hit_rate", "bus_use"}.isdisjoint(report["counters"])
    assert report["counters"]["refresh_share"] == old["counters"]["refresh_share"]
    assert all(row.gb_per_s is None for row in rate_rows(report))
    assert "not counted" in render(report)


def test_times_measured_in_version_2_stay_measured():
    old = samples.version_2()
    for node in old["graph"]["nodes"]:
        node["source"]["cpu_serial"] = "measured"
    assert upgrade(old)["executed_kind"] == "measured"


def test_today_is_left_as_it_is():
    report = samples.tiny_report()
    assert report["format"] == FORMAT
    assert upgrade(report) is report
