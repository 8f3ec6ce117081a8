"""`pimloop gemm`, `pimloop elementwise` and `pimloop platforms` as a user calls them."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.fake_board import model_board

import pimloop.host.execution.kernels
import pimloop.host.pim.device.open
from pimloop.errors import PimloopError
from pimloop.host.cli import kernels, platforms
from pimloop.host.execution.kernels import run_gemm
from pimloop.host.pim.device.board import BoardDevice
from pimloop.host.pim.device.execution import Execution
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.pool import DevicePool
from pimloop.host.platforms.platform import load_platform, platform_names
from pimloop.rtl.tables.isa import Opcode
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError, DeviceTimeoutError


def call(*arguments: str) -> int:
    """Run a command; its errors are exceptions here."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    kernels.register(subparsers)
    platforms.register(subparsers)
    args = parser.parse_args(arguments)
    return int(args.func(args))


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert call(*arguments, "--json") == 0
    out = capsys.readouterr().out
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


KEYS = {"shape", "cycles", "us", "bit_exact", "counters", "wall_s", "cycles_per_s"}

#: The paper's board, microseconds.
BOARD = [
    ((8, 512, 512), 379),
    ((16, 512, 512), 740),
    ((8, 512, 2048), 1454),
    ((8, 768, 3072), 3264),
]


@pytest.mark.parametrize(("shape", "board_us"), BOARD)
def test_matmul_takes_what_it_takes_on_the_board(
    capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], board_us: float
) -> None:
    got = report(capsys, "gemm", *map(str, shape))
    assert got.keys() >= KEYS
    assert got["bit_exact"] is True
    assert got["us"] == pytest.approx(board_us, rel=0.10)
    assert got["us"] == pytest.approx(got["device_us"] + got["call_overhead_us"])  # type: ignore[operator]
    assert got["done_macs"] == got["useful_macs"]


@pytest.mark.parametrize("platform", ["htg-z920", "aim"])
@pytest.mark.parametrize(
    "options", [(), ("--bias",), ("--transposed",), ("--transposed", "--bias")]
)
def test_gemm_of_an_odd_shape(
    capsys: pytest.CaptureFixture[str], platform: str, options: tuple[str, ...]
) -> None:
    got = report(capsys, "gemm", "3", "70", "45", "--platform", platform, *options)
    assert got["bit_exact"] is True
    assert got["shape"] == [3, 70, 45]
    assert got["useful_macs"] == 3 * 70 * 45
    # Padding shows.
    assert got["done_macs"] > got["useful_macs"]  # type: ignore[operator]
    counters = got["counters"]
    assert isinstance(counters, dict)
    assert counters["mac"] > 0
    assert counters["rd"] > 0


def test_deep_gemm_is_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    got = report(capsys, "gemm", "1", "5000", "40")
    assert got["bit_exact"] is True
    assert got["descriptors"] == 3


def test_flavours_agree_and_seeds_differ(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        report(capsys, "gemm", "2", "64", "100", "--flavour", flavour, "--seed", seed)
        for flavour, seed in (("rtl", "1"), ("native", "1"), ("native", "2"))
    ]
    assert len({run["cycles"] for run in runs}) == 1
    assert all(run["bit_exact"] for run in runs)
    assert [run["flavour"] for run in runs] == ["rtl", "native", "native"]


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@pytest.mark.parametrize("broadcast", ["none", "row", "column", "scalar"])
def test_elementwise(capsys: pytest.CaptureFixture[str], op: str, broadcast: str) -> None:
    got = report(capsys, "elementwise", op, "9", "100", "--broadcast", broadcast)
    assert got.keys() >= KEYS
    assert got["bit_exact"] is True
    assert got["shape"] == [9, 100]
    assert got["cycles"] > 0  # type: ignore[operator]


@pytest.mark.parametrize("device", ["sim", "model"])
def test_an_operation_of_one_operand(capsys: pytest.CaptureFixture[str], device: str) -> None:
    got = report(capsys, "elementwise", "relu", "9", "100", "--device", device)
    assert got["bit_exact"] is True
    assert got["shape"] == [9, 100]
    assert got["broadcast"] is None
    assert got["descriptors"] == 2
    if device == "sim":
        two = report(capsys, "elementwise", "add", "9", "100")
        assert got["cycles"] < two["cycles"]  # type: ignore[operator]
        # Four beats a row, read and written once; the other reads B too.
        assert [got["counters"][name] for name in ("rd", "wr", "mac")] == [36, 36, 36]  # type: ignore[index]
        assert [two["counters"][name] for name in ("rd", "wr", "mac")] == [72, 36, 36]  # type: ignore[index]
    with pytest.raises(PimloopError, match="relu has no right operand to broadcast"):
        call("elementwise", "relu", "9", "100", "--broadcast", "none")


