"""The build cache: what makes a new build, and what the user is told when one fails."""

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.fixture_device import config
from support.paths import SIM_RTL

from pimloop.sim.bench.unit import STOCK_MAIN
from pimloop.sim.device.config import HostMemory, SimConfig, build_spec, parameter_defaults
from pimloop.sim.errors import SimError
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator import build as build_module
from pimloop.sim.verilator import steps as steps_module
from pimloop.sim.verilator.build import PROGRAM, SOURCES, BuildSpec, build, build_key, build_root
from pimloop.sim.verilator.ports import control_file
from pimloop.sim.verilator.toolchain import Tool, find_toolchain

COUNTER = SIM_RTL / "counter.sv"


@pytest.fixture
def source(tmp_path):
    copy = tmp_path / "counter.sv"
    shutil.copyfile(COUNTER, copy)
    return copy


@pytest.fixture
def spec(source):
    return BuildSpec(top="counter", sources=(source,), main=STOCK_MAIN, params={"Width": 4})


@pytest.fixture
def root(tmp_path, monkeypatch, runtime_objects):
    """An empty build folder of the test's own, but for the runtime library."""
    folder = tmp_path / "builds"
    for objects in runtime_objects:
        shutil.copytree(objects, folder / objects.name, copy_function=os.symlink)
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(folder))
    return folder


def test_key_changes_with_everything_a_build_depends_on(spec, source):
    tools = find_toolchain()
    keys = {build_key(spec, tools)}
    changes = [
        {"top": "other"},
        {"params": {"Width": 5}},
        {"flags": ("-Wno-WIDTH",)},
        {"timescale": "1ps/1ps"},
        {"optimise": "-O3"},
        {"make_rules": "x:\n"},
        {"together": not spec.together},
        {"trace": True},
        {"assertions": False},
        {"coverage": True},
        {"headers": (COUNTER,)},
    ]
    for change in changes:
        keys.add(build_key(replace(spec, **change), tools))
    for tool in ("verilator", "compiler"):
        newer = replace(getattr(tools, tool), version="another")
        keys.add(build_key(spec, replace(tools, **{tool: newer})))
    source.write_text(source.read_text() + "\n")
    keys.add(build_key(spec, tools))
    assert len(keys) == len(changes) + 4


def test_key_does_not_change_with_the_place(spec, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    shutil.copyfile(COUNTER, other / "counter.sv")
    moved = replace(spec, sources=(other / "counter.sv",))
    assert build_key(moved, find_toolchain()) == build_key(spec, find_toolchain())


def test_cached_build_runs_nothing(spec, root, monkeypatch):
    program = build(spec)
    assert os.access(program, os.X_OK)
    assert sorted(path.name for path in program.parent.iterdir()) == ["build.log", PROGRAM, SOURCES]

    def never(*_args, **_kwargs):
        raise AssertionError("a command ran")

    monkeypatch.setattr(steps_module.subprocess, "run", never)
    assert build(spec) == program


def test_failed_verilation_shows_the_first_error(spec, source, root):
    source.write_text(source.read_text().replace("count_o + 1'b1", "count_o + missing_i"))
    with pytest.raises(SimError) as failure:
        build(spec)
    text = str(failure.value)
    assert text.startswith("building counter failed: %Error")
    assert "missing_i" in text
    log = Path(text.split("full log: ")[1])
    assert "missing_i" in log.read_text()
    assert not any(path.name.endswith(".tmp") for path in root.iterdir())


def test_lint_warning_is_an_error(spec, source, root):
    source.write_text(source.read_text().replace("logic             en_i", "logic [1:0] en_i"))
    with pytest.raises(SimError, match=r"building counter failed: %Warning-WIDTH"):
        build(spec)


def test_failed_compilation_shows_the_first_error(spec, root, tmp_path):
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main() { return undeclared; }\n")
    with pytest.raises(SimError, match=r"failed: .*broken.cpp.*error: 'undeclared'"):
        build(replace(spec, main=broken))


def test_missing_source(spec, root, tmp_path):
    with pytest.raises(SimError, match=r"cannot read .*gone.sv: No such file"):
        build(replace(spec, sources=(tmp_path / "gone.sv",)))


def test_build_folder_that_cannot_be_written(spec, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "file" / "builds"))
    with pytest.raises(SimError, match=r"cannot write in the build folder .*PIMLOOP_BUILD_DIR"):
        build(spec)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_build_folder(spec, root):
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(SimError, match=r"cannot write in the build folder .*Permission denied"):
        build(spec)


