"""One product by the C driver on a soft CPU; faults of data, list and interrupt are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.execution import soc
from pimloop.host.execution.soc import check_gemm, compile_gemm, main, run_product
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages
from pimloop.sim.soc.firmware import find_compiler
from pimloop.sim.soc.machine import PACKAGES, Bus, Machine, build_machine

# Each bus is a simulator of its own, which takes minutes to build.
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def parts() -> None:
    try:
        require_packages("the SoC", PACKAGES, "soc")
        find_compiler()
    except SimError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def machine(parts: None) -> Machine:
    return build_machine("axi", load_platform("htg-z920").rtl_parameters())


# Rows and columns that are no whole beats, several beats in a row, several column tiles.
@pytest.mark.parametrize("shape", [(4, 64, 96), (1, 1, 1), (3, 70, 45), (2, 33, 600)])
def test_a_product_has_the_bits_of_the_golden_model(
    machine: Machine, shape: tuple[int, int, int]
) -> None:
    product, mismatch = check_gemm(machine, shape, seed=sum(shape))
    assert mismatch is None
    assert 0 < product.dram_clocks < 4 * product.cpu_clocks < 4 * product.soc_clocks


@pytest.mark.parametrize(("bus", "platform"), [("axi-lite", "htg-z920"), ("wishbone", "aim")])
def test_other_buses_and_the_other_style(parts: None, bus: Bus, platform: str) -> None:
    other = build_machine(bus, load_platform(platform).rtl_parameters())
    assert check_gemm(other, (3, 70, 45))[1] is None


def test_one_wrong_bit_of_the_weights_is_seen(machine: Machine) -> None:
    rng = np.random.default_rng(1)
    a = golden.to_bf16_bits(rng.standard_normal((2, 16), np.float32))
    b = golden.to_bf16_bits(rng.standard_normal((16, 40), np.float32))
    rom = compile_gemm(machine)
    expected = golden.matmul(a, b)
    assert (run_product(machine, rom, a, b).y == expected).all()
    b[9, 37] ^= 0x0040
    wrong = run_product(machine, rom, a, b).y != expected
    assert set(np.argwhere(wrong)[:, 1].tolist()) == {37}


def test_a_cache_that_is_not_dropped_is_seen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = (soc.DRIVER / "soc" / "pim_soc.c").read_text(encoding="utf-8")
    assert port.count("  board_drop_cache();\n") == 1
    (tmp_path / "pim_soc.c").write_text(port.replace("  board_drop_cache();\n", ""))
    sources = [p for p in soc.SOURCES if p.name != "pim_soc.c"]
    monkeypatch.setattr(soc, "SOURCES", (*sources, tmp_path / "pim_soc.c"))
    with pytest.raises(PimloopError, match="ended with PENDING"):
        check_gemm(machine, (1, 1, 1))


def test_no_interrupt_in_time_is_an_error_of_the_driver(machine: Machine) -> None:
    rom = compile_gemm(machine, "-DTIMEOUT_MS=0u")
    # The device needs longer for it than the CPU to begin to wait.
    a, b = np.full((4, 64), 0x3F80, np.uint16), np.full((64, 96), 0x3F80, np.uint16)
    with pytest.raises(PimloopError, match="error running the list: no interrupt within 0 ms"):
        run_product(machine, rom, a, b)


def test_a_refused_descriptor_is_an_error_of_the_driver(machine: Machine) -> None:
    depth = load_platform("htg-z920").device.scalar_depth
    a = np.zeros((1, depth + 1), np.uint16)
    with pytest.raises(PimloopError, match=r"descriptor 1 of the list, .* SIZE"):
        run_product(machine, compile_gemm(machine), a, a.reshape(-1, 1))


def test_shapes_that_do_not_fit_are_refused(machine: Machine) -> None:
    rom = compile_gemm(machine)
    large = np.zeros((1, 1 << 18), np.uint16)
    with pytest.raises(PimloopError, match=r"take 1048588 bytes, half of .* 524288: choose"):
        run_product(machine, rom, large, large.reshape(-1, 1))
    tall = np.zeros((9000, 1), np.uint16)
    with pytest.raises(PimloopError, match="list and padded operands do not fit the buffer"):
        run_product(machine, rom, tall, np.zeros((1, 1), np.uint16))


def test_the_command_says_what_it_did(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["2", "8", "5"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("gemm 2 x 8 x 5", "axi bus", "of DRAM", "CPU clocks", "golden model yes"):
        assert text in printed


def test_the_command_ends_with_1_when_bits_differ(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = golden.matmul
    monkeypatch.setattr(soc.golden, "matmul", lambda a, b: right(a, b) ^ np.uint16(1))
    assert main(["1", "2", "3"]) == 1
    assert "NO: gemm: 3 of 3 elements differ" in capsys.readouterr().out


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["1", "2", "3", "--platform", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no platform 'nowhere'")


def test_an_installed_package_has_no_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(soc, "DRIVER", tmp_path / "c")
    with pytest.raises(PimloopError, match="use a clone"):
        compile_gemm(Machine(tmp_path, ""))
