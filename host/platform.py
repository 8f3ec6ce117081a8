"""Platforms: a PIM device, its timing and the costs around it, from a TOML file.

Every value of a platform file is a table `{ value, unit, source }`, so that a number never stands
without its unit and where it comes from. The schema is the dataclasses below: a missing, unknown
or mistyped key and a wrong unit are errors that name file and key. How to add a platform:
docs/; the files: host/platforms/.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from host.capabilities import Capabilities
from host.device.geometry import Geometry
from host.errors import PimloopError

PLATFORM_DIR = Path(__file__).parent / "platforms"
DEFAULT_PLATFORM = "htg-z920"

_FS_PER_US = 1e9
_NS_PER_US = 1e3

CLOCKS = "DRAM clocks"
FABRIC = "fabric clocks"


class PlatformError(PimloopError):
    """A platform does not exist or its file is wrong."""


def _number(unit: str, low: float = 0, *, power_of_two: bool = False) -> Any:
    """Declare a numeric value: its unit and smallest value."""
    return field(metadata={"unit": unit, "low": low, "power_of_two": power_of_two})


def _choice(*values: object) -> Any:
    """Declare a value out of a fixed set."""
    return field(metadata={"unit": "", "choices": values})


@dataclass(frozen=True)
class DeviceSection:
    """The device: geometry and lanes."""

    style: Literal["per_bank", "all_bank"] = _choice("per_bank", "all_bank")
    banks: int = _number("banks", 1, power_of_two=True)
    bank_groups: int = _number("bank groups", 1, power_of_two=True)
    row_bytes: int = _number("bytes", 64, power_of_two=True)
    rows: int = _number("rows of a bank", 1, power_of_two=True)
    atom_bytes: int = _number("bytes", 32, power_of_two=True)
    tck_fs: int = _number("femtoseconds", 1)
    ck_ratio: int = _number("DRAM clocks in a fabric clock", 2, power_of_two=True)
    lanes: int = _number("multiply-adds in a fabric clock", 1)
    lane_latency: int = _number(FABRIC, 1)
    vector_setup: int = _number(FABRIC)
    acc_groups: int = _number("beats", 2, power_of_two=True)
    scalar_depth: int = _number("elements", 32, power_of_two=True)


@dataclass(frozen=True)
class DramSection:
    """DRAM timing, JEDEC names."""

    trcd_rd: int = _number(CLOCKS, 1)
    trcd_wr: int = _number(CLOCKS, 1)
    trp: int = _number(CLOCKS, 1)
    tras: int = _number(CLOCKS, 1)
    trc: int = _number(CLOCKS, 1)
    tccd_s: int = _number(CLOCKS, 1)
    tccd_l: int = _number(CLOCKS, 1)
    trrd_s: int = _number(CLOCKS, 1)
    trrd_l: int = _number(CLOCKS, 1)
    tfaw: int = _number(CLOCKS, 1)
    twr: int = _number(CLOCKS, 1)
    trtp: int = _number(CLOCKS, 1)
    twtr_s: int = _number(CLOCKS, 1)
    twtr_l: int = _number(CLOCKS, 1)
    trefi: int = _number(CLOCKS, 1)
    trfc: int = _number(CLOCKS, 1)
    txs: int = _number(CLOCKS, 1)
    tcl: int = _number(CLOCKS, 1)
    tcwl: int = _number(CLOCKS, 1)
    tbl: int = _number(CLOCKS, 1)


@dataclass(frozen=True)
class HostMemorySection:
    """The host memory that the device's AXI master sees."""

    read_latency: int = _number(FABRIC, 2)
    read_gap: int = _number(FABRIC, 1)
    write_latency: int = _number(FABRIC, 2)
    write_gap: int = _number(FABRIC, 1)


@dataclass(frozen=True)
class DriverSection:
    """What the driver does and costs."""

    tile_columns: int = _number("columns", 1)
    call_overhead_us: float = _number("microseconds a call")
    conversion: Literal["modelled", "measured"] = _choice("modelled", "measured")
    to_pim_fixed_us: float = _number("microseconds a transfer")
    to_pim_ns_per_element: float = _number("nanoseconds an element")
    to_cpu_fixed_us: float = _number("microseconds a transfer")
    to_cpu_ns_per_element: float = _number("nanoseconds an element")


@dataclass(frozen=True)
class CapabilitiesSection:
    """Which operators of a model the PIM takes."""

    operators: tuple[str, ...] = _choice("MatMul", "Gemm", "Add", "Sub", "Mul")
    activation_matmul: bool = _choice(False, True)
    elementwise_max_rank: int = _number("axes", 1)