def test_model_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    got = report(capsys, "gemm", "3", "70", "45", "--device", "model")
    assert got["bit_exact"] is True
    for key in ("cycles", "us", "counters", "cycles_per_s", "done_macs"):
        assert got[key] is None
    assert call("gemm", "3", "70", "45", "--device", "model") == 0
    assert "no time" in capsys.readouterr().out


def test_on_a_board(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board's counters are its own; those of the model behind this one are 0."""

    def open_board(geometry: object, platform: str) -> BoardDevice:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        return model_board(load_platform("htg-z920"), folder, 1 << 22, 1 << 32)

    monkeypatch.setattr(pimloop.host.pim.device.open, "open_board", open_board)
    got = report(capsys, "gemm", "3", "70", "45", "--device", "board")
    assert got["bit_exact"] is True
    assert (got["device"], got["cycles"]) == ("board", 0)
    for key in ("flavour", "lanes", "cycles_per_s"):
        assert got[key] is None
    assert call("gemm", "3", "70", "45", "--device", "board") == 0
    out = capsys.readouterr().out
    assert "cycles (DRAM clocks)" in out
    assert "us of wall time on the board, Python included" in out
    with pytest.raises(PimloopError, match="--lanes would do nothing: a board's lanes are in its"):
        call("gemm", "1", "1", "1", "--device", "board", "--lanes", "rtl")
    with pytest.raises(PimloopError, match="only a simulated device shows its DRAM commands"):
        call("gemm", "1", "1", "1", "--device", "board", "--command-trace", "c.txt")
    with pytest.raises(PimloopError, match="only a simulated device has signals"):
        call("gemm", "1", "1", "1", "--device", "board", "--waves", str(tmp_path / "w.fst"))


def test_table_shows_time_padding_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gemm", "2", "64", "40") == 0
    out = capsys.readouterr().out
    for text in ("PIM time", "cycles (DRAM clocks)", "% useful", "M cycles/s", "yes"):
        assert text in out


def test_wrong_bits_are_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that computes something else is found out."""
    right = Execution.execute

    def wrong(self: Execution, d: object) -> None:
        right(self, d)  # type: ignore[arg-type]
        if d.opcode == Opcode.MATMUL:  # type: ignore[attr-defined]
            self._memory[d.addr_y] ^= 1  # type: ignore[attr-defined]

    monkeypatch.setattr(Execution, "execute", wrong)
    assert call("gemm", "3", "70", "45", "--device", "model", "--json") == 1
    assert json.loads(capsys.readouterr().out)["bit_exact"] is False
    assert call("gemm", "3", "70", "45", "--device", "model") == 1
    assert "NO" in capsys.readouterr().out


@pytest.mark.parametrize(("small", "code"), [(1e36, 1), (1e30, 0), (3e38, 0)])
def test_an_infinity_that_float32_does_not_have_is_exit_code_1(
    small: float, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest bfloat16 and 1e36 are 3.3995e38 in float32, beyond bfloat16; bits are right."""
    operands = iter([3.3895e38, small])
    monkeypatch.setattr(
        pimloop.host.execution.kernels,
        "_random",
        lambda _, shape: np.full(shape, next(operands), np.float32),
    )
    assert call("elementwise", "add", "2", "8", "--device", "model") == code
    out = capsys.readouterr().out
    wanted = "not finite: add (add, pim): 16 of 16 elements are not finite as in float32"
    assert (wanted in out) == (code == 1)
    assert "yes" in out


def test_transposed_runs_its_opcode(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    right = Execution.execute

    def spy(self: Execution, d: object) -> None:
        seen.append(d.opcode)  # type: ignore[attr-defined]
        right(self, d)  # type: ignore[arg-type]

    monkeypatch.setattr(Execution, "execute", spy)
    platform = load_platform("htg-z920")
    for transposed in (False, True):
        with ModelDevice(platform.geometry()) as device:
            assert run_gemm(device, platform, (2, 40, 9), transposed=transposed).bit_exact
    assert seen.count(Opcode.MATMUL) == seen.count(Opcode.MATMUL_T) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gemm", "0", "5", "5"), "0 x 5 x 5 has a size below 1"),
        (("elementwise", "add", "5", "0"), "5 x 0 has a size below 1"),
        (("gemm", "1000000", "1000000", "8"), "gemm 1000000 1000000 8 needs at least"),
        (("elementwise", "mul", "1000000", "1000"), "of 536870912 are free"),
        (("gemm", "1", "1", "1", "--platform", "nope"), "no platform 'nope'"),
        (("gemm", "1", "1", "1", "--waves", "x.fst"), "record waves with --device sim"),
        (("platforms", "show", "nope"), "no platform 'nope'"),
    ],
)
def test_bad_input_is_told(arguments: tuple[str, ...], message: str) -> None:
    extra = () if arguments[0] == "platforms" else ("--device", "model")
    with pytest.raises(PimloopError) as caught:
        call(*arguments, *extra)
    assert message in str(caught.value)


