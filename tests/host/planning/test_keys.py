"""Keys name by content all that a number depends on: one file of every room is edited in a copy."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from onnx import helper
from support.tiny_checkpoints import write_checkpoint
from support.tiny_models import TINY
from support.trees import copy_code

from pimloop.host.execution.options import Options
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.planning import keys
from pimloop.host.planning.keys import device_key, model_key, report_key, versions
from pimloop.host.platforms.platform import load_platform
from pimloop.host.store.closure import DATA, PACKAGES, ROOT, STARTED, closure, imported_modules

#: Edits each file named on the command line in turn; prints which keys changed.
EDITS = """
import json, sys
from pathlib import Path
from pimloop.host.store import closure
from pimloop.host.store.closure import ROOT, code_key
from pimloop.host.pim.device.open import counting_key
from pimloop.host.planning.keys import (
    cpu_key, device_key, digest, report_key, run_key, simulator_key, transfer_key)
from pimloop.host.execution.options import Options
from pimloop.host.platforms.platform import load_platform

def all_keys():
    # A comment changes no import.
    closure._read.cache_clear()
    closure._content_hash.cache_clear()
    board, native, options = load_platform("htg-z920"), load_platform("native"), Options()
    return {
        "CPU modelled": cpu_key({}, board, options),
        "CPU measured": cpu_key({}, native, options),
        "PIM": device_key(board, options),
        "transfer modelled": transfer_key({}, board, options),
        "transfer measured": transfer_key({}, native, options),
        "execution": run_key("model", {}, board, options),
        "report": report_key("model", board, options),
        "list": digest(simulator_key(board, options), counting_key()),
    }

before, found = all_keys(), {}
for name in sys.argv[1:]:
    path = ROOT / name
    text = path.read_bytes()
    note = {".py": b"# edited", ".toml": b"# edited", ".md": b"edited", ".json": b" "}
    path.write_bytes(text + b"\\n" + note.get(path.suffix, b"/* edited */") + b"\\n")
    after = all_keys()
    path.write_bytes(text)
    found[name] = sorted(key for key in before if before[key] != after[key])
