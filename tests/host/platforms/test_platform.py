"""Platform files: what comes with pimloop is valid and complete; what is wrong is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from support.paths import REPOSITORY

from pimloop.host.cli import main
from pimloop.host.platforms.platform import (
    PlatformError,
    load_platform,
    platform_names,
    platform_path,
    sources,
)

NAMES = ("aim", "aim-a53", "htg-z920", "native")


def test_names() -> None:
    assert tuple(platform_names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_value_has_a_source(name: str) -> None:
    platform = load_platform(name)
    assert platform.name == name
    source_of = sources(platform_path(name))
    cpu = len(fields(platform.cpu)) if platform.cpu else 0
    # Energy: three values, then 13 of currents or 7 of energies and 2 of all banks, 2 of a CPU.
    energy = 3 + (7 + 2 if name.startswith("aim") else 13) + (2 if platform.cpu else 0)
    assert len(source_of) == 15 + 21 + 4 + 7 + 5 + cpu + energy
    assert all(source.strip() for _, source in source_of.values())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_top_level(name: str) -> None:
    """Every parameter of the RTL is set, so that no default of it is used unseen."""
    rtl = REPOSITORY / "rtl" / "pim_top.sv"
    header = rtl.read_text(encoding="utf-8").split(") (")[0]
    declared = set(re.findall(r"parameter int unsigned (\w+)", header))
    assert set(load_platform(name).rtl_parameters()) == declared - {"NativeLanes"}


def test_the_board() -> None:
    platform = load_platform("htg-z920")
    parameters = platform.rtl_parameters()
    assert (parameters["TRcdRd"], parameters["TCcdL"], parameters["TRefi"]) == (17, 6, 9360)
    geometry = platform.geometry()
    assert geometry.capacity == 512 << 20
    assert geometry.beat_bytes == geometry.atom_bytes == 64
    assert platform.driver.tile_columns == geometry.tile_columns == 512
    assert not platform.capabilities.activation_matmul
    assert load_platform("native").capabilities.activation_matmul
    assert load_platform("native").device == platform.device


def test_the_device_of_aim_beside_the_processor_of_the_board() -> None:
    """Each part with the values of its own platform, so that the two can be compared."""
    both, aim, board = (load_platform(name) for name in ("aim-a53", "aim", "htg-z920"))
    for section in ("device", "dram", "host_memory", "capabilities_section"):
        assert getattr(both, section) == getattr(aim, section)
    assert both.driver == replace(aim.driver, conversion="modelled")
    assert (both.cpu, both.transfers) == (board.cpu, board.transfers)
    ours, theirs, cpu = (p.file_constants() for p in (both, aim, board))
    assert ours is not None
    assert theirs is not None
    assert cpu is not None
    assert ours == replace(
        theirs,
        core_mw=cpu.core_mw,
        static_mw=cpu.static_mw,
        host_link_pj_per_bit=cpu.host_link_pj_per_bit,
    )


def test_all_bank_beat() -> None:
    geometry = load_platform("aim").geometry(native_lanes=True)
    assert geometry.beat_bytes == 16 * 32
    assert geometry.native_lanes
    assert geometry.bank_span == geometry.capacity


def test_times() -> None:
    platform = load_platform("htg-z920")
    assert platform.device_us(1_200_000) == pytest.approx(1000, rel=1e-6)
    overhead = platform.driver.call_overhead_us
    assert 15 <= overhead <= 25
    assert platform.pim_time_us(0) == overhead
    assert platform.pim_time_us(1200, calls=3) == pytest.approx(1 + 3 * overhead, rel=1e-6)


@pytest.mark.parametrize(
    ("direction", "elements", "board_us"),
    # Means of the paper's BERT at 16 and 32 tokens, published.
    [
        (("cpu", "pim"), 8192, 102.74),
        (("cpu", "pim"), 65536, 622.8),
        (("pim", "cpu"), 8192, 167.0),
        (("pim", "cpu"), 65536, 1166.6),
    ],
)
def test_transfers_take_what_they_take_on_the_board(
    direction: tuple[str, str], elements: int, board_us: float
) -> None:
    platform = load_platform("htg-z920")
    assert platform.transfer_us(*direction, elements) == pytest.approx(board_us, rel=0.08)


# ---- bad files ---------------------------------------------------------------------------------


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes the board's file with a piece replaced."""

    def edit(old: str, new: str) -> Path:
        text = platform_path("htg-z920").read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path = tmp_path / "mine.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return edit


