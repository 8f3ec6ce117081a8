"""docs/add-a-pim-operation.md: excerpts are lines of the files, and its steps add ABS to a copy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trees import copy_code

from pimloop.rtl.tools.interface import load
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator.toolchain import find_compiler

PAGE = (REPOSITORY / "docs" / "add-a-pim-operation.md").read_text(encoding="utf-8")

#: Where the excerpts of each language are from.
SOURCES = {
    "toml": "rtl/isa.toml",
    "systemverilog": "rtl/pim_lane.sv",
    "cpp": "sim/dpi/pim_lane_dpi.cpp",
    "python": "host/operators/relu.py",
}


def blocks(language: str) -> list[str]:
    """Return the code of a language on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def touched(kind: str) -> set[str]:
    """Return the files that the last table of the page names in a row."""
    (row,) = re.findall(rf"^\| {kind} \|(.*)\|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`([^`]+\.\w+)`", row))


@pytest.mark.parametrize("language", SOURCES)
def test_the_excerpts_are_lines_of_the_files(language: str) -> None:
    text = (REPOSITORY / SOURCES[language]).read_text(encoding="utf-8")
    excerpts = blocks(language)
    assert len(excerpts) == {"python": 1}.get(language, 2)
    for block in excerpts:
        assert text.count(block) == 1, block
    if language == "python":
        assert excerpts == [text]


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"\b(?:host|rtl|sim|tests)/[\w/.-]+\.\w+", PAGE))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (REPOSITORY / name).is_file()] == []


def test_one_file_of_the_host_and_at_most_five_of_the_hardware() -> None:
    assert touched("host") == {SOURCES["python"]}
    by_hand = touched("hardware, by hand")
    assert len(by_hand) <= 5
    assert set(SOURCES.values()) - touched("host") <= by_hand
    # Nothing else names the operation, but the tests, the tables and what is generated.
    known = touched("host") | by_hand | touched("generated")
    for folder in ("host", "rtl", "sim"):
        for path in (REPOSITORY / folder).rglob("*"):
            name = str(path.relative_to(REPOSITORY))
            if path.suffix in (".sv", ".py", ".toml", ".cpp", ".h") and name not in known:
                text = path.read_text(encoding="utf-8")
                assert not re.search(r"Opcode\.RELU|OpcodeRelu|LaneRelu|kLaneRelu", text), name


# ---- the same steps for ABS ----------------------------------------------------------------------

#: The function of the RTL lane, and the loop of the native one, in the places of RELU's.
SV_FUNCTION = """\
  /// The magnitude of a bfloat16, as binary32.
  function automatic logic [31:0] magnitude(input logic [15:0] value);
    if (value[14:7] == '1 && value[6:0] != '0) magnitude = CanonicalNan;
    else magnitude = {1'b0, value[14:0], 16'b0};
  endfunction
"""
CPP_LOOP = """\
PIM_CLONES void run_abs(uint32_t* __restrict accumulators, const uint16_t* __restrict vector,
                        size_t lanes) {
    for (size_t i = 0; i < lanes; ++i) {
        const uint32_t bits = widen(vector[i]) & kMagnitude;
        accumulators[i] = bits > kInfinity ? kCanonicalNan : bits;
    }
}
"""
HOST_FILE = '''\
"""Abs: the magnitude."""

import numpy as np

from pimloop.host.operators.unary import UnaryKind
from pimloop.rtl.tables.isa import Opcode

KINDS = (UnaryKind(Opcode.ABS, np.abs),)

MATCHERS = {"Abs": KINDS[0].match}
'''

#: In a process of the copy: every bfloat16 through the functional model.
MODEL = """
import json
import numpy as np
from pimloop.host.common import golden
from pimloop.host.operators.capabilities import Capabilities
from pimloop.host.operators.registry import matchers
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import UNARY_OPCODES
from pimloop.rtl.tools.interface import load

values = golden.bf16_to_f32(np.arange(1 << 16, dtype=np.uint16)).reshape(256, 256)
bits = {}
for name in ("aim", "htg-z920"):
    with PimDriver(ModelDevice(load_platform(name).geometry())) as driver:
        result = driver.download(driver.elementwise("abs", driver.upload(values)))
        bits[name] = golden.to_bf16_bits(result).reshape(-1).tolist()
print(json.dumps({
    "bits": bits,
    "unary": [op.name for op in UNARY_OPCODES],
    "code": [row["name"] for row in load()["lane"]].index("abs"),
    "matched": "Abs" in matchers(),
    "taken": ["Abs" in load_platform(n).capabilities.operators for n in ("aim", "htg-z920")],
}))
"""

#: In a process of the copy: every bfloat16 through native lanes, built without a simulator.
NATIVE = """
import ctypes, json, sys
import numpy as np
library = ctypes.CDLL(sys.argv[1])
lanes, code = 64, int(sys.argv[2])
library.pim_lanes_new.restype = ctypes.c_void_p
handle = ctypes.c_void_p(library.pim_lanes_new(lanes, 2, 1))
found = []
for vector in np.arange(1 << 16, dtype=np.uint16).reshape(-1, lanes):
    library.pim_lanes_operate(handle, code, 1, 1, 0x4000, vector.ctypes.data_as(ctypes.c_void_p))
    library.pim_lanes_read(handle, 1)
    words = [library.pim_lanes_word(handle, i) & 0xFFFFFFFF for i in range(lanes // 2)]
    found += np.array(words, np.uint32).view(np.uint16).tolist()
print(json.dumps(found))
"""