assert all_keys() == before
print(json.dumps(found))
"""

MODELLED = {"CPU modelled", "execution", "report"}
MEASURED = {"CPU measured", "transfer measured", "report"}
DEVICE = {"PIM", "transfer measured", "execution", "report"}
SIMULATOR = DEVICE | {"list"}

#: File -> the keys that must change with it, and no others.
ROOMS = {
    # Commands, pages, pictures, texts: no number depends on them.
    "host/cli/sim.py": set(),
    "host/cli/summary.py": set(),
    "host/report/html/page.py": set(),
    "host/report/html/assets/report.css": set(),
    "host/report/plots.py": set(),
    "host/report/chrome_trace.py": set(),
    "host/board/compare.py": set(),
    "host/platforms/htg-z920.toml": set(),  # read by value: a comment is none
    "rtl/README.md": set(),
    "host/calibration/measure.py": set(),
    # CPU
    "host/cpu/model.py": MODELLED,
    "host/cpu/work.py": MODELLED,
    "host/cpu/amounts.py": MODELLED,
    "host/cpu/contractions.py": MODELLED,
    "host/cpu/attention.py": MODELLED,
    "host/cpu/windows.py": MODELLED,
    "host/cpu/profile.py": MEASURED | {"execution"},
    "host/cpu/parameters.py": MODELLED,
    "host/cpu/timing.py": MEASURED | {"execution"},
    "host/cpu/segments.py": MEASURED | {"execution"},
    "host/calibration/calibrate.py": set(),
    # Addresses, descriptors, device
    "host/pim/driver/products.py": DEVICE,
    "host/pim/driver/memory.py": DEVICE,
    "host/pim/resident.py": DEVICE,
    "host/pim/forms.py": DEVICE,
    "host/pim/placement.py": DEVICE,
    "host/pim/weights.py": DEVICE,
    "host/pim/device/execution.py": SIMULATOR,
    "host/pim/device/cached.py": SIMULATOR,
    "host/pim/device/pool.py": DEVICE,
    "host/store/list_cache.py": SIMULATOR,
    "host/operators/capabilities.py": DEVICE | {"CPU measured"},
    "host/operators/product.py": DEVICE | {"CPU measured"},
    "host/operators/add.py": DEVICE | {"CPU measured"},
    "host/common/golden.py": DEVICE | {"CPU modelled", "CPU measured", "list"},
    "host/execution/executor.py": DEVICE | {"CPU measured", "transfer modelled"},
    "host/execution/memories.py": DEVICE | {"CPU measured", "transfer modelled"},
    "host/execution/coexecution.py": DEVICE | {"CPU measured", "transfer modelled"},
    "host/execution/parts.py": DEVICE | {"CPU measured"},
    "host/planning/shares.py": {"report"},
    "host/execution/offload.py": DEVICE | {"CPU measured", "transfer modelled"},
    "host/execution/session_segments.py": MEASURED | {"execution"},
    "host/execution/cpu_times.py": MEASURED | {"execution"},
    "host/platforms/platform.py": DEVICE | {"CPU modelled", "transfer modelled"},
    # Models and the way through
    "host/models/encoder.py": {"report"},
    "host/models/architectures/bert.py": {"report"},
    "host/models/architectures/base.py": {"report"},
    "host/models/onnx_file.py": {"report"},
    "host/models/graph.py": DEVICE | {"CPU modelled", "CPU measured"},
    "host/plugins/registry.py": {"report"},
    "host/planning/policies.py": {"report"},
    "host/execution/verification.py": {"execution", "report"},
    "host/report/build.py": {"report"},
    "host/board/data.py": {"report"},
    "host/board/data/bert.json": {"report"},
    "host/pipeline/pipeline.py": {"report"},
    "host/store/cost_store.py": {"report"},
    "host/planning/profiling.py": MEASURED,
    "host/pipeline/record.py": {"execution", "report"},
    # Partitioner
    "partitioner/place/mincut.py": {"report"},
    "partitioner/place/baselines.py": {"report"},
    "partitioner/profile/plan.py": MEASURED,
    "host/board/paper/page.py": set(),
    # Hardware
    "rtl/pim_sched.sv": SIMULATOR,
    "rtl/pim_lane.sv": SIMULATOR,
    "rtl/isa.toml": SIMULATOR,
    "rtl/tables/isa.py": SIMULATOR,
    "rtl/timing.toml": SIMULATOR,
    "rtl/tables/timing.py": SIMULATOR - {"list"},  # names of a platform; a build has values
    "rtl/tables/source.py": SIMULATOR,  # conditions.py reads timing.toml with it
    "rtl/tools/interface.py": set(),
    "rtl/tools/generate.py": set(),
    "rtl/tools/emit_python.py": set(),
    "rtl/tools/emit_sv.py": set(),
    "rtl/tables/conditions.py": SIMULATOR,
    "rtl/conditions.toml": SIMULATOR,
    "rtl/tools/formal.py": set(),
    "rtl/synth/pim_lanes_stand_in.sv": set(),
    # Simulator
    "sim/rtl/pim_hostmem_sim.sv": SIMULATOR,
    "sim/dpi/pim_memory_dpi.cpp": SIMULATOR,
    "sim/dpi/pim_lane_dpi.cpp": SIMULATOR,
    "sim/verilator/main.cpp": SIMULATOR,
    "sim/verilator/host_watch.h": SIMULATOR,
    "sim/device/server.py": SIMULATOR,
    "sim/device/config.py": SIMULATOR,
    "sim/device/process.py": SIMULATOR,
    "sim/bench/unit.py": set(),
    "sim/check/coverage.py": set(),
    "sim/check/protocol.py": set(),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> dict[str, list[str]]:
    """Return the keys that changed with each file of ROOMS, edited one by one in a copy."""
    copy = tmp_path_factory.mktemp("copy")
    copy_code(copy)
    environment = os.environ | {"PYTHONPATH": str(copy)}
    run = subprocess.run(
        [sys.executable, "-c", EDITS, *ROOMS],
        cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("file", ROOMS)
def test_an_edited_file_changes_the_keys_of_its_numbers_and_no_others(file, changed):
    assert set(changed[file]) == ROOMS[file]


def test_platform_values_change_the_keys_of_their_numbers():
    board, options = load_platform("htg-z920"), Options()
    feeds = {}

    def changed(key, value):
        other = load_platform("htg-z920", {key: value})
        pairs = {
            "CPU": [keys.cpu_key(feeds, platform, options) for platform in (board, other)],
            "PIM": [device_key(platform, options) for platform in (board, other)],
            "transfer": [
                keys.transfer_key(feeds, platform, options) for platform in (board, other)
            ],
            "report": [report_key("model", platform, options) for platform in (board, other)],
        }
        return {name for name, (first, second) in pairs.items() if first != second}

    assert changed("cpu.stream_ns", "9.5") == {"CPU", "report"}
    assert changed("dram.trp", "20") == {"PIM", "report"}
    assert changed("host_memory.read_latency", "77") == {"PIM", "report"}
    assert changed("transfers.cpu_to_pim_fixed_us", "9.0") == {"transfer", "report"}
    assert changed("capabilities.elementwise_max_rank", "1") == {"PIM", "report"}


def modules() -> list[str]:
    """Return every module of the project."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = [".".join(("pimloop", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def text_of(module: str) -> str:
    place = ROOT.joinpath(*module.split(".")[1:])
    package = place / "__init__.py"
    return (package if package.is_file() else place.with_suffix(".py")).read_text()