def test_two_at_once_share_one_build(spec, root):
    code = (
        "import sys; from pathlib import Path;"
        "from pimloop.sim.verilator.build import BuildSpec, build;"
        "from pimloop.sim.bench.unit import STOCK_MAIN;"
        "print(build(BuildSpec(top='counter', sources=(Path(sys.argv[1]),), main=STOCK_MAIN,"
        "params={'Width': 4})))"
    )
    command = [sys.executable, "-c", code, str(spec.sources[0])]
    both = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert Path(results[0][0].decode().strip()) == build(spec)


def test_leftovers_of_a_killed_build_do_no_harm(spec, root):
    name = f"counter-{build_key(spec, find_toolchain())}"
    (root / f".{name}.tmp").mkdir(parents=True)
    (root / f".{name}.tmp" / "Vtop.mk").write_text("nonsense")
    (root / name).mkdir()
    assert os.access(build(spec), os.X_OK)


def test_what_is_built_needs_no_compiler(spec, root, monkeypatch):
    program = build(spec)

    def nothing():
        raise SimError("no C++ compiler")

    monkeypatch.setattr("pimloop.sim.verilator.build.find_toolchain", nothing)
    assert build(spec) == program
    with pytest.raises(SimError, match="no C"):
        build(replace(spec, params={"Width": 7}))  # other sources or settings are not built


def test_an_installed_package_builds_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PIMLOOP_BUILD_DIR", raising=False)
    assert build_root() == REPOSITORY / "build"
    monkeypatch.setattr(
        "pimloop.sim.verilator.build.REPOSITORY", tmp_path / "site-packages" / "pimloop"
    )
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    assert build_root() == tmp_path / "cache" / "build"


def test_only_ports_are_public():
    lines = control_file("counter", [COUNTER]).splitlines()
    names = ["clk_i", "rst_ni", "en_i", "count_o", "wrap_o"]
    public = [f'public_flat_rw -module "counter" -var "{name}"' for name in names]
    assert lines == ["`verilator_config", *public]


def test_every_device_option_is_its_own_build():
    tools = find_toolchain()
    variants = [
        SimConfig(),
        SimConfig(flavour="rtl"),
        SimConfig(trace=True),
        SimConfig(assertions=False),
        SimConfig(coverage=Path("x.dat")),
        SimConfig(params={"Rows": 64}),
        config(),
    ]
    keys = {build_key(build_spec(variant), tools) for variant in variants}
    assert len(keys) == len(variants)
    # What is set at run time needs no new build.
    other = SimConfig(host_memory=HostMemory(stall=5), memory_bytes=1 << 20)
    assert build_key(build_spec(other), tools) in keys


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"params": {"Bnaks": 4}}, "pim_top has no parameter 'Bnaks'"),
        ({"params": {"NativeLanes": 1}}, "set flavour instead"),
        ({"flavour": "fast"}, "no flavour 'fast'; choose 'native' or 'rtl'"),
        ({"memory_bytes": 1000}, "memory_bytes is 1000, must be a multiple of 4096"),
        ({"memory_address": 64}, "memory_address is 0x40, must be a multiple of 4096"),
    ],
)
def test_wrong_configuration(values, message):
    with pytest.raises(SimError, match=message):
        SimConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"read_latency": 1}, "read_latency is 1, must be >= 2"),
        ({"write_gap": 0}, "write_gap is 0, must be >= 1"),
        ({"stall": 256}, "stall is 256, must be <= 255"),
        ({"seed": 0}, "seed is 0, must be >= 1"),
    ],
)
def test_wrong_host_memory(values, message):
    with pytest.raises(SimError, match=message):
        HostMemory(**values)


