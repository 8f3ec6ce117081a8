"""Platforms: a PIM device, its timing and the costs around it, from a TOML file.

Every value of a platform file is a table `{ value, unit, source }`, so that a number never stands
without its unit and where it comes from. The schema is the dataclasses below and
`pimloop.host.cpu.parameters`: a missing, unknown or mistyped key and a wrong unit are errors that
name file and key. How to add a platform: docs/platforms.md; the files: host/platforms/.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pimloop.host.common.schema import (
    PlatformError,
    PlatformValue,
    check_keys,
    choice,
    file_values,
    number,
    parse_section,
    with_defaults,
)
from pimloop.host.cpu.model import CpuModel
from pimloop.host.cpu.parameters import CpuSection
from pimloop.host.cpu.power import CpuPower, cpu_power
from pimloop.host.devices.kinds import (
    BUILT_IN,
    Devices,
    SessionDevice,
    broken_devices,
    kinds,
    session_devices,
)
from pimloop.host.energy.constants import Constants, Spread, constants
from pimloop.host.energy.sections import SECTIONS as ENERGY_SECTIONS
from pimloop.host.energy.sections import EnergySections, parse_energy
from pimloop.host.operators.capabilities import Capabilities
from pimloop.host.operators.registry import matchers
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.plugins.registry import platform_files
from pimloop.rtl.tables.conditions import first_broken
from pimloop.rtl.tables.timing import PARAMETERS, Timing

__all__ = [
    "DEFAULT_PLATFORM",
    "Platform",
    "PlatformError",
    "load_platform",
    "platform_names",
    "platform_path",
    "sources",
]

PLATFORM_DIR = Path(__file__).resolve().parent
DEFAULT_PLATFORM = "htg-z920"

_FS_PER_US = 1e9
_NS_PER_US = 1e3

FABRIC = "fabric clocks"

#: Longest latency or gap of the host memory, so that no access looks like a device that hangs.
MOST_HOST_CLOCKS = 100_000


@dataclass(frozen=True)
class DeviceSection:
    """The device: geometry and lanes."""

    style: Literal["per_bank", "all_bank"] = choice("per_bank", "all_bank")
    banks: int = number("banks", 1, power_of_two=True)
    bank_groups: int = number("bank groups", 1, power_of_two=True)
    row_bytes: int = number("bytes", 64, power_of_two=True)
    rows: int = number("rows of a bank", 1, power_of_two=True)
    atom_bytes: int = number("bytes", 32, power_of_two=True)
    tck_fs: int = number("femtoseconds", 1)
    ck_ratio: int = number("DRAM clocks in a fabric clock", 2, power_of_two=True)
    lanes: int = number("multiply-adds in a fabric clock", 1)
    rows_per_beat: int = number(
        "rows of the left operand", 1, high=8, power_of_two=True, otherwise=1
    )
    lane_latency: int = number(FABRIC, 1)
    vector_setup: int = number(FABRIC)
    transpose_ways: int = number("blocks", 1, high=8, power_of_two=True, otherwise=1)
    acc_groups: int = number("beats", 2, power_of_two=True)
    scalar_depth: int = number("elements", 32, power_of_two=True)


@dataclass(frozen=True)
class DramSection(Timing):
    """DRAM timing, JEDEC names; the table is rtl/timing.toml."""


@dataclass(frozen=True)
class HostMemorySection:
    """The host memory that the device's AXI master sees."""

    read_latency: int = number(FABRIC, 2, high=MOST_HOST_CLOCKS)
    read_gap: int = number(FABRIC, 1, high=MOST_HOST_CLOCKS)
    write_latency: int = number(FABRIC, 2, high=MOST_HOST_CLOCKS)
    write_gap: int = number(FABRIC, 1, high=MOST_HOST_CLOCKS)


@dataclass(frozen=True)
class DriverSection:
    """What the driver does and costs."""

    tile_columns: int = number("columns", 1)
    call_overhead_us: float = number("microseconds a call")
    conversion: Literal["modelled", "measured"] = choice("modelled", "measured")


#: Stands in `capabilities.operators` for whatever the device has an operation for.
EVERY_OPERATION = "all"


@dataclass(frozen=True)
class CapabilitiesSection:
    """Which operators of a model the PIM takes."""

    operators: tuple[str, ...] = choice(EVERY_OPERATION, *matchers())
    activation_matmul: bool = choice(False, True)
    elementwise_max_rank: int = number("axes", 1)
    operands: Literal["any", "paper"] = choice("any", "paper")
    types: tuple[str, ...] = choice("float32", "float16")


