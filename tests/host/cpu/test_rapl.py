"""RAPL on a made-up sysfs tree: packages, counters that start again, and what is not there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.cpu import power, rapl
from pimloop.host.cpu.power import CpuPower, cpu_power, measure_again, measure_power
from pimloop.host.cpu.rapl import NoRaplError, Package, packages, taken_uj
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.energies import no_cpu_power, operator_energy
from pimloop.host.planning.energy_costs import require_energies
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.energies import model_text

RANGE = 262_143_328_850  # microjoules, of a desktop processor


def domain(root: Path, folder: str, name: str, energy: int | str = 0) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the counters of a machine with two packages, and all that is no package of its own."""
    domain(tmp_path, "intel-rapl:0", "package-0", 500)
    domain(tmp_path, "intel-rapl:0:0", "core", 300)
    domain(tmp_path, "intel-rapl:0:1", "dram", 100)
    domain(tmp_path, "intel-rapl:1", "package-1", RANGE - 10)
    domain(tmp_path, "intel-rapl:2", "psys", 9000)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 500)
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_each_package_counts_once_and_may_start_again(tree: Path) -> None:
    packs = packages(tree)
    assert [package.folder.name for package in packs] == ["intel-rapl:0", "intel-rapl:1"]
    before = [package.read_uj() for package in packs]
    (tree / "intel-rapl:0" / "energy_uj").write_text("1500\n")
    (tree / "intel-rapl:1" / "energy_uj").write_text("9\n")
    after = [package.read_uj() for package in packs]
    assert taken_uj(packs, before, after) == 1000 + 20
    assert Package(tree, RANGE).between_uj(7, 7) == 0


def test_what_cannot_be_read_says_what_and_where(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoRaplError, match=r"has no RAPL: .*absent: No such file or directory"):
        packages(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoRaplError, match=r"empty has no package \(intel-rapl:N\)"):
        packages(tmp_path / "empty")
    counter = tree / "intel-rapl:1" / "energy_uj"
    counter.write_text("-5\n")
    with pytest.raises(NoRaplError, match="intel-rapl:1/energy_uj has '-5', no number of micro"):
        packages(tree)
    counter.unlink()
    with pytest.raises(NoRaplError, match="intel-rapl:1/energy_uj cannot be read"):
        packages(tree)
    counter.write_text("1\n")
    read_text = Path.read_text

    def refused(path: Path, *args: object, **more: object) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(NoRaplError, match=r"by root alone; allow it \(chmod a\+r .*energy_uj\)"):
        packages(tree)


class Machine:
    """A processor with a clock of its own: work takes 10 milliseconds, at the power of its kind."""

    def __init__(self, root: Path, idle: int, serial: int, parallel: int) -> None:
        self.seconds, self._taken = Fraction(0), Fraction(RANGE - 10**5)  # it starts again soon
        self._counter = root / "intel-rapl:0" / "energy_uj"
        self._watts = {None: idle, 1: serial, 4: parallel}

    def work(self, threads: int | None) -> None:
        self.seconds += Fraction(1, 100)
        self._taken += 10_000 * self._watts[threads]
        self._counter.write_text(str(int(self._taken) % (RANGE + 1)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Machine]]:
    """Return how to put a machine with powers in watts in the place of this one."""
    domain(tmp_path, "intel-rapl:0", "package-0")
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))

    def placed(*watts: int) -> Machine:
        made = Machine(tmp_path, *watts)
        monkeypatch.setattr(rapl, "POWERCAP", tmp_path)
        monkeypatch.setattr(power, "cores", lambda: 4)
        monkeypatch.setattr(power, "perf_counter", lambda: made.seconds)
        monkeypatch.setattr(power, "sleep", lambda _: made.work(None))
        monkeypatch.setattr(power, "_product", lambda threads: lambda: made.work(threads))
        cpu_power.cache_clear()
        measure_again.cache_clear()
        return made

    yield placed  # type: ignore[misc]
    monkeypatch.undo()
    cpu_power.cache_clear()
    measure_again.cache_clear()


def test_power_of_idle_one_and_all_cores(machine: type[Machine]) -> None:
    machine(8, 20, 38)  # type: ignore[call-arg, arg-type]
    measured = measure_power()
    assert measured == CpuPower(Fraction(8000), Fraction(20000), Fraction(38000))
    assert (measured.core_mw, measured.parallel_cores) == (12000, Fraction(30, 12))


