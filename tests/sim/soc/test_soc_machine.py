"""The simulated SoC: its parameters, its programs, and what it says where something is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pimloop.sim.device.config import parameter_defaults
from pimloop.sim.errors import SimError
from pimloop.sim.soc import firmware
from pimloop.sim.soc.firmware import compile_program, find_compiler
from pimloop.sim.soc.machine import DEVICE, Machine, build_machine


@pytest.fixture
def compiler() -> str:
    try:
        return find_compiler()
    except SimError as error:
        pytest.skip(str(error))


def header(**changes: int) -> str:
    """Return a header as `system` writes it."""
    values = {
        "CLOCK_HZ": 100_000_000, "UART_RXTX": 0xF0001000, "UART_TXFULL": 0xF0001004,
        "UART_TXEMPTY": 0xF0001018, "FINISH": 0xF0000800, "PIM": 0x90000000, "PIM_INTERRUPT": 1,
        "ROM": 0, "SRAM": 0x10000000, "MAIN_RAM": 0x40000000, "ROM_BYTES": 1 << 16,
        "SRAM_BYTES": 1 << 14, "MAIN_RAM_BYTES": 1 << 20,
    } | changes  # fmt: skip
    return "".join(f"#define SOC_{name} 0x{value:X}\n" for name, value in values.items())


def test_the_device_in_the_soc_has_the_parameters_of_the_test_bench() -> None:
    text = DEVICE.read_text(encoding="utf-8")
    declared = {n: int(v) for n, v in re.findall(r"parameter int (\w+) = (\d+)", text)}
    assert declared == parameter_defaults()
    connected = re.findall(r"^      \.(\w+)\(\1\),?$", text, re.MULTILINE)
    assert set(connected) >= set(declared)


def test_a_program_begins_at_the_reset_address(compiler: str, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text('#include "board.h"\nint main(void) { board_print("x"); return 5; }\n')
    rom = compile_program([source], [], header(), tmp_path)
    assert 100 < len(rom) < 1 << 16
    # auipc sp, ...: the first instruction of crt0.S.
    assert int.from_bytes(rom[:4], "little") & 0xFFF == 0x117


def test_a_program_that_is_wrong_is_refused_with_its_line(compiler: str, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(SimError, match=r"main\.c:1:25: error: 'nothing' undeclared"):
        compile_program([source], [], header(), tmp_path)


def test_a_program_without_room_for_its_stack_is_refused(compiler: str, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    with pytest.raises(SimError, match="less than 4 KiB are left for the stack"):
        compile_program([source], [], header(SRAM_BYTES=4096), tmp_path)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimError, match=r"no RISC-V compiler .* install one with: sudo apt-get"):
        find_compiler()


def test_a_compiler_without_a_library_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / firmware.COMPILERS[0]
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SimError, match=r"has no picolibc for RV32IM; install it with: sudo"):
        find_compiler()


def test_a_bus_that_there_is_not_is_refused() -> None:
    with pytest.raises(SimError, match="there is no bus 'pci'; choose one of axi, axi-lite, wish"):
        build_machine("pci", {})  # type: ignore[arg-type]


def simulator(folder: Path, script: str) -> Machine:
    program = folder / "simulator"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Machine(program, header())


def test_words_lie_where_the_memories_read_them(tmp_path: Path) -> None:
    script = "cat pimloop_soc_rom.init pimloop_soc_main_ram.init; echo 'clocks 7 code 3' >&2"
    run = simulator(tmp_path, script).run(b"\1\2\3\4\5", {8: b"\xff"}, 100)
    assert run.console.split() == ["@0", "04030201", "00000005", "@2", "000000ff"]
    assert (run.clocks, run.code) == (7, 3)


def test_a_program_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SimError, match=r"did not end within 100 clocks\n  hello"):
        simulator(tmp_path, "echo hello; echo 'clocks 100' >&2").run(b"", {}, 100)


def test_a_simulator_that_stops_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SimError, match=r"exit code 134\n  %Error: assertion"):
        simulator(tmp_path, "echo '%Error: assertion' >&2; exit 134").run(b"", {}, 100)


def test_a_program_larger_than_the_rom_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SimError, match="the program has 65537 bytes, the ROM 65536"):
        simulator(tmp_path, "true").run(bytes(65537), {}, 100)
