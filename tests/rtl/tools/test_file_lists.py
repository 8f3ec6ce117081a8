"""The file lists of rtl/ and FuseSoC's core file: every file, in an order that tools take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import REPOSITORY

import pimloop
from pimloop.rtl.tables.source import RTL
from pimloop.rtl.tools.synth.tools import read_design
from pimloop.sim.device.config import (
    fpga_sources,
    primitive_sources,
    rtl_sources,
    synthesizable_sources,
)
from pimloop.sim.paths import SIM
from pimloop.sim.verilator.build import LINT_WAIVERS
from pimloop.sim.verilator.toolchain import find_verilator

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
    assert [(RTL / name).resolve() for name in filesets["waivers"]["files"]] == [LINT_WAIVERS]


def test_the_core_file_has_a_target_for_every_file() -> None:
    targets, filesets = core()["targets"], core()["filesets"]
    device = ["primitives", "rtl"]
    assert {name: target["filesets"] for name, target in targets.items()} == {
        "default": [*device, "waivers"],
        "lint": [*device, "waivers"],
        "sim": [*device, "simulation", "waivers"],
        "fpga": [*device, "fpga"],
    }
    for target in targets.values():
        named = [file for name in target["filesets"] for file in filesets[name]["files"]]
        assert target["toplevel"] in {Path(file).stem for file in named}
        assert target["flow"]
    assert targets["fpga"]["toplevel"] == "pim_board_ram"


def test_every_parameter_of_the_device_can_be_set_in_the_core_file() -> None:
    header = (RTL / "pim_top.sv").read_text(encoding="utf-8").partition("\n) (\n")[0]
    names = set(re.findall(r"^  parameter [\w ]+? (\w+) = ", header, re.MULTILINE))
    assert len(names) == header.count("  parameter ")
    settable = names - {"ControlOnly", "NativeLanes"}  # they need files that are not in the core
    parameters = core()["parameters"]
    defines = {"SYNTHESIS", "PIM_NO_CLOCK_GATES"}
    assert set(parameters) == settable | defines | {"AxiCache"}
    board = (RTL / "fpga" / "pim_board_ram.sv").read_text(encoding="utf-8")
    of_board = set(re.findall(r"^  parameter [^=]*?(\w+) = ", board, re.MULTILINE))
    assert of_board == settable | {"AxiCache"}
    for name in of_board:  # without a default of its own: that of the device
        assert parameters[name] == {"datatype": "int", "paramtype": "vlogparam"}
    for name in defines:  # as pimloop's own synthesis has them
        assert f"-D {name} " in read_design("pim_top", SYNTHESIS, hierarchy=False)
        assert parameters[name]["default"] is True
    for name, target in core()["targets"].items():
        assert set(target["parameters"]) == settable | (defines if name != "sim" else set()), name
        of_own = ["AxiCache"] if name == "fpga" else []
        assert target.get("parameters_append", []) == of_own, name


def test_the_lint_of_the_core_file_has_nothing_to_say() -> None:
    """What FuseSoC gives to Verilator for the target."""
    target, filesets = core()["targets"]["lint"], core()["filesets"]
    files = [RTL / file for name in target["filesets"] for file in filesets[name]["files"]]
    files.sort(key=lambda path: path.suffix != ".vlt")  # waivers first, as FuseSoC has them
    options = [*target["flow_options"]["verilator_options"], "-DSYNTHESIS", "-DPIM_NO_CLOCK_GATES"]
    tool, root = find_verilator()
    done = subprocess.run(
        [tool.path, "--lint-only", *options, *files, "--top-module", target["toplevel"]],
        env=os.environ | ({} if root is None else {"VERILATOR_ROOT": str(root)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("target", ["default", "lint", "sim", "fpga"])
def test_fusesoc_takes_the_core_file(tmp_path: Path, target: str) -> None:
    fusesoc = shutil.which("fusesoc")
    if fusesoc is None:
        pytest.skip("there is no fusesoc (pip install fusesoc)")
    run = [fusesoc, "--cores-root", RTL, "run", "--setup", "--target", target]
    done = subprocess.run(
        [*run, "pimloop:pim:pim_top", "--Rows", "16"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    (made,) = tmp_path.glob("build/*/*/*.eda.yml")
    given = yaml.safe_load(made.read_text(encoding="utf-8"))["parameters"]
    defaults = {name: parameter.get("default") for name, parameter in given.items()}
    defines = {} if target == "sim" else {"SYNTHESIS": True, "PIM_NO_CLOCK_GATES": True}
    assert {name: value for name, value in defaults.items() if value is not None} == {
        "Rows": 16,
        **defines,
    }


def test_the_core_file_has_the_version_of_the_package() -> None:
    assert core()["name"].rpartition(":")[2] == pimloop.__version__


def test_the_page_names_every_list() -> None:
    page = (REPOSITORY / "rtl" / "README.md").read_text(encoding="utf-8")
    for name in ("pim_primitives.f", "pim.f", "pim_sim.f", "pim_fpga.f", "pim.core"):
        assert f"`{name}`" in page