@dataclass(frozen=True)
class TransferPrice:
    """What moving a tensor from one memory to another takes.

    To and from the PIM with the conversion to or from bfloat16: what crosses is 2 bytes an element,
    for float32 and float16 on the host alike. The boards' prices were calibrated with float32;
    their models have no float16. Where `driver.conversion` is "measured", this is the fixed part:
    the conversion as timed on this machine and the simulated cycles of the copy are added to it.
    """

    fixed_us: float = number("microseconds a transfer")
    ns_per_element: float = number("nanoseconds an element")

    def us(self, elements: int) -> float:
        """Return the time of a transfer, microseconds."""
        return self.fixed_us + elements * self.ns_per_element / _NS_PER_US


#: Prices by (from, to), memories.
Transfers: TypeAlias = Mapping[tuple[str, str], TransferPrice]


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
    transfers: Transfers
    cpu: CpuSection | None = None  # None: CPU operators are timed on this machine
    #: Of further devices by name (`pimloop.host.devices.kinds.SessionDevice`).
    sections: Mapping[str, Any] = field(default_factory=dict)
    energy_sections: EnergySections | None = None  # None: no energy model
    #: All values with units and sources, for reports; platforms differ by their sections.
    values: tuple[PlatformValue, ...] = field(default=(), repr=False, compare=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the platform lets its PIM do, as the model front end asks it."""
        section = self.capabilities_section
        return Capabilities(
            operators=frozenset(
                matchers() if EVERY_OPERATION in section.operators else section.operators
            ),
            activation_matmul=section.activation_matmul,
            elementwise_max_rank=section.elementwise_max_rank,
            operands=section.operands,
            types=frozenset(section.types),
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
            rows_per_beat=d.rows_per_beat,
            transpose_ways=d.transpose_ways,
        )

    def rtl_parameters(self) -> dict[str, int]:
        """Return the parameters of `rtl/pim_top.sv`, except NativeLanes (the build flavour's)."""
        sections = {"device": self.device, "dram": self.dram}
        values = {}
        for name, key in _rtl_keys().items():
            section, _, field = key.partition(".")
            value = getattr(sections[section], field)
            values[name] = int(value == "all_bank") if field == "style" else value
        return values

    def cpu_model(self) -> CpuModel | None:
        """Return the model of the platform's CPU; None when CPU times are measured here."""
        return None if self.cpu is None else CpuModel(self.cpu, self.name)

    def energy_constants(self) -> Constants | None:
        """Return what commands and times cost in energy; None: the file does not say.

        The power of a CPU that is measured on this machine is that of RAPL, where it is readable.
        """
        known, power = self.file_constants(), self.measured_power()
        if known is None or power is None:
            return known
        return replace(known, core_mw=Spread.of(power.core_mw), static_mw=Spread.of(power.idle_mw))

    def measured_power(self) -> CpuPower | None:
        """Return the power of the CPU by RAPL; None: another CPU is modelled, or not readable."""
        power = cpu_power() if self.cpu is None else None
        return power if isinstance(power, CpuPower) else None

    def file_constants(self) -> Constants | None:
        """Return what commands and times cost by the file alone; None: it does not say."""
        if self.energy_sections is None:
            return None
        device = self.device
        return constants(
            self.energy_sections, self.dram, tck_fs=device.tck_fs, atom_bytes=device.atom_bytes
        )

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

    @property
    def devices(self) -> Devices:
        """The devices that an operator can be assigned to, by name."""
        return Devices(
            {
                name: kind
                for name, kind in kinds().items()
                if not isinstance(kind, SessionDevice) or name in self.sections
            }
        )

    @property
    def memories(self) -> dict[str, tuple[str, ...]]:
        """The devices of each memory, in the order that breaks the partitioner's ties."""
        names: dict[str, tuple[str, ...]] = {}
        for kind in self.devices.values():
            names[kind.memory] = (*names.get(kind.memory, ()), kind.name)
        return names

    def transfer_us(self, source: str, destination: str, elements: int) -> float:
        """Return the time of a transfer between two memories by its price (`TransferPrice`)."""
        return self.transfers[source, destination].us(elements)


@cache
def _rtl_keys() -> dict[str, str]:
    """Return the key of the platform file behind each parameter of `rtl/pim_top.sv`."""
    keys = {}
    for key in fields(DeviceSection):
        name = "".join(part.capitalize() for part in key.name.split("_"))
        keys["AllBank" if key.name == "style" else name] = f"device.{key.name}"
    return keys | {parameter: f"dram.{key}" for key, parameter in PARAMETERS.items()}


def platform_names() -> list[str]:
    """Return the names of the platforms that come with pimloop, then those of plug-ins."""
    return [*_built_in_names(), *sorted(platform_files()[0].keys() - set(_built_in_names()))]


def _built_in_names() -> list[str]:
    return sorted(path.stem for path in PLATFORM_DIR.glob("*.toml"))


def load_platform(name: str, settings: Mapping[str, str] | None = None) -> Platform:
    """Read a platform by its name, or by the path of a .toml file.

    Parameters
    ----------
    name
        A platform that comes with pimloop, one of a plug-in, or a path.
    settings
        Values to change, as text by `section.key`; `pim.` is another word for `device.`. They are
        checked like the file's own, and named in the platform's name.

    Raises
    ------
    PlatformError
        When there is no such platform, its file breaks the schema, or a setting does.
    """
    path = platform_path(name)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlatformError(f"cannot read the platform {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PlatformError(f"{path} is not TOML: {error}") from error
    if "device" in data:
        data["device"] = with_defaults(DeviceSection, data["device"])
    original = deepcopy(data)
    for key, text in (settings or {}).items():
        _change(data, key, text, path)
    if _style(data) != _style(original):
        # What commands take is known for the style of the file alone: no energy model.
        for section in ENERGY_SECTIONS:
            data.pop(section, None)
    try:
        platform = replace(_parse(data, path), values=file_values(data, original))
        _check_consistency(platform, path)
    except PlatformError as error:
        raise _naming(error, settings or {}) from error
    if settings:
        changed = ", ".join(f"{setting_key(key)}={text}" for key, text in settings.items())
        platform = replace(platform, name=f"{platform.name} ({changed})")
    return platform


def _naming(error: PlatformError, settings: Mapping[str, str]) -> PlatformError:
    """Return the error with the settings that it is about, as they were given."""
    given = [
        f"--set {key}={text}"
        for key, text in settings.items()
        if re.search(rf"\b{re.escape(setting_key(key))}\b", str(error))
    ]
    return PlatformError(f"{error} [{', '.join(given)}]") if given else error


def setting_key(key: str) -> str:
    """Return a setting's key as the files write it.

    >>> setting_key("pim.lanes")
    'device.lanes'
    """
    section, dot, name = key.partition(".")
    return f"device{dot}{name}" if section == "pim" else key


def _style(data: Mapping[str, Any]) -> object:
    """Return what a parsed file, not checked yet, has for the style of the device."""
    device = data.get("device")
    return device.get("style") if isinstance(device, dict) else None


def _change(data: dict[str, Any], key: str, text: str, path: Path) -> None:
    """Change one value of a parsed file; what may stand there is checked afterwards."""
    section, _, name = setting_key(key).partition(".")
    table = data.get(section)
    if key in _RENAMED:
        raise PlatformError(f"the value {key} is {_RENAMED[key]} now")
    entry = table.get(name) if isinstance(table, dict) else None
    if not isinstance(entry, dict):
        raise PlatformError(
            f"{path}: there is no value {key} to set; `pimloop platforms` shows all"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a word, as in device.style=all_bank
    entry |= {"value": value, "source": "set for this run"}
    entry.pop("others", None)  # they were of the file's value


def platform_path(name: str) -> Path:
    """Return the file of a platform; PlatformError when there is none."""
    if name.endswith(".toml") or name in _built_in_names():
        path = Path(name) if name.endswith(".toml") else PLATFORM_DIR / f"{name}.toml"
        if path.is_file():
            return path
    files, broken = platform_files()
    if name in files:
        return files[name]
    raise PlatformError(
        f"there is no platform {name!r}: choose one of {', '.join(platform_names())}, or give the"
        " path of a .toml file" + "".join(f". {message}" for message in broken)
    )


def sources(path: Path) -> dict[str, tuple[str, str]]:
    """Return (unit, source) of every value of a valid platform file, by `section.key`."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        f"{section}.{key}": (str(entry.get("unit", "")), str(entry["source"]))
        for section, table in data.items()
        if isinstance(table, dict)
        for key, entry in table.items()
    }


_TRANSFERS = "transfers"

#: Keys of older files, and where their values are now.
_RENAMED = {
    "driver.to_pim_fixed_us": "transfers.cpu_to_pim_fixed_us",
    "driver.to_pim_ns_per_element": "transfers.cpu_to_pim_ns_per_element",
    "driver.to_cpu_fixed_us": "transfers.pim_to_cpu_fixed_us",
    "driver.to_cpu_ns_per_element": "transfers.pim_to_cpu_ns_per_element",
}

_SECTIONS: Mapping[str, type[Any]] = {
    "device": DeviceSection,
    "dram": DramSection,
    "host_memory": HostMemorySection,
    "driver": DriverSection,
    "capabilities": CapabilitiesSection,
}


def _parse(data: dict[str, Any], path: Path) -> Platform:
    further = [name for name in session_devices() if name in data]
    for old, new in _RENAMED.items():
        section, _, key = old.partition(".")
        if isinstance(data.get(section), dict) and key in data[section]:
            raise PlatformError(f"{path}: the key {old} is {new} now: rename it")
    try:
        check_keys(
            data, {"title", *_SECTIONS, _TRANSFERS}, path, "",
            optional=frozenset({"cpu", *ENERGY_SECTIONS, *session_devices()}),
        )  # fmt: skip
    except PlatformError as error:
        raise PlatformError("; ".join([str(error), *broken_devices()])) from error
    title = data["title"]
    if not isinstance(title, str) or not title:
        raise PlatformError(f"{path}: title must be a text that is not empty, not {title!r}")
    sections = {
        name: parse_section(kind, data[name], path, name) for name, kind in _SECTIONS.items()
    }
    cpu = parse_section(CpuSection, data["cpu"], path, "cpu") if "cpu" in data else None
    if cpu is not None and cpu.product_speedup > cpu.speedup_cores:
        raise PlatformError(
            f"{path}: cpu.product_speedup is {cpu.product_speedup:g} on cpu.speedup_cores ="
            f" {cpu.speedup_cores}: cores are together at most as many times faster as there are"
        )
    energy = parse_energy(
        data, path, all_bank=sections["device"].style == "all_bank", has_cpu=cpu is not None
    )
    return Platform(
        name=path.stem,
        title=title,
        device=sections["device"],
        dram=sections["dram"],
        host_memory=sections["host_memory"],
        driver=sections["driver"],
        capabilities_section=sections["capabilities"],
        cpu=cpu,
        energy_sections=energy,
        sections={
            name: parse_section(session_devices()[name].section, data[name], path, name)
            for name in further
        },
        transfers=_transfers(
            data[_TRANSFERS],
            dict.fromkeys(kind.memory for kind in (*BUILT_IN, *map(kinds().get, further)) if kind),
            path,
        ),
    )


def _transfers(table: Any, memories: Iterable[str], path: Path) -> Transfers:
    """Return the prices between the memories of a platform, by (from, to).

    The section has `<from>_to_<to>_fixed_us` and `<from>_to_<to>_ns_per_element` for every two.
    """
    if not isinstance(table, dict):
        raise PlatformError(f"{path}: {_TRANSFERS} must be a table, not {table!r}")
    keys = {
        pair: {name.name: transfer_key(*pair, name.name) for name in fields(TransferPrice)}
        for pair in permutations(memories, 2)
    }
    known = {key for names in keys.values() for key in names.values()}
    check_keys(table, known, path, f"{_TRANSFERS}.")
    return {
        pair: parse_section(
            TransferPrice,
            {name: table[key] for name, key in names.items()},
            path,
            f"{_TRANSFERS}.{transfer_key(*pair, '')}",
            joint="",
        )
        for pair, names in keys.items()
    }


def transfer_key(source: str, destination: str, value: str) -> str:
    """Return the key in a platform file's section `transfers`.

    >>> transfer_key("cpu", "pim", "fixed_us")
    'cpu_to_pim_fixed_us'
    """
    return f"{source}_to_{destination}_{value}"


def _check_consistency(platform: Platform, path: Path) -> None:
    """Check what the RTL and the driver ask of values together; see rtl/conditions.toml."""
    # A lane latency below four is for native lanes; SimConfig refuses it for RTL lanes.
    broken = first_broken(platform.rtl_parameters() | {"NativeLanes": 1})
    if broken is not None:
        raise PlatformError(f"{path}: {broken.message(_rtl_keys())}")
    geometry = platform.geometry()
    columns = platform.driver.tile_columns
    if columns % geometry.beat_columns:
        raise PlatformError(
            f"{path}: driver.tile_columns is {columns}, not a multiple of the "
            f"{geometry.beat_columns} columns of a beat"
        )
    try:
        platform.file_constants()
    except PlatformError as error:
        raise PlatformError(f"{path}: {error}") from error