def test_a_negative_size_is_no_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call("gemm", "5", "-1", "5", "--device", "model")
    assert "argument Q: '-1' is not a number of 0 or more" in capsys.readouterr().err


def test_waves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is an FST waveform: a header block of type 0 and length 329."""
    path = tmp_path / "one.fst"
    got = report(capsys, "gemm", "1", "32", "32", "--waves", str(path))
    plain = report(capsys, "gemm", "1", "32", "32")
    assert got["cycles"] == plain["cycles"]
    content = path.read_bytes()
    assert content[0] == 0
    assert int.from_bytes(content[1:9], "big") == 329


# ---- platforms ---------------------------------------------------------------------------------


def test_list_of_platforms(capsys: pytest.CaptureFixture[str]) -> None:
    platforms = report(capsys, "platforms")["platforms"]
    assert isinstance(platforms, list)
    # The list of the files, so that a platform is added in one file.
    assert [platform["name"] for platform in platforms] == platform_names()
    assert {"aim", "htg-z920", "native"} <= set(platform_names())
    assert all(platform["capacity_bytes"] == 512 << 20 for platform in platforms)
    assert call("platforms") == 0
    assert "htg-z920" in capsys.readouterr().out


def test_platform_with_sources(capsys: pytest.CaptureFixture[str]) -> None:
    got = report(capsys, "platforms", "show", "htg-z920")
    values = got["values"]
    assert isinstance(values, dict)
    assert values["dram.tccd_l"] == {
        "value": 6,
        "unit": "DRAM clocks",
        "source": "JEDEC JESD79-4, DDR4-2400",
    }
    assert values["capabilities.activation_matmul"]["value"] is False
    assert (values["energy.mac_pj"]["value"], values["energy.mac_pj"]["others"]) == (
        2.1, [0.499, 0.32],
    )  # fmt: skip
    assert call("platforms", "show", "htg-z920") == 0
    out = capsys.readouterr().out
    assert "tccd_l" in out
    assert "(0.499" in out


def test_a_command_trace_for_drampower(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    options = ("--command-trace", str(trace), "--command-trace-format", "drampower")
    got = report(capsys, "gemm", "2", "64", "40", *options)
    names = Counter(line.split(",")[1] for line in trace.read_text().splitlines())
    assert trace.read_text().splitlines()[-1].split(",")[1] == "END"
    # The trace has the copies too.
    assert names["RD"] >= got["counters"]["rd"] > 0  # type: ignore[index]
    assert names["SREFEX"] >= 1
    with pytest.raises(PimloopError, match="--command-trace-format would do nothing"):
        call("gemm", "1", "1", "1", "--command-trace-format", "drampower")


def test_show_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("platforms", "show")
    assert "NAME" in capsys.readouterr().err


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """Let simulators be a program that never answers; return the bounds of the waits for it."""
    program = tmp_path / "build-name" / "simulator"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    waits: list[float] = []
    wait = SimDevice._receive

    def recorded(self: SimDevice, timeout: float, operation: str) -> dict[str, object]:
        waits.append(timeout)
        return wait(self, timeout, operation)

    monkeypatch.setattr("pimloop.sim.device.process.build", lambda _spec: program)
    monkeypatch.setattr("pimloop.sim.verilator.build.build", lambda _spec: program)
    monkeypatch.setattr(SimDevice, "_receive", recorded)
    return waits


@pytest.mark.parametrize("operation", [("gemm", "2", "3", "4"), ("elementwise", "add", "2", "3")])
def test_timeout_bounds_the_start_of_the_device(
    deaf: list[float], operation: tuple[str, ...]
) -> None:
    with pytest.raises(DeviceTimeoutError, match=r"no answer to start within 0\.25 s"):
        call(*operation, "--timeout", "0.25")
    assert deaf == [0.25]


def test_timeout_bounds_the_second_attempt_of_a_pool_too(deaf: list[float]) -> None:
    with DevicePool(load_platform("aim"), jobs=1, cache=False, timeout=0.25) as devices:
        job = devices.submit(lambda worker: worker.index)
        with pytest.raises(DeviceError, match="in 2 attempts"):
            job.result(60)
    assert deaf == [0.25, 0.25]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_timeout_is_a_positive_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("gemm", "2", "3", "4", "--timeout", seconds)
    assert "is not a positive number of seconds" in capsys.readouterr().err
