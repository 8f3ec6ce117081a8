"""A command trace as DRAMPower reads it, against what each command is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimloop.sim.check.drampower import drampower_lines, main
from pimloop.sim.check.protocol import Channel

BOARD, AIM = Channel.of_platform("htg-z920"), Channel.of_platform("aim")

TRACE = """\
# pimloop command trace 1: clock command bank row column
0 RES all - -
8 SRX all - -
440 REF all - -
860 ACT 6 17 -
877 RD 6 17 3
901 WR 6 17 4
960 PRE 6 - -
980 ACT 7 1 -
1100 PRE all - -
1120 SRE all - -
"""


def csv(trace: str, channel: Channel) -> list[list[str]]:
    lines = list(drampower_lines(trace.splitlines(keepends=True), channel))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [line.strip().split(",") for line in lines]


def test_every_command_has_its_name_and_place() -> None:
    data = "00" * 64
    assert csv(TRACE, BOARD) == [
        ["0", "SREFEN", *"00000"],
        ["8", "SREFEX", *"00000"],
        ["440", "REFA", *"00000"],
        # timestamp, command, rank, bank group (bank modulo groups), bank, row, column
        ["860", "ACT", "0", "2", "6", "17", "0"],
        ["877", "RD", "0", "2", "6", "17", "3", data],
        ["901", "WR", "0", "2", "6", "17", "4", data],
        ["960", "PRE", "0", "2", "6", "0", "0"],
        ["980", "ACT", "0", "3", "7", "1", "0"],
        ["1100", "PREA", *"00000"],
        ["1120", "SREFEN", *"00000"],
        ["1120", "END", *"00000"],
    ]


def test_a_command_of_all_banks_is_one_for_each() -> None:
    rows = csv("0 SRX all - -\n9 ACT all 5 -\n50 RD all 5 2\n90 PRE all - -\n", AIM)
    for name, column in (("ACT", "0"), ("RD", "2")):
        made = [row for row in rows if row[1] == name]
        assert [row[4] for row in made] == [str(bank) for bank in range(16)]
        assert {(row[0], row[5], row[6]) for row in made} == {
            ("9" if name == "ACT" else "50", "5", column)
        }
    assert [row[1] for row in rows[-2:]] == ["PREA", "END"]


def test_a_reset_closes_banks_and_puts_the_device_to_sleep_once() -> None:
    rows = csv("0 RES all - -\n4 SRX all - -\n9 ACT 0 1 -\n20 RES all - -\n40 RES all - -\n", BOARD)
    assert [(row[0], row[1]) for row in rows] == [
        ("0", "SREFEN"), ("4", "SREFEX"), ("9", "ACT"), ("20", "PREA"), ("20", "SREFEN"),
        ("40", "END"),
    ]  # fmt: skip
    assert csv("", BOARD) == [["0", "END", *"00000"]]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.txt"
    trace.write_text(TRACE, encoding="utf-8")
    assert main([str(trace), "--platform", "htg-z920"]) == 0
    assert capsys.readouterr().out == "".join(drampower_lines(TRACE.splitlines(), BOARD))
    for given, platform in ((tmp_path / "none", "htg-z920"), (trace, "none")):
        assert main([str(given), "--platform", platform]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    trace.write_text("0 NAP all - -\n", encoding="utf-8")
    assert main([str(trace), "--platform", "htg-z920"]) == 2
    assert "unknown command 'NAP'" in capsys.readouterr().err