def test_clock_period_follows_from_the_parameters():
    assert SimConfig(params={"TckFs": 500_000, "CkRatio": 2}).clock_period == 1_000_000


def test_what_no_design_changes_is_compiled_once(root, tmp_path, monkeypatch):
    """Headers of benches, and C++ that includes nothing generated, until it is changed."""
    monkeypatch.delenv("PIMLOOP_WAVES", raising=False)
    for headers in root.glob(".runtime-*/*.gch"):
        headers.unlink()
    sources = {
        "same": "int pimloop_same = 1;\n",
        "edited": "int pimloop_edited = 1;\n",
        "generated": '#include "Vtop.h"\n',
    }
    files = tuple(tmp_path / f"{name}.cpp" for name in sources)
    for file, text in zip(files, sources.values(), strict=True):
        file.write_text(text, encoding="utf-8")

    def compiled(width):
        params = {"Width": width}
        spec = BuildSpec("counter", (COUNTER,), STOCK_MAIN, files, params=params, optimise="-O0")
        program = build(replace(spec, together=True))
        log = program.with_name("build.log").read_text(encoding="utf-8")
        return {name for name in re.findall(r"-o (\S+)", log) if not name.startswith("verilated")}

    always = {"generated.o", "Vtop__ALL.o", "simulator"}
    assert compiled(5) == {"same.o", "edited.o", "prelude.h.gch"} | always
    files[1].write_text("int pimloop_edited = 2;\n", encoding="utf-8")
    assert compiled(6) == {"edited.o"} | always


def test_clang_gets_its_own_way_of_precompiled_headers():
    tools = replace(find_toolchain(), root=Path("/wheel"))
    clang = replace(tools, compiler=Tool("c++", "/usr/bin/clang++", "Debian clang version 14"))
    assert "CFG_CXXFLAGS_PCH_I=-include-pch" in clang.make_overrides
    assert "CFG_GCH_IF_CLANG=.gch" in clang.make_overrides
    gcc = replace(tools, compiler=Tool("c++", "/usr/bin/g++", "g++ (Debian) 12"))
    assert "CFG_CXXFLAGS_PCH_I=-include" in gcc.make_overrides


def test_board_has_the_parameters_of_the_device():
    text = (REPOSITORY / "rtl" / "pim_top.sv").read_text()
    device = dict(re.findall(r"parameter int unsigned (\w+) = (\d+)", text))
    assert {name: int(value) for name, value in device.items()} == parameter_defaults()


def test_old_builds_are_pruned_and_used_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "KEPT_BUILDS", 2)
    day = build_module.KEPT_SECONDS
    ages = {"recent": 0.0, "yesterday": 1.5 * day, "week": 7 * day, "month": 30 * day}
    folders = {}
    for number, (name, age) in enumerate(ages.items()):
        folder = folders[name] = tmp_path / f"{name}-{number:016x}"
        folder.mkdir()
        (folder / PROGRAM).touch()
        os.utime(folder, (time.time() - age,) * 2)
    others = (tmp_path / ".runtime-0123456789abcdef", tmp_path / "counter.failed.log")
    others[0].mkdir()
    others[1].touch()
    build_module.mark_used(folders["month"])
    removed = build_module.prune(tmp_path)
    assert set(removed) == {folders["week"], folders["yesterday"]}
    assert sorted(tmp_path.iterdir()) == sorted([folders["recent"], folders["month"], *others])


def test_many_builds_of_today_all_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "KEPT_BUILDS", 1)
    folders = [tmp_path / f"top-{number:016x}" for number in range(4)]
    for folder in folders:
        folder.mkdir()
    assert build_module.prune(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == folders
