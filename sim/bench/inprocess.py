"""Runs a SystemVerilog module inside this Python process, for property-based and corner tests.

The wrapper around the Verilator model is pyverilator's C++ template; what of pyverilator 0.7 does
not work today is replaced here: its import of `tclwrapper` (which needs a tkinter call that
Python 3.11 removed, and serves gtkwave only) meets a stub, and its build step (which fails with
Verilator 5) is our own, with a cache. To the template we add a clock loop in C++, the addresses of
the ports, so that wide vectors are numpy views, and the conversion of `$stop`, `$fatal` and
`$finish` into an exception: in a shared process they must not end the interpreter.

    with InProcessModel("pim_lanes", rtl("pim_lane", "pim_lanes"), params={"Lanes": 32}) as lanes:
        lanes["valid_i"] = 1
        lanes.view("vector_i")[:] = words
        lanes.tick()

Neighbours: `pimloop.sim.verilator.toolchain` finds the tools, `pimloop.sim.verilator.build` builds
whole simulators (and names the build folder), `pimloop.sim.bench.unit` runs cocotb benches, which
suit anything with a protocol better.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pimloop.sim.errors import SimError
from pimloop.sim.paths import PlainPaths
from pimloop.sim.verilator.build import (
    COVERAGE_FLAGS,
    COVERAGE_HEADER,
    COVERAGE_VARIABLE,
    LINT_WAIVERS,
    build_root,
    key_of_files,
    make_root,
    mark_used,
    refuse_foreign,
)
from pimloop.sim.verilator.runtime import copy_objects, keep_objects, runtime_folder
from pimloop.sim.verilator.steps import run_step
from pimloop.sim.verilator.toolchain import Toolchain, find_toolchain

log = logging.getLogger(__name__)

_serial = itertools.count()  # tells the coverage files of one process apart
_WRAPPER = "pyverilator_wrapper.cpp"
_CFLAGS = "-fPIC -DVL_TIME_CONTEXT -DVL_USER_FINISH -DVL_USER_STOP -DVL_USER_FATAL"
#: Compiler options: Verilator's runtime library hardly runs, and Python is most of the rest.
_OPTIMISE = "-O0"
_PORT = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&?(\w+),(\d+),0(?:,\d+)?\);")
# What the template lacks. A throw leaves the model in the middle of an evaluation, so a model
# that has failed is not evaluated again.
_ADDITIONS = """
#include <stdexcept>
#include <string>
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

namespace {{

std::string pimloop_message;

[[noreturn]] void pimloop_raise(const char* file, int line, const std::string& what) {{
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}}

void pimloop_finish(const char* file, int line, const char*) {{
    pimloop_raise(file, line, "$finish");
}}

void pimloop_step({model}* top) {{
    Verilated::threadContextp(top->contextp());
    top->eval();
    top->contextp()->timeInc(1);
}}

template <typename Body>
int pimloop_guard(Body body) {{
    try {{
        body();
        return 0;
    }} catch (const std::exception& error) {{
        pimloop_message = error.what();
        return 1;
    }}
}}

}}  // namespace

void vl_stop(const char* file, int line, const char*) VL_MT_UNSAFE {{
    pimloop_raise(file, line, "$stop or a failed assertion");
}}

void vl_fatal(const char* file, int line, const char*, const char* what) VL_MT_UNSAFE {{
    pimloop_raise(file, line, what);
}}

