"""Energies from counters against DRAMPower's sum over the command trace, by another program.

DRAMPower walks a trace: charge flows by the state of the banks (DRAMPower's `IDD2N`, `IDD3N` and
`IDD6N` backgrounds), and each command adds the charge that its current has beyond that of the state
it is in, for as long as it takes (Chandrasekar, Akesson, Goossens, DSD 2011). Nothing here uses the
product's forms: currents, volts and timings are read from the platform's file, commands from the
CSV that is written for DRAMPower.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pimloop.host.energy.forms import Energy, energy
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.planning.energies import work
from pimloop.host.platforms.platform import Platform, load_platform, platform_path
from pimloop.sim.check.drampower import drampower_lines
from pimloop.sim.check.protocol import Channel

NAME = "htg-z920"

#: What DRAMPower calls the energies, and the causes that they are here.
CLASSES = {
    "act_pre": ("act", "pre"),
    "rd": ("rd",),
    "wr": ("wr",),
    "ref": ("ref",),
    "open": ("act_stdby",),
    "closed": ("pre_stdby",),
    "self_refresh": ("sref",),
}


class Charges:
    """Charge by rail and class, in milliamperes of a chip times DRAM clocks."""

    def __init__(self, file: Path) -> None:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        self.idd = {key: Fraction(str(each["value"])) for key, each in data["energy_idd"].items()}
        self.dram = {key: each["value"] for key, each in data["dram"].items()}
        self.tck_ns = Fraction(data["device"]["tck_fs"]["value"], 10**6)
        names = {name for parts in CLASSES.values() for name in parts}
        self.vdd = dict.fromkeys(names, Fraction(0))
        self.vpp = dict.fromkeys(names, Fraction(0))
        self.end = 0

    def add(self, name: str, clocks: int, vdd_ma: Fraction, vpp_ma: Fraction) -> None:
        self.vdd[name] += clocks * vdd_ma
        self.vpp[name] += clocks * vpp_ma

    def walk(self, lines: Iterable[str]) -> Charges:
        """Add the commands of a trace in DRAMPower's form."""
        i, dram = self.idd, self.dram
        row, none = i["ipp0_ma"] - i["ipp3n_ma"], Fraction(0)
        banks: set[str] = set()
        asleep, clock, busy = True, 0, 0  # busy: the end of the last refresh
        for line in lines:
            at, name, _, _, bank, *_ = line.strip().split(",")
            self._stand(clock, int(at), busy, asleep=asleep, opened=bool(banks))
            clock = int(at)
            if name == "ACT":
                banks.add(bank)
                self.add("act", dram["tras"], i["idd0_ma"] - i["idd3n_ma"], row)
            elif name in ("PRE", "PREA"):
                closing = banks & {bank} if name == "PRE" else set(banks)
                banks -= closing
                for _ in closing:
                    rest = dram["trc"] - dram["tras"]
                    self.add("pre", rest, i["idd0_ma"] - i["idd2n_ma"], row)
            elif name in ("RD", "WR"):
                current = i["idd4r_ma" if name == "RD" else "idd4w_ma"]
                self.add(name.lower(), dram["tbl"], current - i["idd3n_ma"], none)
            elif name == "REFA":
                busy = clock + dram["trfc"]
                self.add("ref", dram["trfc"], i["idd5b_ma"] - i["idd3n_ma"], none)
            elif name in ("SREFEN", "SREFEX"):
                asleep = name == "SREFEN"
        self.end = clock
        return self

    def _stand(self, start: int, end: int, busy: int, *, asleep: bool, opened: bool) -> None:
        """Add what stands by between two commands; banks count as open while they refresh."""
        i = self.idd
        if asleep:
            self.add("sref", end - start, i["idd6n_ma"], i["ipp6n_ma"])
            return
        active = end - start if opened else max(min(end, busy) - start, 0)
        self.add("act_stdby", active, i["idd3n_ma"], i["ipp3n_ma"])
        self.add("pre_stdby", end - start - active, i["idd2n_ma"], i["ipp3n_ma"])

    def picojoules(self, without: Charges) -> dict[str, Fraction]:
        """Return the energy of the channel by cause, less that of another trace."""
        vdd_v, vpp_v = self.idd["vdd_v"], self.idd["vpp_v"]
        return {
            cause: self.idd["chips"]
            * self.tck_ns
            * sum(
                vdd_v * (self.vdd[name] - without.vdd[name])
                + vpp_v * (self.vpp[name] - without.vpp[name])
                for name in names
            )
            for cause, names in CLASSES.items()
        }


def product(driver: PimDriver) -> None:
    """Multiply long enough for several refreshes, and move operands both ways."""
    rng = np.random.default_rng(5)
    a = driver.upload(rng.standard_normal((4, 256), dtype=np.float32))
    b = driver.upload(rng.standard_normal((256, 256), dtype=np.float32))
    driver.matmul(a, b)
    driver.elementwise("add", a, a)
    driver.download(a)