def parsed_imports(module: str) -> set[str]:
    """Return the names that a module's text imports, by Python's own parser."""
    modules: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports are not followed"
            modules.update({str(node.module), *(f"{node.module}.{a.name}" for a in node.names)})
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(text_of(module)))
    return modules


def test_no_import_is_missed():
    known = set(modules())
    for module in known:
        wanted = parsed_imports(module) & known
        assert wanted <= imported_modules(module), module
        assert {".".join(name.split(".")[:2]) for name in wanted} <= imported_modules(module), (
            module
        )


#: Modules of a report's code that name files of the project and need no entry in DATA.
READERS = {
    "pimloop.host.planning.keys": "hashes the file of a plug-in's device",
    "pimloop.host.common.rooms": "names a file in a message",
    "pimloop.host.store.closure": "reads what it hashes",
    "pimloop.host.platforms.platform": "platform files are in keys by value",
    "pimloop.host.report.provenance": "commit and hash of the RTL, which a report states",
    "pimloop.host.plugins.registry": "packages of others",
    "pimloop.sim.verilator.build": "hashes what it builds from",
    "pimloop.sim.device.config": "names files of the build",
    "pimloop.sim.verilator.cpp_clock": "names files of the build",
    "pimloop.sim.device.lanes": "its choice is in keys by value",
    "pimloop.sim.device.moves": "a list costs the same by whichever name it is known",
    "pimloop.sim.device.records": "names the folder to run tests in",
    "pimloop.sim.paths": "says where the parts lie",
    "pimloop.sim.verilator.cocotb_environment": "names the folder to import from",
}


def test_no_data_file_is_missed():
    """Who reads a file beside its own text says so in DATA, or has a reason here."""
    for module in closure(keys.REPORT.entries):
        text = text_of(module)
        if "__file__" in text or "import resources" in text or "REPOSITORY" in text:
            assert module in DATA or module in READERS, f"{module} reads files: add it to DATA"


