"""docs/board-bring-up.md and its overlay say what the driver looks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.paths import REPOSITORY

from pimloop.host.pim.device.uio import (
    BUFFER_VARIABLE,
    UIO_VARIABLE,
    WINDOW_BYTES,
    BoardNames,
)
from pimloop.rtl.tables.isa import Reg

OVERLAY = REPOSITORY / "docs" / "examples" / "pim.dtso"
PAGE = (REPOSITORY / "docs" / "board-bring-up.md").read_text(encoding="utf-8")


def test_the_window_holds_every_register() -> None:
    top = (REPOSITORY / "rtl" / "pim_top.sv").read_text(encoding="utf-8")
    bits = re.search(r"input .*\[(\d+):0\] +s_axil_awaddr", top)
    assert bits is not None
    assert 2 ** (int(bits[1]) + 1) == WINDOW_BYTES > max(Reg)


def test_the_page_names_what_the_driver_looks_for() -> None:
    for name in (UIO_VARIABLE, BUFFER_VARIABLE, BoardNames.uio, BoardNames.buffer):
        assert f"`{name}`" in PAGE
    assert f"{WINDOW_BYTES // 1024} KiB at `0xA000_0000`" in PAGE


def test_the_page_names_every_port_of_the_device() -> None:
    top = (REPOSITORY / "rtl" / "pim_top.sv").read_text(encoding="utf-8")
    ports = set(re.findall(r"^  (?:input|output) .* (\w+),?$", top, re.M))
    assert {"clk_i", "rst_ni", "irq_o", "bus_rst_no", "m_axi_rdata", "mem_read_o"} <= ports
    groups = ("s_axil_", "m_axi_", "mem_")
    alone = {name for name in ports if not name.startswith(groups)}
    for name in (*alone, *(f"{group}*" for group in groups)):
        assert f"| `{name}` |" in PAGE, name


def test_the_overlay_is_what_the_driver_looks_for(tmp_path: Path) -> None:
    dtc = shutil.which("dtc")
    if dtc is None:
        pytest.skip("there is no dtc (Debian: device-tree-compiler)")
    blob = tmp_path / "pim.dtbo"
    made = subprocess.run(
        [dtc, "-@", "-I", "dts", "-O", "dtb", "-o", blob, OVERLAY],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (made.returncode, made.stderr) == (0, "")
    text = subprocess.run(
        [dtc, "-q", "-I", "dtb", "-O", "dts", blob],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    # UIO calls a device by its node without the address.
    node = re.search(rf"\b{BoardNames.uio}@a0000000 {{(.*?)}};", text, re.DOTALL)
    assert node is not None, text
    assert f"reg = <0x00 0xa0000000 0x00 0x{WINDOW_BYTES:x}>;" in node[1]
    # Level, high: as `irq_o` is.
    assert re.search(r"interrupts = <0x00 0x\w+ 0x04>;", node[1])
    assert f'device-name = "{BoardNames.buffer}";' in text
    assert "sync-mode = <0x03>;" in text
