"""The file lists of rtl/ and FuseSoC's core file: every file, in an order that tools take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from support.paths import REPOSITORY

import pimloop
from pimloop.rtl.tables.source import RTL
from pimloop.sim.device.config import (
    fpga_sources,
    primitive_sources,
    rtl_sources,
    synthesizable_sources,
)
from pimloop.sim.paths import SIM

PRIMITIVES = primitive_sources()
SYNTHESIS = synthesizable_sources()
FPGA = fpga_sources()
SIMULATION = rtl_sources()[len(SYNTHESIS) :]


def relative(paths: tuple[Path, ...]) -> list[str]:
    return [str(path.relative_to(RTL)) for path in paths]


def core() -> Any:
    text = (RTL / "pim.core").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n")
    assert head == "CAPI=2:"
    return yaml.safe_load(rest)


def test_every_file_is_in_one_list() -> None:
    listed = [*SYNTHESIS, *SIMULATION, *FPGA]
    assert len(listed) == len(set(listed)) > 20
    others = ("synth", "sva")  # harnesses, and checks that benches bind
    written = {path.resolve() for path in RTL.rglob("*.sv") if path.parent.name not in others}
    assert {path.resolve() for path in listed} == written


def test_every_module_has_a_name_of_its_own() -> None:
    """A tool that is given two modules of one name picks either."""
    paths = [*RTL.rglob("*.sv"), *(SIM / "rtl").glob("*.sv")]
    names = [
        name
        for path in paths
        for name in re.findall(r"^(?:module|package) (\w+)", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert len(names) == len(set(names)) > 40


def test_primitives_are_in_their_folder() -> None:
    assert {path.parent.name for path in PRIMITIVES} == {"primitives"}
    assert all(path.parent.name != "primitives" for path in SYNTHESIS[len(PRIMITIVES) :])


def test_no_net_is_implicit() -> None:
    """A misspelt name is an error in every tool, and files that are read later are as they were."""
    for path in (*rtl_sources(), *FPGA):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^module ", text, re.MULTILINE):
            assert text.count("`default_nettype none\n") == 1, path.name
            assert text.endswith("\nendmodule\n\n`default_nettype wire\n"), path.name
            # The standard's default net type is that of an input whose kind is left out.
            ports = re.findall(r"^ *input +(\w+)", text.partition("\n);")[0], re.MULTILINE)
            assert set(ports) <= {"wire"}, path.name


def test_what_only_simulations_have_is_in_their_list() -> None:
    """A DPI import, or a name that says so, is nothing for synthesis."""
    for path in (*SYNTHESIS, *FPGA):
        text = path.read_text(encoding="utf-8")
        assert not path.stem.endswith("_sim"), path.name
        assert not re.search(r"^\s*import \"DPI-C\"", text, re.MULTILINE), path.name
    assert {path.stem for path in SIMULATION} == {
        "pim_timing_check",
        "pim_lanes_native_sim",
        "pim_scalar_buf_sim",
        "pim_transpose_block_sim",
    }


def test_packages_come_before_those_who_use_them() -> None:
    seen: set[str] = set()
    for path in rtl_sources():
        text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        used = set(re.findall(r"\b(\w+_pkg)::", text)) - {path.stem}
        assert used <= seen, path.name
        seen.add(path.stem)


def test_the_core_file_has_the_same_files() -> None:
    filesets = core()["filesets"]
    assert filesets["primitives"]["files"] == relative(PRIMITIVES)
    assert filesets["rtl"]["files"] == relative(SYNTHESIS[len(PRIMITIVES) :])
    assert filesets["fpga"]["files"] == relative(FPGA)
    assert filesets["simulation"]["files"] == relative(SIMULATION)
    targets = core()["targets"]
    assert targets["default"]["filesets"] == ["primitives", "rtl"]
    assert targets["lint"]["filesets"] == ["primitives", "rtl"]
    assert targets["sim"]["filesets"] == ["primitives", "rtl", "simulation"]
    for target in targets.values():
        assert f"{target['toplevel']}.sv" in filesets["rtl"]["files"]
        assert set(target.get("parameters", ())) <= set(core()["parameters"])


def test_the_core_file_has_the_version_of_the_package() -> None:
    assert core()["name"].rpartition(":")[2] == pimloop.__version__


def test_the_page_names_every_list() -> None:
    page = (REPOSITORY / "rtl" / "README.md").read_text(encoding="utf-8")
    for name in ("pim_primitives.f", "pim.f", "pim_sim.f", "pim_fpga.f", "pim.core"):
        assert f"`{name}`" in page