@dataclass(frozen=True)
class Platform:
    """One platform; see host/platforms/ for the sources of its numbers."""

    name: str
    title: str
    device: DeviceSection
    dram: DramSection
    host_memory: HostMemorySection
    driver: DriverSection
    capabilities_section: CapabilitiesSection

    @property
    def capabilities(self) -> Capabilities:
        """What the platform lets its PIM do, as the model front end asks it."""
        section = self.capabilities_section
        return Capabilities(
            operators=frozenset(section.operators),
            activation_matmul=section.activation_matmul,
            elementwise_max_rank=section.elementwise_max_rank,
        )

    def geometry(self, *, native_lanes: bool = False) -> Geometry:
        """Return what the device's registers will say."""
        d = self.device
        all_bank = d.style == "all_bank"
        return Geometry(
            capacity=d.banks * d.row_bytes * d.rows,
            all_bank=all_bank,
            native_lanes=native_lanes,
            banks=d.banks,
            bank_groups=d.bank_groups,
            row_bytes=d.row_bytes,
            atom_bytes=d.atom_bytes,
            beat_bytes=d.atom_bytes * (d.banks if all_bank else 1),
            lanes=d.lanes,
            acc_groups=d.acc_groups,
            scalar_depth=d.scalar_depth,
            ck_ratio=d.ck_ratio,
            tck_fs=d.tck_fs,
            lane_latency=d.lane_latency,
        )

    def rtl_parameters(self) -> dict[str, int]:
        """Return the parameters of `rtl/pim_top.sv`, except NativeLanes (the build flavour's)."""
        d = self.device
        device = {
            "AllBank": int(d.style == "all_bank"),
            "Banks": d.banks,
            "BankGroups": d.bank_groups,
            "RowBytes": d.row_bytes,
            "AtomBytes": d.atom_bytes,
            "Rows": d.rows,
            "CkRatio": d.ck_ratio,
            "Lanes": d.lanes,
            "AccGroups": d.acc_groups,
            "ScalarDepth": d.scalar_depth,
            "LaneLatency": d.lane_latency,
            "VectorSetup": d.vector_setup,
            "TckFs": d.tck_fs,
        }
        dram = {
            "".join(part.capitalize() for part in _rtl_words(one.name)): getattr(
                self.dram, one.name
            )
            for one in fields(DramSection)
        }
        return device | dram

    def device_us(self, cycles: int) -> float:
        """Return the time of `cycles` DRAM clocks in microseconds."""
        return cycles * self.device.tck_fs / _FS_PER_US

    def pim_time_us(self, cycles: int, calls: int = 1) -> float:
        """Return the time of PIM calls: cycles / clock, and the driver's cost of each call.

        Parameters
        ----------
        cycles
            DRAM clocks of all calls together.
        calls
            Operators offloaded (a batch of descriptors for one operator is one call).
        """
        return self.device_us(cycles) + calls * self.driver.call_overhead_us

    def transfer_us(self, direction: Literal["to_pim", "to_cpu"], elements: int) -> float:
        """Return the time of a transfer, conversion between float32 and bfloat16 included.

        Where `driver.conversion` is "measured", this is the fixed part: the caller adds the
        conversion as timed on this machine and the simulated cycles of the copy.
        """
        d = self.driver
        if direction == "to_pim":
            return d.to_pim_fixed_us + elements * d.to_pim_ns_per_element / _NS_PER_US
        return d.to_cpu_fixed_us + elements * d.to_cpu_ns_per_element / _NS_PER_US


def _rtl_words(name: str) -> list[str]:
    """Split a timing's name into the words of its parameter: trcd_rd is TRcdRd.

    >>> _rtl_words("trcd_rd")
    ['t', 'rcd', 'rd']
    """
    head, *tail = name.split("_")
    return [head[0], head[1:], *tail]


def platform_names() -> list[str]:
    """Return the names of the platforms that come with pimloop."""
    return sorted(path.stem for path in PLATFORM_DIR.glob("*.toml"))