#: In a process of the copy: every bfloat16 through the RTL lane.
RTL_LANE = """
import json
import numpy as np
from pimloop.rtl.tables.source import RTL
from pimloop.rtl.tools.interface import load
from pimloop.sim.bench.inprocess import InProcessModel

code = [row["name"] for row in load()["lane"]].index("abs")
found = []
with InProcessModel("pim_lane", [RTL / "pim_pkg.sv", RTL / "pim_lane.sv"]) as lane:
    lane["op_i"], lane["scalar_i"] = code, 0x4000
    for first in range(0, 1 << 16, 16):
        lane["valid_i"], lane["read_i"] = 1, 0
        for group in range(16):
            lane["group_i"], lane["vector_i"] = group, first + group
            lane.tick()
        lane["valid_i"] = 0
        lane.tick(4)
        lane["read_i"] = 1
        for group in range(16):
            lane["read_group_i"] = group
            lane.tick()
            found.append(int(lane["read_bf16_o"]))
print(json.dumps(found))
"""

WANTED = [0x7FC0 if bits & 0x7FFF > 0x7F80 else bits & 0x7FFF for bits in range(1 << 16)]


#: The opcode that the next operation gets.
NEXT_VALUE = 1 + max(row["value"] for row in load()["opcode"])


def renamed(text: str) -> str:
    """Return code of RELU for ABS."""
    for old, new in (
        ("RELU", "ABS"), ("Relu", "Abs"), ("run_relu", "run_abs"), ("relu(", "magnitude("),
        ('"relu"', '"abs"'), ("value = 10", f"value = {NEXT_VALUE}"),
    ):  # fmt: skip
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the code with ABS added behind RELU, as the page says."""
    tree = tmp_path_factory.mktemp("abs") / "tree"
    copy_code(tree)
    # Outputs of the generator outside of the packages are left out where they are not there.
    for language in ("toml", "systemverilog", "cpp"):
        path = tree / SOURCES[language]
        text = path.read_text(encoding="utf-8")
        for block in blocks(language):
            new = renamed(block)
            if "function automatic" in block:
                new = f"\n{SV_FUNCTION}"
            elif "void run_relu" in block:
                new = f"\n{CPP_LOOP}"
            text = text.replace(block, block + new)
        path.write_text(text, encoding="utf-8")
    (tree / "host" / "operators" / "abs.py").write_text(HOST_FILE, encoding="utf-8")
    return tree


@pytest.fixture(scope="module")
def python(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that runs Python in the copy, after the page's first command."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PIMLOOP_CACHE_DIR": str(cache),
        "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
    }

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=tree, env=environment, capture_output=True,
            text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    (generate,) = re.findall(r"^ {4}python (-m pimloop\.rtl\.tools\.generate)$", PAGE, re.MULTILINE)
    run(*generate.split())
    return run


def changed(tree: Path) -> set[str]:
    """Return the files of the copy that are not as in the repository."""
    return {
        str(path.relative_to(tree))
        for folder in ("host", "rtl", "sim")
        for path in (tree / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (
            (REPOSITORY / path.relative_to(tree)).is_file()
            and path.read_bytes() == (REPOSITORY / path.relative_to(tree)).read_bytes()
        )
    }


def test_the_steps_add_another_operation(tree: Path, python: Callable[..., str]) -> None:
    """The files of the page's table change; functional model and native lanes give the bits."""
    by_hand = touched("hardware, by hand") - {
        "sim/check/coverage_waivers.toml"
    }  # nothing became wrong
    later = {"sim/dpi/verified.toml"}  # after a run of the benches
    files = by_hand | touched("generated") - later
    assert changed(tree) == files | {"host/operators/abs.py"}
    state = json.loads(python("-c", MODEL))
    assert state["bits"] == {"aim": WANTED, "htg-z920": WANTED}
    assert state["unary"] == ["RELU", "ABS"]
    assert state["matched"]
    assert state["taken"] == [True, False]
    library = tree / "libpim_lane.so"
    subprocess.run(
        [find_compiler().path, "-std=c++17", "-O2", "-shared", "-fPIC", "-DPIM_SINGLE_TARGET",
         str(tree / SOURCES["cpp"]), "-o", str(library)],
        check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(python("-c", NATIVE, library, state["code"])) == WANTED


@pytest.mark.full
def test_the_rtl_has_the_other_operation_too(python: Callable[..., str]) -> None:
    assert json.loads(python("-c", RTL_LANE)) == WANTED
    words = ("elementwise", "abs", "5", "100", "--lanes", "rtl", "--json")
    result = json.loads(python("-m", "pimloop", *words))
    assert result["bit_exact"]
    assert result["cycles"] > 0
