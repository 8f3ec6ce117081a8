"""`pimloop selftest`: a good device passes, each fault is seen by the check for it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.fake_board import model_board

from pimloop.host.cli import main, selftest
from pimloop.host.execution.selftest import Subject, run_selftest
from pimloop.host.pim.device.base import Device, DeviceTimeoutError
from pimloop.host.pim.device.execution import Execution
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import Fields
from pimloop.host.platforms.platform import Platform, load_platform
from pimloop.rtl.tables.isa import SETTINGS, Opcode, Reg

PLATFORM = load_platform("htg-z920")
BUFFER_BYTES = 1 << 20


def failures(device: Device, platform: Platform = PLATFORM) -> dict[str, str]:
    """Return what each failed check says, by its name."""
    subject = Subject(device, platform, has_clock=False, timeout=1.0)
    return {check.name: check.detail for check in run_selftest(subject) if not check.passed}


class Faulty(ModelDevice):
    """A model whose descriptors are changed before they are executed."""

    def __init__(self, change: Callable[[Fields], Fields]) -> None:
        super().__init__(PLATFORM.geometry(), BUFFER_BYTES)
        self._execution = _Changed(change, self)


class _Changed(Execution):
    def __init__(self, change: Callable[[Fields], Fields], device: ModelDevice) -> None:
        super().__init__(device.geometry, device.memory, device.buffer, device.buffer_address)
        self._change = change

    def execute(self, d: Fields) -> None:
        super().execute(self._change(d))


@pytest.mark.parametrize("platform", ["htg-z920", "aim"])
def test_a_good_device_passes(platform: str) -> None:
    loaded = load_platform(platform)
    with ModelDevice(loaded.geometry(), BUFFER_BYTES) as device:
        assert failures(device, loaded) == {}


def test_a_board_over_the_simulated_device_passes(devices: Callable[[str], Device]) -> None:
    subject = Subject(devices("board_sim-per_bank"), PLATFORM, has_clock=True, timeout=60.0)
    checks = {check.name: check for check in run_selftest(subject)}
    assert [check for check in checks.values() if not check.passed] == []
    assert re.fullmatch(r"a copy of 64 bytes took [1-9]\d+ DRAM clocks", checks["counters"].detail)


def test_every_opcode_has_a_check() -> None:
    with ModelDevice(PLATFORM.geometry(), BUFFER_BYTES) as device:
        subject = Subject(device, PLATFORM, has_clock=False, timeout=1.0)
        names = [check.name for check in run_selftest(subject)]
    assert len(set(names)) == len(names)
    assert {f"opcode {opcode.name}" for opcode in Opcode} <= set(names)


def test_a_device_of_another_platform() -> None:
    with ModelDevice(load_platform("aim").geometry(), BUFFER_BYTES) as device:
        assert "not platform htg-z920: " in failures(device)["geometry"]


def test_a_memory_of_less_than_a_mebibyte_is_not_0_mib() -> None:
    """As 4 rows of 8 KiB in each of 16 banks, which fits the RAM of an FPGA."""
    platform = load_platform("htg-z920", {"pim.rows": "4"})
    with ModelDevice(platform.geometry(), BUFFER_BYTES) as device:
        checks = run_selftest(Subject(device, platform, has_clock=False, timeout=1.0))
        details = {check.name: check.detail for check in checks}
    assert details["geometry"] == "16 banks, 32 lanes, 512 KiB, as the platform says"


def test_a_register_bit_that_is_stuck() -> None:
    class Stuck(ModelDevice):
        def read32(self, offset: int) -> int:
            return super().read32(offset) | (1 << 9 if offset == Reg.HOST_SIZE_HI else 0)

    with Stuck(PLATFORM.geometry(), BUFFER_BYTES) as device:
        seen = failures(device)
    assert seen["registers"] == "HOST_SIZE_HI reads 0x00000201 instead of 0x00000001"


def test_registers_that_are_one_register() -> None:
    class Shared(ModelDevice):
        def write32(self, offset: int, value: int) -> None:
            super().write32(offset, value)
            if offset == Reg.LIST_HI:
                super().write32(Reg.HOST_BASE_HI, value)
            if offset == Reg.HOST_BASE_HI:
                super().write32(Reg.LIST_HI, value)

    with Shared(PLATFORM.geometry(), BUFFER_BYTES) as device:
        assert "LIST_HI reads 0x24242424 instead of 0x1C1C1C1C" in failures(device)["registers"]


@pytest.mark.parametrize("bit", [6, 17, 28])
def test_a_line_of_the_device_address_that_is_stuck(bit: int) -> None:
    stuck = Faulty(
        lambda d: dataclasses.replace(
            d, addr_a=d.addr_a & ~(1 << bit), addr_y=d.addr_y & ~(1 << bit)
        )
    )
    with stuck as device:
        seen = failures(device)
    assert "device memory at 0x" in seen["device addresses"]


def test_a_line_of_the_host_address_that_is_stuck() -> None:
    stuck = Faulty(
        lambda d: (
            dataclasses.replace(d, host=d.host & ~(1 << 18))
            if d.opcode in (Opcode.COPY_IN, Opcode.COPY_OUT)
            else d
        )
    )
    with stuck as device:
        assert "host memory at 0x" in failures(device)["host addresses"]


def test_a_data_line_that_is_stuck() -> None:
    class Stuck(Faulty):
        def wait_irq(self, timeout: float) -> None:
            super().wait_irq(timeout)
            self.memory[37 : 1 << 18 : 64] |= 4  # what crossed the bus lies there
            self.buffer[1 << 16 :][37::64] |= 4

    with Stuck(lambda d: d) as device:
        assert "0x04 instead of 0x00" in failures(device)["data lines"]


@pytest.mark.parametrize(
    ("opcode", "instead"),
    [
        (Opcode.ADD, Opcode.SUB),
        (Opcode.SUB, Opcode.ADD),
        (Opcode.MUL, Opcode.ADD),
        (Opcode.RELU, Opcode.FENCE),
        (Opcode.MATMUL, Opcode.FENCE),
        (Opcode.MATMUL_T, Opcode.FENCE),
        (Opcode.COPY_IN, Opcode.FENCE),
        (Opcode.COPY_OUT, Opcode.FENCE),
    ],
)
def test_an_opcode_that_does_something_else(opcode: Opcode, instead: Opcode) -> None:
    wrong = Faulty(lambda d: dataclasses.replace(d, opcode=instead) if d.opcode == opcode else d)
    with wrong as device:
        seen = failures(device)
    assert f"opcode {opcode.name}" in seen
    # A fault of one operation is blamed on no other.
    if opcode not in (Opcode.COPY_IN, Opcode.COPY_OUT):
        assert list(seen) == [f"opcode {opcode.name}"]


def test_copies_that_write_between_the_rows() -> None:
    whole = Faulty(
        lambda d: (
            dataclasses.replace(d, inner=d.stride_y)
            if d.opcode == Opcode.COPY_OUT and d.rows > 1
            else d
        )
    )
    with whole as device:
        assert set(failures(device)) == {"opcode COPY_IN", "opcode COPY_OUT"}


def test_an_interrupt_that_does_not_come() -> None:
    class Silent(ModelDevice):
        def wait_irq(self, timeout: float) -> None:
            raise DeviceTimeoutError(f"no interrupt within {timeout:g} s; STATUS=0x00000000")

    with Silent(PLATFORM.geometry(), BUFFER_BYTES) as device:
        seen = failures(device)
    assert "no interrupt within 1 s; STATUS=0x00000000" in seen["interrupt"]


def test_an_interrupt_that_comes_for_nothing() -> None:
    class Loud(ModelDevice):
        def wait_irq(self, timeout: float) -> None:
            try:
                super().wait_irq(timeout)
            except DeviceTimeoutError:
                return

    with Loud(PLATFORM.geometry(), BUFFER_BYTES) as device:
        assert failures(device) == {"timeout": "an interrupt came though no list was running"}


def test_an_interrupt_that_is_not_cleared() -> None:
    class Stuck(ModelDevice):
        def write32(self, offset: int, value: int) -> None:
            if offset != Reg.IRQ:
                super().write32(offset, value)

    with Stuck(PLATFORM.geometry(), BUFFER_BYTES) as device:
        seen = failures(device)
    assert "IRQ after it was cleared reads 0x00000001" in seen["interrupt"]


def test_a_reset_that_forgets_memory_or_keeps_registers() -> None:
    class Forgets(ModelDevice):
        def write32(self, offset: int, value: int) -> None:
            super().write32(offset, value)
            if offset == Reg.CTRL and value & 1:
                self.memory[:4096] = 0

    class Keeps(ModelDevice):
        def write32(self, offset: int, value: int) -> None:
            kept = {register: self.read32(register) for register in SETTINGS}
            super().write32(offset, value)
            if offset == Reg.CTRL and value & 1:
                for register, old in kept.items():
                    super().write32(register, old)

    with Forgets(PLATFORM.geometry(), BUFFER_BYTES) as device:
        assert "device memory after a soft reset" in failures(device)["soft reset"]
    with Keeps(PLATFORM.geometry(), BUFFER_BYTES) as device:
        assert "after reset reads" in failures(device)["soft reset"]


def test_counters_that_count_nothing() -> None:
    with ModelDevice(PLATFORM.geometry(), BUFFER_BYTES) as device:
        subject = Subject(device, PLATFORM, has_clock=True, timeout=1.0)
        failed = [check for check in run_selftest(subject) if not check.passed]
    assert [check.name for check in failed] == ["counters"]
    assert "0 clocks, 0 writes counted" in failed[0].detail


@pytest.mark.parametrize("device", ["model", "board"])
def test_the_command(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    monkeypatch.setattr(
        "pimloop.host.pim.device.open.open_board",
        lambda geometry, name: model_board(PLATFORM, tmp_path, BUFFER_BYTES, 1 << 32),
    )
    code = main(["selftest", "--device", device])
    captured = capsys.readouterr()
    # Behind this board is the model, whose counters are 0: a board's may not be.
    assert code == (0 if device == "model" else 1)
    assert ("21 checks, all passed." if code == 0 else "1 of 21 checks failed.") in captured.out
    assert ("checking: soft reset" in captured.err) == (device == "board")


def test_the_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--device", "model", "--json"]) == 0
    captured = capsys.readouterr()
    value = json.loads(captured.out)
    assert captured.err == ""
    assert (value["passed"], value["platform"], value["device"]) == (True, "htg-z920", "model")
    assert {"name", "passed", "detail", "wall_s"} == set(value["checks"][0])


def test_a_failed_check_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Faulty(
        lambda d: dataclasses.replace(d, opcode=Opcode.SUB) if d.opcode == Opcode.ADD else d
    )
    monkeypatch.setattr(selftest, "open_device", lambda *_, **__: wrong)
    assert main(["selftest", "--device", "model"]) == 1
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "opcode ADD" in line)
    assert "NO" in row
    assert "1 of 21 checks failed." in out
    assert np.count_nonzero([" NO " in line for line in out.splitlines()]) == 1


def test_where_there_is_no_board(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_BOARD_UIO", "no board")
    assert main(["selftest", "--device", "board"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pimloop selftest: there is no UIO device called 'no board'")
    assert error.count("\n") == 1