BANKS = 'banks = { value = 16, unit = "banks", source = "DDR4-2400 x8, 16 banks (JESD79-4)" }'


CORES = 'cores = { value = 4, unit = "cores", source = "the paper\'s board: quad Cortex-A53" }'
SPEEDUP = "[cpu.product_speedup]\nvalue = "


def banks(value: str, unit: str = "banks", more: str = "") -> str:
    return f'banks = {{ value = {value}, unit = "{unit}", source = "mine"{more} }}'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (BANKS, "", "the key device.banks is missing"),
        (BANKS, "banks = 16", r"device\.banks must be a table with source, unit, value"),
        (BANKS, 'banks = { value = 16, source = "x" }', "the key device.banks.unit is missing"),
        (BANKS, 'banks = { value = 16, unit = "banks" }', "the key device.banks.source is missing"),
        (BANKS, banks("16", more=", note = 1"), "the key device.banks.note is unknown"),
        (BANKS, banks("16", unit="bank"), "device.banks.unit must be 'banks', not 'bank'"),
        (BANKS, banks("16").replace("mine", " "), "device.banks.source must say"),
        (BANKS, banks('"16"'), "device.banks.value must be a whole number, not '16'"),
        (BANKS, banks("16.0"), "device.banks.value must be a whole number, not 16.0"),
        (BANKS, banks("true"), "device.banks.value must be a whole number, not True"),
        (BANKS, banks("0"), "device.banks.value must be at least 1, not 0"),
        (BANKS, banks("12"), "device.banks.value must be a power of two, not 12"),
        (BANKS, banks("256"), "at most 4 GiB"),
        (BANKS, banks("2"), "device.bank_groups does not divide device.banks"),
        (BANKS, BANKS + "\nbancs = 1", "the key device.bancs is unknown; known here: acc_groups"),
        ("[dram]\n", "[drams]\n", "the key dram is missing"),
        ("[host_memory]\n", "[more]\n\n[host_memory]\n", "the key more is unknown"),
        ('title = "', 'title = ""\nother = "', "the key other is unknown"),
        ('value = "modelled"', 'value = "guessed"', "driver.conversion.value: 'guessed' is not"),
        ('value = ["MatMul"', 'value = ["Conv", "MatMul"', "operators.value: 'Conv' is not one of"),
        ("value = false", "value = 0", "activation_matmul.value: 0 is not one of False, True"),
        ("value = 21.0", "value = nan", "call_overhead_us.value must be at least 0"),
        (
            "value = 9.51",
            'value = "9.51"',
            "transfers.cpu_to_pim_ns_per_element.value must be",
        ),
        ("[driver.tile_columns]\nvalue = 512", "[driver.tile_columns]\nvalue = 500", "multiple"),
        ("[device.lanes]\nvalue = 32", "[device.lanes]\nvalue = 64", "a beat feeds at most 32"),
        ("title =", "title", "is not TOML"),
        (CORES, "", "the key cpu.cores is missing"),
        (CORES, CORES + "\nGHz = 1", "the key cpu.GHz is unknown; known here: batched_call_us"),
        (CORES, 'cores = { value = 4, source = "x" }', "the key cpu.cores.unit is missing"),
        (CORES, CORES.replace("4,", "0,"), "cpu.cores.value must be at least 1, not 0"),
        (CORES, CORES.replace("4,", "4.5,"), "cpu.cores.value must be a whole number, not 4.5"),
        (
            "[cpu.erf_ns]\nvalue = ",
            "[cpu.erf_ns]\nvalue = -",
            "cpu.erf_ns.value must be at least 0",
        ),
        ("[cpu.erf_ns]\n", "[cpu.erf_ns]\nmore = 1\n", "the key cpu.erf_ns.more is unknown"),
        (SPEEDUP, SPEEDUP + "0.5 # ", "cpu.product_speedup.value must be at least 1, not 0.5"),
        (SPEEDUP, SPEEDUP + "4.1 # ", "cpu.product_speedup is 4.1 on cpu.speedup_cores = 4"),
    ],
)
def test_bad_file_is_named(
    edited: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    path = edited(old, new)
    with pytest.raises(PlatformError) as caught:
        load_platform(str(path))
    assert "mine.toml" in str(caught.value)
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(("name", "cores"), [("htg-z920", 4), ("native", None), ("aim", None)])
def test_only_the_board_has_a_cpu_model(name: str, cores: int | None) -> None:
    """Elsewhere CPU times are measured on this machine."""
    model = load_platform(name).cpu_model()
    assert (model.parameters.cores if model else None) == cores
    if model is not None:
        assert name in model.source
        assert f"{cores} cores" in model.method


def test_a_platform_may_leave_the_cpu_out(tmp_path: Path) -> None:
    text = platform_path("htg-z920").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.split("[cpu]")[0], encoding="utf-8")
    assert load_platform(str(path)).cpu is None
    path.write_text(text.split("[cpu]")[0] + "[cpu]\n", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"the key cpu\.batched_call_us is missing"):
        load_platform(str(path))