extern "C" {{

const char* pimloop_error() {{ return pimloop_message.c_str(); }}

// The next model has a context, and so a time, of its own: a model cannot join a context whose
// time has moved.
VerilatedContext* pimloop_prepare() {{
    vl_user_finish = pimloop_finish;
    auto* const context = new VerilatedContext;
    Verilated::threadContextp(context);
    return context;
}}

void pimloop_dispose({model}* top, VerilatedContext* context) {{
    static VerilatedContext idle;
    destruct(top);
    Verilated::threadContextp(&idle);
    delete context;
}}

int pimloop_eval({model}* top) {{
    return pimloop_guard([top] {{ pimloop_step(top); }});
}}

int pimloop_final({model}* top) {{
    return pimloop_guard([top] {{ top->final(); }});
}}

int pimloop_tick({model}* top, uint64_t cycles) {{
    return pimloop_guard([top, cycles] {{
        for (uint64_t i = 0; i < cycles; ++i) {{
            {clock_high}
            pimloop_step(top);
            {clock_low}
            pimloop_step(top);
        }}
    }});
}}

int pimloop_coverage({model}* top, const char* path) {{
#if VM_COVERAGE
    return pimloop_guard([top, path] {{ top->contextp()->coveragep()->write(path); }});
#else
    (void)top;
    (void)path;
    return 0;
#endif
}}

{addresses}

}}
"""


class _NoGtkWave:
    """Stands in for `tclwrapper.TCLWrapper`."""

    def __init__(self, *_arguments: str) -> None:
        raise SimError("gtkwave cannot be started from here; write a VCD file and open it")


def _pyverilator() -> tuple[Any, Any]:
    """Return the modules `pyverilator` and `pyverilator.verilatorcpp`.

    Raises
    ------
    SimError
        The package is not installed.
    """
    stub = types.ModuleType("tclwrapper")
    stub.TCLWrapper = _NoGtkWave  # type: ignore[attr-defined]
    earlier = sys.modules.get("tclwrapper")
    sys.modules["tclwrapper"] = stub
    try:
        package = importlib.import_module("pyverilator")
        return package, importlib.import_module("pyverilator.verilatorcpp")
    except ModuleNotFoundError as error:
        raise SimError(
            f"pyverilator cannot be imported ({error}); install it with: "
            f"{sys.executable} -m pip install pyverilator==0.7.0"
        ) from error
    finally:
        if earlier is None:
            del sys.modules["tclwrapper"]
        else:
            sys.modules["tclwrapper"] = earlier


def build_library(
    top: str,
    sources: Sequence[Path],
    *,
    params: Mapping[str, int | str] | None = None,
    cpp_sources: Sequence[Path] = (),
    headers: Sequence[Path] = (),
    flags: Sequence[str] = (),
    clock: str = "clk_i",
) -> Path:
    """Return the shared library of a module, building it when it is not in the cache.

    Parameters
    ----------
    top
        Name of the module.
    sources
        Its SystemVerilog files, packages first.
    params
        Parameters of `top`.
    cpp_sources
        C++ bodies of DPI imports.
    headers
        Further files the C++ includes.
    flags
        Further arguments for Verilator.
    clock
        Input that `InProcessModel.tick` toggles; a module without it has no clock.

    Raises
    ------
    SimError
        A tool or a source is missing, the build folder is not writable, or Verilator or the
        compiler refuses the sources; the message has the first error line and the log's path.
    """
    toolchain = find_toolchain()
    coverage = bool(os.environ.get(COVERAGE_VARIABLE))
    root = build_root()
    verilate = [toolchain.verilator.path, "--cc", "--exe", "--no-timing", "-Wall", "--assert"]
    verilate += ["--trace-vcd", "--top-module", top, "--prefix", f"V{top}", "-o", "model.so"]
    verilate += [f"-G{name}={value}" for name, value in (params or {}).items()]
    if coverage:
        verilate += COVERAGE_FLAGS
        headers = [*headers, COVERAGE_HEADER]
    # Several libraries live in one process: no symbol may be shared between them.
    unique = "" if "clang" in toolchain.compiler.version else "-fno-gnu-unique"
    verilate += ["-CFLAGS", f"{_CFLAGS} {unique}"]
    # `construct`, which nothing in the library calls, brings all of it into the link.
    verilate += ["-LDFLAGS", "-shared -Wl,-Bsymbolic -Wl,-u,construct", *flags]
    key = _key([*verilate, clock], [*sources, *cpp_sources, *headers, LINT_WAIVERS], toolchain)
    folder = root / f"inprocess-{top}-{key}"
    library = folder / "model.so"
    if library.exists():
        refuse_foreign(root, folder, library)
        mark_used(folder)
        return library
    inputs = [path.resolve() for path in (LINT_WAIVERS, *sources, *cpp_sources)]
    work: Path | None = None
    try:
        make_root(root)
        work = Path(tempfile.mkdtemp(prefix=".inprocess-", dir=root))
        if coverage:
            shutil.copy(COVERAGE_HEADER, work)
        with PlainPaths() as plain:
            verilate += [str(plain(path)) for path in inputs]
            _build(top, verilate, clock, toolchain.renamed(plain), work, plain)
        if not library.exists():
            (work / "final").rename(folder)
    except OSError as error:
        # Another process may have been faster with the same build: its library is ours too.
        if not library.exists():
            raise SimError(
                f"cannot write in the build folder {root}: {error.strerror or error}; "
                "make it writable, or set PIMLOOP_BUILD_DIR to a folder that is"
            ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    return library


def _key(settings: Sequence[str], files: Sequence[Path], toolchain: Toolchain) -> str:
    digest = hashlib.sha256(json.dumps([*settings, toolchain.identity()]).encode())
    return key_of_files(digest, (*files, Path(__file__)))


def _build(
    top: str,
    verilate: Sequence[str],
    clock: str,
    toolchain: Toolchain,
    work: Path,
    plain: PlainPaths,
) -> None:
    """Build `work`/final/model.so."""
    log.info("building %s in-process", top)
    log_path = work / "build.log"
    kept = work.parent / f"inprocess-{top}.failed.log"
    run_step([*verilate, "--Mdir", str(plain(work))], top, toolchain, log_path, kept)
    header = (work / f"V{top}.h").read_text(encoding="utf-8")
    ports = [(kind, name, int(high) + 1) for kind, name, high in _PORT.findall(header)]
    (work / _WRAPPER).write_text(_wrapper(top, ports, clock), encoding="utf-8")
    # Everything in one file: that takes half the time.
    rule = f"V{top}__ALL.o: CPPFLAGS += -include {_WRAPPER}\n"
    (work / "rules.mk").write_text(rule, encoding="utf-8")
    make = [toolchain.make.path, "-f", f"V{top}.mk", "-f", "rules.mk", "-j2", "model.so"]
    make += ["VM_PARALLEL_BUILDS=0", f"OPT_FAST={_OPTIMISE}", f"OPT_GLOBAL={_OPTIMISE}"]
    make += [*toolchain.make_overrides, *plain.make_overrides(work)]
    settings = (_CFLAGS, _OPTIMISE)
    apart = {"verilated_cov.o": COVERAGE_HEADER.read_text(encoding="utf-8")}
    runtime = runtime_folder(work.parent, "inprocess", toolchain.identity(), settings)
    copy_objects(runtime, work, apart)
    run_step(make, top, toolchain, log_path, kept)
    keep_objects(work, runtime, apart)
    (work / "final").mkdir(mode=0o755)
    (work / "model.so").rename(work / "final" / "model.so")
    (work / "final" / "model.so").chmod(0o755)  # whatever the umask is


def _wrapper(top: str, ports: Sequence[tuple[str, str, int]], clock: str) -> str:
    _, template = _pyverilator()
    inputs = [(name, width) for kind, name, width in ports if kind == "IN"]
    outputs = [(name, width) for kind, name, width in ports if kind == "OUT"]
    clocked = (clock, 1) in inputs
    additions = _ADDITIONS.format(
        model=f"V{top}",
        clock_high=f"top->{clock} = 1;" if clocked else "",
        clock_low=f"top->{clock} = 0;" if clocked else "",
        addresses="\n".join(
            f"void* pimloop_address_{name}(V{top}* top) {{ return &top->{name}; }}"
            for _, name, _ in ports
        ),
    )
    text: str = template.template_cpp(top, inputs, outputs, [], json.dumps(json.dumps(None)))
    return text + additions


class InProcessModel:
    """One instance of a SystemVerilog module in this process.

    Ports are read and written by name: `model["op_i"] = 3`, or through `view`, a numpy view of
    the port's storage. Writing a port has no effect before the next `tick` or `eval`. The
    parameters are those of `build_library`; inputs start at 0 and initial blocks have run.

    Attributes
    ----------
    inputs, outputs
        Width in bits of every port, by name.
    simulation
        The `pyverilator.PyVerilator` object below.

    Raises
    ------
    SimError
        The library cannot be built or loaded.
    """

    _STORAGE: ClassVar[tuple[tuple[int, str], ...]] = (
        (8, "u1"),
        (16, "u2"),
        (32, "u4"),
        (64, "u8"),
    )
    _SIGNATURES: ClassVar[tuple[tuple[str, Any, list[Any]], ...]] = (
        ("error", ctypes.c_char_p, []),
        ("prepare", ctypes.c_void_p, []),
        ("dispose", None, [ctypes.c_void_p, ctypes.c_void_p]),
        ("eval", ctypes.c_int, [ctypes.c_void_p]),
        ("final", ctypes.c_int, [ctypes.c_void_p]),
        ("tick", ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint64]),
        ("coverage", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
    )

    def __init__(
        self,
        top: str,
        sources: Sequence[Path],
        *,
        params: Mapping[str, int | str] | None = None,
        cpp_sources: Sequence[Path] = (),
        headers: Sequence[Path] = (),
        flags: Sequence[str] = (),
        clock: str = "clk_i",
    ) -> None:
        self._open = False
        self._failure: str | None = None
        self._tracing = False
        self._library = build_library(
            top,
            sources,
            params=params,
            cpp_sources=cpp_sources,
            headers=headers,
            flags=flags,
            clock=clock,
        )
        package, _ = _pyverilator()
        try:
            self._functions = ctypes.CDLL(str(self._library))
        except OSError as error:
            raise SimError(
                f"cannot load {self._library}: {error}; delete the file, it will be built again"
            ) from error
        for name, result, arguments in self._SIGNATURES:
            function = getattr(self._functions, f"pimloop_{name}")
            function.restype, function.argtypes = result, arguments
        self._context = self._functions.pimloop_prepare()
        self.simulation = package.PyVerilator(str(self._library), auto_eval=False)
        self.inputs: dict[str, int] = dict(self.simulation.inputs)
        self.outputs: dict[str, int] = dict(self.simulation.outputs)
        self._clocked = clock in self.inputs
        self._top = ctypes.c_void_p(self.simulation.model)
        self._open = True
        self._views = {name: self._map(name) for name in (*self.inputs, *self.outputs)}
        self._check(self._functions.pimloop_eval(self._top))

    def __enter__(self) -> InProcessModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, port: str) -> int:
        return int.from_bytes(self.view(port).tobytes(), "little")

    def __setitem__(self, port: str, value: int) -> None:
        if port in self.outputs:
            raise KeyError(f"{port} is an output")
        view = self.view(port)
        if value < 0 or value >> self.inputs[port]:
            raise ValueError(f"{value} does not fit {port} of {self.inputs[port]} bits")
        view[:] = np.frombuffer(value.to_bytes(view.nbytes, "little"), dtype=view.dtype)

    def view(self, port: str) -> NDArray[np.unsignedinteger[Any]]:
        """Return the storage of a port.

        One element of 8, 16, 32 or 64 bits, the smallest that holds the port; 32-bit words, the
        lowest first, for ports wider than 64 bits. Bits above the port's width must stay 0. The
        view must not be used after `close`.
        """
        if not self._open:
            raise SimError(f"{self._library.parent.name} is closed")
        if port not in self._views:
            raise KeyError(f"no port {port}; there are {', '.join(self._views)}")
        return self._views[port]

    def eval(self) -> None:
        """Let the outputs follow the inputs, without a clock edge unless the inputs have one.

        Raises
        ------
        SimError
            The design stopped (`$stop`, `$fatal`, `$finish`, failed assertion), now or earlier.
        """
        self._usable()
        self._check(self._functions.pimloop_eval(self._top))
        if self._tracing:
            self.simulation.add_to_vcd_trace()

    def tick(self, cycles: int = 1) -> None:
        """Give the clock `cycles` rising edges; inputs keep their values. Errors as for `eval`."""
        self._usable()
        if not self._clocked:
            raise SimError(f"{self._library.parent.name} has no clock to tick; use eval")
        if not self._tracing:
            self._check(self._functions.pimloop_tick(self._top, cycles))
            return
        for _ in range(cycles):
            self._check(self._functions.pimloop_tick(self._top, 1))
            self.simulation.add_to_vcd_trace()

    def start_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a VCD file from now on: one sample a clock cycle, or one each `eval`."""
        self._usable()
        self.simulation.start_vcd_trace(os.fspath(path), auto_tracing=False)
        self._tracing = True

    def stop_trace(self) -> None:
        """Complete the VCD file; without one, do nothing."""
        if self._tracing:
            self._tracing = False
            self.simulation.stop_vcd_trace()

    def close(self) -> None:
        """Run final blocks, write coverage where it is counted, and free the instance."""
        if not self._open:
            return
        self.stop_trace()
        self._open = False
        self._views.clear()
        if self._failure is None:
            self._functions.pimloop_final(self._top)
        coverage = os.environ.get(COVERAGE_VARIABLE)
        if coverage:
            Path(coverage).mkdir(parents=True, exist_ok=True)
            name = f"{self._library.parent.name}-{os.getpid()}-{next(_serial)}.dat"
            data = Path(coverage).resolve() / name
            self._functions.pimloop_coverage(self._top, os.fsencode(data))
        self._functions.pimloop_dispose(self._top, self._context)
        self.simulation.model = None

    def _usable(self) -> None:
        if not self._open:
            raise SimError(f"{self._library.parent.name} is closed")
        if self._failure is not None:
            raise SimError(f"the design stopped earlier: {self._failure}")

    def _check(self, status: int) -> None:
        if status:
            self._failure = self._functions.pimloop_error().decode(errors="replace")
            raise SimError(f"the design stopped: {self._failure}")

    def _map(self, port: str) -> NDArray[np.unsignedinteger[Any]]:
        width = self.inputs[port] if port in self.inputs else self.outputs[port]
        kind = np.dtype(next((code for limit, code in self._STORAGE if width <= limit), "u4"))
        count = 1 if width <= 64 else -(-width // 32)
        address_of = getattr(self._functions, f"pimloop_address_{port}")
        address_of.restype = ctypes.c_void_p
        storage = (ctypes.c_uint8 * (count * kind.itemsize)).from_address(address_of(self._top))
        return np.ctypeslib.as_array(storage).view(kind)