def test_no_module_is_started_by_name_alone():
    """A module's name in a text is a module that is started: STARTED has it."""
    known = set(modules())
    registries = {
        "pimloop.host.store.closure",
        "pimloop.host.planning.keys",
        "pimloop.host.pim.device.open",
    }  # of entries
    for module in closure(keys.REPORT.entries) - registries - DATA.keys():
        strings = {
            node.value
            for node in ast.walk(ast.parse(text_of(module)))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = {value for value in strings & known if "." in value}
        assert named <= set(STARTED.get(module, ())), module


LOADED = """
import sys
from pimloop.host.execution.options import Options
from pimloop.host.pipeline.sweep import Point, run_point
run_point(Point(sys.argv[1], 3, "htg-z920"), Options(backend="model", jobs=1))
print(*sorted(name for name in sys.modules
              if name.startswith("pimloop.")))
"""


def test_a_run_loads_no_module_that_its_key_leaves_out(tmp_path):
    write_checkpoint(tmp_path / "tiny", "bert")
    run = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path / "tiny")],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    loaded = set(run.stdout.split())
    assert "pimloop.host.execution.executor" in loaded
    code = {*closure(keys.REPORT.entries, keys.REPORT.outside), *keys.REPORT.alone}
    # A class without a body: no number can depend on it.
    assert loaded <= code | {"pimloop.errors"}


def test_versions_count(monkeypatch):
    before = report_key("model", load_platform("htg-z920"), Options())
    versions.cache_clear()
    monkeypatch.setattr(keys.metadata, "version", lambda _: "0")
    after = report_key("model", load_platform("htg-z920"), Options())
    versions.cache_clear()
    assert before != after


def test_the_lanes_and_the_tools_count(monkeypatch):
    platform = load_platform("htg-z920")
    before = device_key(platform, Options())
    assert device_key(platform, Options(flavour="rtl")) != before
    behind = {
        device_key(platform, Options(), models) for models in ((), ("a",), ("b",), ("a", "b"))
    }
    assert len(behind) == 4  # what a model leaves on the device moves the next one's addresses
    assert before in behind
    monkeypatch.setenv("CXX", "clang-of-nobody")  # no toolchain: still a key, another one
    assert device_key(platform, Options()) != before


def test_a_model_is_its_content():
    def graph(seed=0, length=5):
        config = TINY["bert"]
        return build_graph(config, RandomWeights(config, seed), LoadOptions(sequence_length=length))

    model = graph()
    assert model_key(model) == model_key(graph())
    distinct = {model_key(model), model_key(graph(seed=1)), model_key(graph(length=6))}
    assert len(distinct) == 3
    weights = {n: v for n, v in model.constants.items() if v.dtype == np.float32 and v.size > 1}
    name, other = next(
        (a, b) for a, b in combinations(weights, 2) if weights[a].shape == weights[b].shape
    )
    value = weights[name]
    bits = value.copy()
    bits.reshape(-1).view(np.uint32)[0] ^= 1
    changed = replace(model, constants={**model.constants, name: bits})
    assert model_key(changed) not in distinct
    # Two names of one array are one array in device memory, two equal arrays are two.
    shared = replace(model, constants={**model.constants, other: value})
    apart = replace(model, constants={**model.constants, other: value.copy()})
    assert model_key(shared) != model_key(apart)


def test_the_body_of_a_control_flow_operator_is_part_of_the_model():
    config = TINY["bert"]
    plain = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=5))

    def with_body(op):
        inner = [helper.make_node(op, ["x"], ["y"])]
        body = helper.make_function(
            "pimloop.whole", "If_0", ["x"], ["y"], inner, [helper.make_opsetid("", 17)]
        )
        return replace(plain, functions={"If_0": body})

    assert model_key(with_body("Neg")) == model_key(with_body("Neg"))
    graphs = (plain, with_body("Neg"), with_body("Abs"))
    assert len({model_key(graph) for graph in graphs}) == 3