def simulated(settings: dict[str, str]) -> tuple[OpStats, Energy]:
    """Return what the work counts on a changed platform, and its energy in the time of its lists.

    The lists follow each other at once: nothing is asleep but at their ends.
    """
    platform = load_platform(NAME, settings)
    known = platform.energy_constants()
    assert known is not None
    with open_device(platform, "sim") as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        product(driver)
        stats = driver.totals
    us = Fraction(platform.device.tck_fs, 10**9) * stats.cycles
    return stats, energy(replace(work(stats, platform), us=us), known)


def traced(
    platform: Platform, file: Path, work: Callable[[PimDriver], None]
) -> tuple[OpStats, Charges]:
    with open_device(platform, "sim", command_trace=file) as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        work(driver)
        stats = driver.totals
    with file.open(encoding="utf-8") as lines:
        charges = Charges(platform_path(NAME))
        return stats, charges.walk(drampower_lines(lines, Channel.of_platform(NAME)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[OpStats, Charges]]:
    """The work not at all, once and twice, each on a device of its own."""
    platform, folder = load_platform(NAME), tmp_path_factory.mktemp("traces")

    def times(count: int) -> Callable[[PimDriver], None]:
        return lambda driver: [product(driver) for _ in range(count)] and None

    return {n: traced(platform, folder / f"{n}.txt", times(n)) for n in range(3)}


def test_counters_give_the_energy_of_the_trace(runs: dict[int, tuple[OpStats, Charges]]) -> None:
    platform = load_platform(NAME)
    known = platform.energy_constants()
    assert known is not None
    (_, idle), (stats, charges) = runs[0], runs[1]
    by_trace = charges.picojoules(without=idle)
    us = (charges.end - idle.end) * known.tck_ns / 1000
    ours = energy(replace(work(stats, platform), us=us), known).parts
    counted = {cause: Fraction(ours[cause].nominal, 1000) for cause in CLASSES}  # type: ignore[index]
    for cause in CLASSES:
        assert by_trace[cause] > 0
        assert counted[cause] == pytest.approx(by_trace[cause], rel=1e-3), cause
    background = ("open", "closed", "self_refresh")
    ours_standing, theirs = (
        sum(part[cause] for cause in background) for part in (counted, by_trace)
    )
    assert ours_standing == pytest.approx(theirs, rel=1e-3)
    assert sum(counted.values()) == pytest.approx(sum(by_trace.values()), rel=1e-2)


def test_twice_the_work_is_twice_the_energy_of_the_trace(
    runs: dict[int, tuple[OpStats, Charges]],
) -> None:
    single, two = (runs[n][1].picojoules(without=runs[0][1]) for n in (1, 2))
    for cause in ("act_pre", "rd", "wr"):
        assert two[cause] == pytest.approx(2 * single[cause], rel=2e-2), cause
    assert two["ref"] >= single["ref"] > 0
    first, second = runs[1][0], runs[2][0]
    assert second.counters["rd"] == 2 * first.counters["rd"]


def test_a_faster_clock_is_less_background_when_simulated() -> None:
    """The same lists take as many clocks, each in half the time at the same power."""
    tck_fs = load_platform(NAME).device.tck_fs
    (slow, before), (fast, after) = (
        simulated({"device.tck_fs": str(clock)}) for clock in (tck_fs, tck_fs // 2)
    )
    assert fast == slow
    for cause in ("open", "closed"):
        assert 2 * after.parts[cause].nominal == pytest.approx(
            before.parts[cause].nominal, rel=1e-5
        )
    for cause in ("io", "mac", "host_link"):  # no time in them
        assert after.parts[cause] == before.parts[cause]


@pytest.mark.full
def test_a_shorter_refresh_interval_is_more_refresh_when_simulated() -> None:
    """Half the interval, twice the refreshes: their energy, and theirs alone among commands."""
    interval = int(load_platform(NAME).dram.trefi)
    (often, more), (usual, less) = (
        simulated({"dram.trefi": str(clocks)}) for clocks in (interval // 2, interval)
    )
    assert usual.counters["ref"] > 2
    assert abs(often.counters["ref"] - 2 * usual.counters["ref"]) <= 2
    ratio = Fraction(often.counters["ref"], usual.counters["ref"])
    assert Fraction(more.parts["ref"].nominal, less.parts["ref"].nominal) == pytest.approx(ratio)
    assert often.counters["rd"] == usual.counters["rd"]
    for cause in ("rd", "wr", "io", "mac", "host_link"):
        assert more.parts[cause] == less.parts[cause]
    assert often.cycles > usual.cycles
    assert more.total.nominal > less.total.nominal