@pytest.mark.parametrize("watts", [(8, 8, 20), (8, 7, 20), (8, 20, 19), (0, 0, 0)])
def test_counters_that_do_not_see_work_are_no_power(
    watts: tuple[int, int, int], machine: type[Machine]
) -> None:
    machine(*watts)  # type: ignore[arg-type, call-arg]
    with pytest.raises(NoRaplError, match="no RAPL that tells work from none"):
        measure_power()
    assert "tells work from none" in str(cpu_power())
    constants = load_platform("native").energy_constants()
    assert constants is not None
    assert constants.core_mw is None


@pytest.mark.parametrize("name", ["native", "aim"])
def test_operators_of_the_measured_cpu_are_in_joules(name: str, machine: type[Machine]) -> None:
    machine(8, 20, 38)  # type: ignore[call-arg, arg-type]
    platform = load_platform(name)
    known = require_energies(platform)
    assert no_cpu_power(platform) == ""
    assert model_text(platform, timed=True, counted=True).endswith("power measured by RAPL")
    for device, watts in (("cpu_serial", 20), ("cpu_parallel", 38)):
        parts = operator_energy(platform, {device: 50.0}, None, known).parts
        cpu = parts["cpu_dynamic"] + parts["cpu_static"]
        assert cpu.low == cpu.nominal == cpu.high == watts * 50 * 10**9  # femtojoules


def test_a_power_is_measured_once_a_machine(
    machine: type[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process finds it, so that energies counted with it are found too."""
    machine(8, 20, 38)  # type: ignore[call-arg, arg-type]
    platform = load_platform("native")
    first, known = cpu_power(), platform.energy_constants()
    machine(9, 25, 40)  # type: ignore[call-arg, arg-type]
    assert cpu_power() == first
    assert platform.energy_constants() == known
    monkeypatch.setattr(power, "processor", lambda: "another one")
    cpu_power.cache_clear()
    assert cpu_power() == CpuPower(Fraction(9000), Fraction(25000), Fraction(40000))
    assert platform.energy_constants() != known


def pipeline(platform: str, *, fresh: bool) -> None:
    """Begin a run of a tiny model."""
    config = TINY["bert"]
    graph = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=5))
    feeds = random_inputs(graph, 0)
    with Pipeline(graph, feeds, load_platform(platform), Options(backend="sim", fresh=fresh)):
        pass


def test_fresh_measures_the_power_again_once(machine: type[Machine]) -> None:
    machine(8, 20, 38)  # type: ignore[call-arg, arg-type]
    first = cpu_power()
    machine(9, 25, 40)  # type: ignore[call-arg, arg-type]
    for platform, fresh in (("native", False), ("htg-z920", True)):
        pipeline(platform, fresh=fresh)
        assert cpu_power() == first
    pipeline("native", fresh=True)
    second = cpu_power()
    assert second == CpuPower(Fraction(9000), Fraction(25000), Fraction(40000))
    # The next phase or point counts with the same, the next process finds it.
    made = machine(10, 30, 50)  # type: ignore[call-arg, arg-type]
    assert cpu_power() == second
    pipeline("native", fresh=True)
    assert cpu_power() == CpuPower(Fraction(10000), Fraction(30000), Fraction(50000))
    seconds = made.seconds  # type: ignore[attr-defined]
    pipeline("native", fresh=True)
    assert made.seconds == seconds  # type: ignore[attr-defined]


def test_a_modelled_cpu_is_not_measured(machine: type[Machine]) -> None:
    before = load_platform("htg-z920").energy_constants()
    machine(8, 20, 38)  # type: ignore[call-arg, arg-type]
    platform = load_platform("htg-z920")
    assert platform.measured_power() is None
    assert platform.energy_constants() == before
    assert "RAPL" not in model_text(platform, timed=True, counted=True)


@pytest.mark.parametrize("name", ["native", "aim"])
def test_a_machine_without_rapl_says_that_it_has_none(name: str) -> None:
    platform = load_platform(name)
    why = r"its file has no \[energy_cpu\], and this machine has no RAPL: .* has no package"
    with pytest.raises(PimloopError, match=f"'{name}' has no energies to plan with: {why}"):
        require_energies(platform)
    assert "this machine has no RAPL" in model_text(platform, timed=True, counted=True)


def test_the_product_is_one() -> None:
    """The load itself, which the tests above stand in for."""
    (result,) = power._product(1)()  # type: ignore[misc]
    assert result.shape == (512, 512)
    assert all(value == 512 for value in itertools.islice(result.flat, 100))