def load_platform(name: str) -> Platform:
    """Read a platform by its name, or by the path of a .toml file.

    Raises
    ------
    PlatformError
        When there is no such platform or its file breaks the schema.
    """
    path = platform_path(name)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlatformError(f"cannot read the platform {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlatformError(f"{path} is not TOML: {error}") from error
    platform = _parse(data, path)
    _check_consistency(platform, path)
    return platform


def platform_path(name: str) -> Path:
    """Return the file of a platform; PlatformError when there is none."""
    path = Path(name) if name.endswith(".toml") else PLATFORM_DIR / f"{name}.toml"
    known = name.endswith(".toml") or name in platform_names()
    if not known or not path.is_file():
        raise PlatformError(
            f"there is no platform {name!r}: choose one of {', '.join(platform_names())}, or give "
            "the path of a .toml file"
        )
    return path


def sources(path: Path) -> dict[str, tuple[str, str]]:
    """Return (unit, source) of every value of a valid platform file, by `section.key`."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        f"{section}.{key}": (str(entry.get("unit", "")), str(entry["source"]))
        for section, table in data.items()
        if isinstance(table, dict)
        for key, entry in table.items()
    }


_SECTIONS: Mapping[str, type[Any]] = {
    "device": DeviceSection,
    "dram": DramSection,
    "host_memory": HostMemorySection,
    "driver": DriverSection,
    "capabilities": CapabilitiesSection,
}

Section = TypeVar("Section")


def _parse(data: dict[str, Any], path: Path) -> Platform:
    _check_keys(data, {"title", *_SECTIONS}, path, "")
    title = data["title"]
    if not isinstance(title, str) or not title:
        raise PlatformError(f"{path}: title must be a text that is not empty, not {title!r}")
    sections = {name: _section(kind, data[name], path, name) for name, kind in _SECTIONS.items()}
    return Platform(
        name=path.stem,
        title=title,
        device=sections["device"],
        dram=sections["dram"],
        host_memory=sections["host_memory"],
        driver=sections["driver"],
        capabilities_section=sections["capabilities"],
    )


def _section(kind: type[Section], table: Any, path: Path, name: str) -> Section:
    if not isinstance(table, dict):
        raise PlatformError(f"{path}: {name} must be a table, not {table!r}")
    declared = fields(kind)  # type: ignore[arg-type]
    _check_keys(table, {one.name for one in declared}, path, f"{name}.")
    values = {
        one.name: _value(table[one.name], one.type, one.metadata, path, f"{name}.{one.name}")
        for one in declared
    }
    return kind(**values)


def _check_keys(table: dict[str, Any], expected: set[str], path: Path, prefix: str) -> None:
    for key in sorted(expected - table.keys()):
        raise PlatformError(f"{path}: the key {prefix}{key} is missing")
    for key in sorted(table.keys() - expected):
        raise PlatformError(
            f"{path}: the key {prefix}{key} is unknown; known here: {', '.join(sorted(expected))}"
        )


def _value(entry: Any, kind: Any, metadata: Mapping[str, Any], path: Path, key: str) -> Any:
    """Return the checked value of one `{ value, unit, source }` table."""
    unit = metadata["unit"]
    keys = {"value", "source"} | ({"unit"} if unit else set())
    if not isinstance(entry, dict):
        raise PlatformError(
            f"{path}: {key} must be a table with {', '.join(sorted(keys))}, not {entry!r}"
        )
    _check_keys(entry, keys, path, f"{key}.")
    if unit and entry["unit"] != unit:
        raise PlatformError(f"{path}: {key}.unit must be {unit!r}, not {entry['unit']!r}")
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise PlatformError(f"{path}: {key}.source must say where the value comes from")
    value = entry["value"]
    if "choices" in metadata:
        return _chosen(value, str(kind), metadata["choices"], path, key)
    whole = str(kind) == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        expected = "a whole number" if whole else "a number"
        raise PlatformError(f"{path}: {key}.value must be {expected}, not {value!r}")
    if not metadata["low"] <= value < float("inf"):
        raise PlatformError(f"{path}: {key}.value must be at least {metadata['low']}, not {value}")
    if metadata["power_of_two"] and int(value) & (int(value) - 1):
        raise PlatformError(f"{path}: {key}.value must be a power of two, not {value}")
    return value if whole else float(value)


def _chosen(value: Any, kind: str, choices: tuple[Any, ...], path: Path, key: str) -> Any:
    several = kind.startswith("tuple")
    if several and not isinstance(value, list):
        raise PlatformError(f"{path}: {key}.value must be a list, not {value!r}")
    for one in value if several else [value]:
        # 1 == True in Python: a whole number is no switch.
        if not any(one == choice and type(one) is type(choice) for choice in choices):
            allowed = ", ".join(repr(choice) for choice in choices)
            raise PlatformError(f"{path}: {key}.value: {one!r} is not one of {allowed}")
    return tuple(value) if several else value


def _check_consistency(platform: Platform, path: Path) -> None:
    """Check what the RTL asks of values together."""
    d, geometry = platform.device, platform.geometry()
    if geometry.capacity > 1 << 32:
        raise PlatformError(
            f"{path}: device.banks x row_bytes x rows is {geometry.capacity} bytes, device "
            "addresses have 32 bits: at most 4 GiB"
        )
    if geometry.beat_bytes < 64:
        raise PlatformError(
            f"{path}: device.atom_bytes gives a beat of {geometry.beat_bytes} bytes, at least 64 "
            "are needed"
        )
    if d.lanes > geometry.beat_columns:
        raise PlatformError(
            f"{path}: device.lanes is {d.lanes}, a beat feeds at most {geometry.beat_columns}"
        )
    if d.acc_groups > 32:
        raise PlatformError(f"{path}: device.acc_groups is {d.acc_groups}, at most 32 are possible")
    if d.banks % d.bank_groups:
        raise PlatformError(f"{path}: device.bank_groups does not divide device.banks")
    if d.row_bytes % d.atom_bytes:
        raise PlatformError(f"{path}: device.atom_bytes does not divide device.row_bytes")
    columns = platform.driver.tile_columns
    if columns % geometry.beat_columns:
        raise PlatformError(
            f"{path}: driver.tile_columns is {columns}, not a multiple of the "
            f"{geometry.beat_columns} columns of a beat"
        )