def test_show_prints_the_cpu_section(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        assert main(["platforms", "show", name, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        cpu = [key for key in data["values"] if key.startswith("cpu.")]
        modelled = name in ("aim-a53", "htg-z920")
        assert bool(cpu) == modelled
        assert ("modelled" in data["cpu"]) == modelled
    assert main(["platforms", "show", "htg-z920"]) == 0
    assert "cpu.erf_ns" in capsys.readouterr().out
    assert main(["platforms"]) == 0
    assert "measured" in capsys.readouterr().out


def test_own_file(edited: Callable[[str, str], Path]) -> None:
    platform = load_platform(str(edited(BANKS, banks("8"))))
    assert platform.name == "mine"
    assert platform.geometry().capacity == 256 << 20


@pytest.mark.parametrize("name", ["", "nope", "../platforms/aim", "aim.toml", "/nowhere/x.toml"])
def test_unknown_platform_lists_the_known(name: str) -> None:
    with pytest.raises(PlatformError, match=f"choose one of {', '.join(platform_names())}"):
        load_platform(name)


@pytest.mark.parametrize("old", ["to_pim_fixed_us", "to_cpu_ns_per_element"])
def test_prices_of_transfers_have_new_keys(tmp_path: Path, old: str) -> None:
    """A file, or a setting, from before the section `transfers` is told the new key."""
    new = f"transfers.{old.replace('to_pim', 'cpu_to_pim').replace('to_cpu', 'pim_to_cpu')}"
    text = platform_path("htg-z920").read_text(encoding="utf-8")
    path = tmp_path / "old.toml"
    path.write_text(text.replace(f"[{new}]", f"[driver.{old}]"), encoding="utf-8")
    with pytest.raises(PlatformError, match=rf"old\.toml: the key driver\.{old} is {new} now"):
        load_platform(str(path))
    with pytest.raises(PlatformError, match=rf"driver\.{old} is {new} now"):
        load_platform("htg-z920", {f"driver.{old}": "1.0"})


def test_every_pair_of_memories_has_its_price() -> None:
    """The price of a transfer is that of its own pair: four different values, four keys."""
    keys = ("cpu_to_pim_fixed_us", "cpu_to_pim_ns_per_element", "pim_to_cpu_fixed_us",
            "pim_to_cpu_ns_per_element")  # fmt: skip
    platform = load_platform(
        "htg-z920", {f"transfers.{key}": str(2.0**place) for place, key in enumerate(keys)}
    )
    assert platform.transfer_us("cpu", "pim", 3000) == 1 + 3 * 2
    assert platform.transfer_us("pim", "cpu", 3000) == 4 + 3 * 8
