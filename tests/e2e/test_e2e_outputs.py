"""What a run leaves can be drawn again, and one operator recorded."""

from __future__ import annotations

import json

import pytest

import pimloop.host.cli


def test_a_report_can_be_drawn_again(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["sim", tiny, "--seq", "4", "--device", "model", "--out", str(out), "--quiet"]
    assert pimloop.host.cli.main(arguments) == 0
    drawn = ["report.html", "trace.json"]
    before = {name: (out / name).read_bytes() for name in drawn}
    for name in drawn:
        (out / name).unlink()
    capsys.readouterr()
    assert pimloop.host.cli.main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "report.json").read_text())
    assert {name: (out / name).read_bytes() for name in drawn} == before


@pytest.mark.full
def test_waves_of_one_operator(tiny, tmp_path, capsys):
    from support import fst_reader

    assert pimloop.host.cli.main(["waves", tiny, "--node", "nothing"]) == 2
    names = capsys.readouterr().err.partition("some that the PIM runs: ")[2].split(", ")
    path = tmp_path / "one.fst"
    arguments = ["waves", tiny, "--node", names[0], "-o", str(path), "--json"]
    assert pimloop.host.cli.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["node"] == names[0]
    fst = fst_reader.read(path)
    # Four DRAM clocks in a fabric clock of 3,333,332 fs; the file holds the whole operator.
    assert (fst.end - fst.start) >= result["cycles"] // 4 * 3_333_332
