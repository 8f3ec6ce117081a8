"""Builds simulators with Verilator into a cache named by everything a build depends on.

A build folder's name ends in a hash of sources, parameters, flags and tools, so that a changed
file or flag never meets an old binary and a traced build never replaces a fast one. A build
appears under its name only when complete (made elsewhere, then renamed), and a lock lets runs of
the same clone at the same time share the work. Neighbours: `pimloop.sim.verilator.toolchain` finds
the tools, `pimloop.sim.bench.unit` and `pimloop.sim.device.process` say what to build.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.files import locked
from pimloop.sim.paths import REPOSITORY, PlainPaths, cache_place, distrust
from pimloop.sim.verilator.ports import control_file
from pimloop.sim.verilator.runtime import copy_objects, keep_objects, runtime_folder
from pimloop.sim.verilator.steps import BUILD_TIMEOUT, run_step
from pimloop.sim.verilator.toolchain import Toolchain, find_toolchain, has_header, missing

log = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent

#: Reasons for every lint waiver are in this file.
LINT_WAIVERS = HERE / "lint.vlt"

#: Environment variable with the folder for coverage data: when set, everything that is built
#: counts coverage, and every run leaves one data file there (`pimloop.sim.check.coverage`).
COVERAGE_VARIABLE = "PIMLOOP_COVERAGE_DIR"

#: What is counted then. Toggles of vectors of up to 1024 bits: the data paths of 512 and the
#: accumulators of a beat; Verilator's own limit is 256.
COVERAGE_FLAGS = (
    *("--coverage-line", "--coverage-toggle", "--coverage-user"),
    *("--coverage-max-width", "1024"),
)

#: Environment variable: when 1, simulators are built with the least work, as one file and less
#: optimised. For test suites: many simulators that run for seconds, while all cores are busy.
QUICK_VARIABLE = "PIMLOOP_QUICK_BUILDS"

#: Put beside the generated code where coverage is counted: counts toggles of wide vectors right.
COVERAGE_HEADER = HERE / "toggles" / "verilated_cov.h"

#: The LZ4 that the FST writer gets where the system has none.
COMPRESSION_HEADER = HERE / "lz4" / "lz4.h"

#: What the generated code of every design and its main include: compiled once for all benches.
PRELUDE = HERE / "prelude.h"

#: Name of the program in a build folder.
PROGRAM = "simulator"

#: Beside it: the key of what it was built from, without the tools.
SOURCES = "sources"

#: Jobs of one make. More would fight with whatever else runs on a small machine.
_JOBS = min(2, os.cpu_count() or 1)

#: Builds that are kept whatever their age, and seconds after its last use in which any is kept: a
#: build that somebody uses now is never removed.
KEPT_BUILDS = 300
KEPT_SECONDS = 24 * 3600.0

#: In the same place where all code is one file: the headers before it, as compiled for all benches.
_PRELUDE_RULES = f"""\
{PRELUDE.name}.gch:
\t$(CXX) $(OPT_FAST) $(CXXFLAGS) $(filter-out -MMD,$(CPPFLAGS)) -x c++-header -o $@ {PRELUDE.name}
Vtop__ALL.o: {PRELUDE.name}.gch
Vtop__ALL.o: private CPPFLAGS += -include {PRELUDE.name}
"""

#: Where all code is one file and waves can be written: what runs once is a second file, not
#: optimised. The declarations of waves run once, and optimised they are most of the work.
_SLOW_APART = """\
Vtop__SLOW.cpp: $(addsuffix .cpp, $(VM_CLASSES_SLOW) $(VM_SUPPORT_SLOW))
\t$(VERILATOR_INCLUDER) -DVL_INCLUDE_OPT=include $^ > $@
Vtop__SLOW.o: override OPT_FAST := $(OPT_SLOW)
Vtop__ALL.a: Vtop__SLOW.o
"""


def _quick() -> bool:
    return os.environ.get(QUICK_VARIABLE) == "1"


@dataclass(frozen=True)
class BuildSpec:
    """Everything that decides what a simulator is."""

    top: str  # top module; its ports become public
    sources: tuple[Path, ...]  # SystemVerilog, packages first
    main: Path  # C++ file with main()
    cpp_sources: tuple[Path, ...] = ()  # bodies of DPI imports
    headers: tuple[Path, ...] = ()  # further files the C++ includes
    params: Mapping[str, int | str] = field(default_factory=dict)  # parameters of `top`
    flags: tuple[str, ...] = ()  # further arguments for Verilator
    timescale: str = "1ns/1ps"  # unit/precision
    # OPT_FAST: compiler options for what runs every cycle.
    optimise: str = field(default_factory=lambda: "-Og" if _quick() else "-O2")
    # All generated code and `main` in one file: up to half the work, but on one core, and with the
    # same options for what runs once (apart from traced builds).
    together: bool = field(default_factory=_quick)
    make_rules: str = ""  # lines added to the makefile
    trace: bool = False  # able to write FST waveforms
    assertions: bool = True  # SystemVerilog assertions checked
    coverage: bool = False  # line, toggle and user coverage counted

    @property
    def runtime_optimise(self) -> str:
        """Compiler options for Verilator's runtime library."""
        return "-Og" if self.together else "-O2"

    @property
    def prelude(self) -> bool:
        """Whether the headers are compiled apart: half the work where nothing is optimised."""
        return self.together and self.optimise == "-O0" and not (self.trace or self.coverage)


def build_root() -> Path:
    """Return the folder of all builds: $PIMLOOP_BUILD_DIR, or `build` of this clone.

    An installed package builds in the user's cache folder.

    Raises
    ------
    SimError
        The user has no home.
    """
    chosen = os.environ.get("PIMLOOP_BUILD_DIR")
    if chosen:
        return Path(chosen).resolve()
    if (REPOSITORY / "pyproject.toml").is_file():
        return REPOSITORY / "build"
    try:
        return (cache_place() / "build").resolve()
    except RuntimeError as error:
        raise SimError(f"no folder to build in: {error}; set PIMLOOP_BUILD_DIR to one") from error


def _cocotb_libraries() -> Path:
    """Return the folder of the libraries that connect cocotb to a simulator."""
    try:
        # Imported here: `pimloop doctor` must work where cocotb is missing.
        from cocotb_tools.config import libs_dir
    except ImportError as error:
        raise missing("cocotb", "cocotb is not installed in this Python") from error
    return Path(libs_dir)


def build_key(spec: BuildSpec, toolchain: Toolchain) -> str:
    """Return a hash of everything that the build of `spec` depends on.

    Raises
    ------
    SimError
        A source cannot be read, or cocotb is missing.
    """
    tools = {"tools": toolchain.identity(), "cocotb": str(_cocotb_libraries())}
    return _key(spec, tools)


def build_key_without_tools(spec: BuildSpec) -> str:
    """Return a hash of the sources and settings of `spec`, whatever tools will build it.

    Raises
    ------
    SimError
        A source cannot be read.
    """
    return _key(spec, {})


def _key(spec: BuildSpec, tools: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    settings = {
        "top": spec.top,
        "params": dict(spec.params),
        "flags": spec.flags,
        "timescale": spec.timescale,
        "optimise": spec.optimise,
        "make_rules": spec.make_rules,
        "together": spec.together,
        "options": [spec.trace, spec.assertions, spec.coverage],
        **tools,
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    recipe = [Path(__file__), HERE / "ports.py", HERE / "runtime.py"]
    recipe += [HERE / "toolchain.py", LINT_WAIVERS]
    if spec.prelude:
        recipe.append(PRELUDE)
    if spec.coverage:
        recipe.append(COVERAGE_HEADER)
    if spec.trace:
        recipe.append(COMPRESSION_HEADER)
    files = (*spec.sources, spec.main, *spec.cpp_sources, *spec.headers, *recipe)
    return key_of_files(digest, files)


def key_of_files(digest: hashlib._Hash, files: Iterable[Path]) -> str:
    """Return the key of a build: `digest`, which has its settings, and the content of `files`.

    Raises
    ------
    SimError
        A file cannot be read.
    """
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SimError(f"cannot read {path}: {error.strerror}") from error
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def build(spec: BuildSpec) -> Path:
    """Return the simulator program for `spec`, building it when it is not in the cache.

    Where a tool is missing, a program that any tools built from the same sources serves too.

    Raises
    ------
    SimError
        A tool is missing, the build folder is not writable, or Verilator or the compiler refuses
        the sources; the message shows the first error line and the path of the log.
    """
    try:
        toolchain = find_toolchain()
    except SimError:
        built = _built_before(spec)
        if built is None:
            raise
        return built
    name = f"{spec.top}-{build_key(spec, toolchain)}"
    folder = build_root() / name
    program = folder / PROGRAM
    if program.exists():
        refuse_foreign(folder.parent, folder, program)
        mark_used(folder)
        return program
    try:
        make_root(folder.parent)
        # The holder's own build is bounded by BUILD_TIMEOUT.
        with locked(folder.parent / f".{name}.lock", 2 * BUILD_TIMEOUT):
            if not program.exists():
                prune(folder.parent)
                work = folder.parent / f".{folder.name}.tmp"
                try:
                    _build_into(spec, toolchain, folder, work)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    except TimeoutError as error:
        raise SimError(
            f"another process has built {name} for too long; end it and start again"
        ) from error
    except OSError as error:
        raise SimError(
            f"cannot write in the build folder {folder.parent}: {error.strerror or error}; "
            "make it writable, or set PIMLOOP_BUILD_DIR to a folder that is"
        ) from error
    return program


def _sources_key(spec: BuildSpec) -> str:
    """Return what every build of the same sources has in common, whatever tools built it."""
    return _key(spec, {"cocotb": str(_cocotb_libraries())})


def _built_before(spec: BuildSpec) -> Path | None:
    """Return the program that was last built from the sources of `spec`, by whatever tools."""
    root, wanted = build_root(), _sources_key(spec)
    built = []
    for note in root.glob(f"{spec.top}-*/{SOURCES}"):
        program = note.with_name(PROGRAM)
        with contextlib.suppress(OSError):
            if note.read_text(encoding="ascii") == wanted and program.exists():
                built.append((note.stat().st_mtime, program))
    if not built:
        return None
    _, program = max(built)
    refuse_foreign(root, program.parent, program)
    mark_used(program.parent)
    return program


def make_root(root: Path) -> None:
    """Make the folder of all builds, for its user alone to write; SimError when others can."""
    root.mkdir(parents=True, exist_ok=True, mode=0o755)
    refuse_foreign(root)


def refuse_foreign(*paths: Path) -> None:
    """Raise SimError when another user can have put something there: builds are executed."""
    for path in paths:
        why = distrust(path, of_root=True)
        if why is not None:
            raise SimError(
                f"the build folder is not used: {why}, or set PIMLOOP_BUILD_DIR to a folder of your"
                " own"
            )


def mark_used(folder: Path) -> None:
    """Note that a build is used now; a build folder that cannot be written is left as it is."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def prune(root: Path) -> list[Path]:
    """Remove the builds used least recently beyond `KEPT_BUILDS`, unless used in `KEPT_SECONDS`.

    Returns
    -------
    list[Path]
        What was removed.
    """
    ages = {}
    for folder in root.iterdir():
        # Builds end in a hash; logs, locks and the runtime's objects are not of that form.
        if re.fullmatch(r"[\w-]+-[0-9a-f]{16}", folder.name) and folder.is_dir():
            with contextlib.suppress(OSError):
                ages[folder] = time.time() - folder.stat().st_mtime
    old = sorted(ages, key=ages.__getitem__)[KEPT_BUILDS:]
    removed = [folder for folder in old if ages[folder] > KEPT_SECONDS]
    for folder in removed:
        # Renamed first: nobody may find half a build.
        with contextlib.suppress(OSError):
            trash = folder.rename(root / f".{folder.name}.old")
            shutil.rmtree(trash, ignore_errors=True)
            log.info("removed %s, not used for long", folder.name)
    return removed


def _build_into(spec: BuildSpec, toolchain: Toolchain, folder: Path, work: Path) -> None:
    """Build in the temporary folder `work`, then rename the result to `folder`."""
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed; we hold the lock
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(mode=0o700)
    started = time.monotonic()
    log.info("building %s", folder.name)
    log_path = work / "build.log"
    kept = folder.parent / f"{folder.name}.failed.log"
    # Waves, assertions and coverage change none of its objects but the counters; they add some.
    apart, others = _rules_of_objects(spec.make_rules)
    apart["verilated_cov.o"] = COVERAGE_HEADER.read_text(encoding="utf-8")
    apart |= _own_objects(spec)
    settings = (others, spec.runtime_optimise)
    runtime = runtime_folder(folder.parent, toolchain.identity(), settings)
    with PlainPaths() as plain:
        tools = toolchain.renamed(plain)
        for step, command in enumerate(_commands(spec, tools, work, plain)):
            if step == 1:
                copy_objects(runtime, work, apart)
            run_step(command, spec.top, tools, log_path, kept)
    keep_objects(work, runtime, apart)
    final = work / "final"
    final.mkdir(mode=0o755)
    for name in (PROGRAM, "build.log"):
        (work / name).rename(final / name)
    (final / PROGRAM).chmod(0o755)  # whatever the umask is
    (final / SOURCES).write_text(_sources_key(spec), encoding="ascii")
    final.rename(folder)
    log.info("built %s in %.1f s", folder.name, time.monotonic() - started)


def _own_objects(spec: BuildSpec) -> dict[str, str]:
    """Return what the objects beside the runtime library and the design depend on, by name."""
    options = [spec.optimise, spec.trace, spec.assertions, spec.coverage]
    objects = {}
    for path in spec.cpp_sources:
        digest = hashlib.sha256(json.dumps([str(path), options]).encode())
        objects[f"{path.stem}.o"] = key_of_files(digest, (path, *spec.headers))
    if spec.prelude:
        content = PRELUDE.read_text(encoding="utf-8")
        objects[f"{PRELUDE.name}.gch"] = json.dumps([content, options])
    return objects


def _rules_of_objects(make_rules: str) -> tuple[dict[str, str], str]:
    """Return the rules for single objects of the runtime library, by object; and all others."""
    lines = make_rules.splitlines()
    single = {m[1]: line for line in lines if (m := re.match(r"(verilated\w*\.o):", line))}
    return single, "\n".join(line for line in lines if line not in single.values())


def _commands(
    spec: BuildSpec, toolchain: Toolchain, work: Path, plain: PlainPaths
) -> list[list[str]]:
    """Write the control file and makefile into `work`; return the commands to run there."""
    ports = work / "ports.vlt"
    ports.write_text(control_file(spec.top, spec.sources), encoding="utf-8")
    rules = spec.make_rules
    if spec.together:
        if spec.prelude:
            shutil.copy(PRELUDE, work)
            rules += _PRELUDE_RULES
        rules += f"Vtop__ALL.o: private CPPFLAGS += -include {plain(spec.main.resolve())}\n"
        if spec.trace:
            rules += _SLOW_APART
    (work / "rules.mk").write_text(rules, encoding="utf-8")
    libraries = shlex.quote(str(_cocotb_libraries()))
    verilate = [toolchain.verilator.path, "--cc", "--exe", "--vpi", "--no-timing", "-Wall"]
    verilate += ["--top-module", spec.top, "--prefix", "Vtop", "--Mdir", str(plain(work))]
    verilate += ["-o", PROGRAM]
    verilate += ["--timescale", spec.timescale, "--assert" if spec.assertions else "--no-assert"]
    verilate += [f"-G{name}={value}" for name, value in spec.params.items()]
    verilate += list(spec.flags)
    if spec.trace:
        verilate += ["--trace-fst", "--trace-structs"]
    if spec.coverage:
        verilate += COVERAGE_FLAGS
        shutil.copy(COVERAGE_HEADER, work)
    inputs = [LINT_WAIVERS, ports, *spec.sources, *spec.cpp_sources]
    if not spec.together:
        inputs.append(spec.main)
    verilate += [str(plain(path.resolve())) for path in inputs]
    compile_ = [toolchain.make.path, "-f", "Vtop.mk", "-f", "rules.mk", f"-j{_JOBS}", PROGRAM]
    if spec.together:
        compile_.append("VM_PARALLEL_BUILDS=0")
        if spec.trace:
            compile_.append("VM_SLOW=")  # not in the one file: see `_SLOW_APART`
    # Only what runs every cycle is optimised: the rest is most of the code and runs once.
    compile_ += [f"OPT_FAST={spec.optimise}", "OPT_SLOW=", f"OPT_GLOBAL={spec.runtime_optimise}"]
    compile_ += toolchain.make_overrides
    compile_ += plain.make_overrides(work)
    # -rdynamic: cocotb's libraries and the device server call functions of the program.
    link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator -rdynamic"
    link += f" {toolchain.thread_libraries}"
    if spec.trace:
        lz4_folder, lz4_library = _trace_compression(toolchain, plain)
        compile_.append(f"USER_CPPFLAGS={lz4_folder}")
        link += f" {lz4_library} -lz"
    compile_.append(f"LDLIBS={link}")
    return [verilate, compile_]


def _trace_compression(toolchain: Toolchain, plain: PlainPaths) -> tuple[str, str]:
    """Return the include option and the library for the LZ4 that the FST writer needs."""
    if not has_header("zlib.h", toolchain.compiler):
        raise missing("zlib", "FST tracing needs the headers of zlib")
    if has_header("lz4.h", toolchain.compiler):
        return "", "-llz4"
    # Our own writer of the LZ4 block format: a header, so there is no library to link.
    return f"-I{plain(COMPRESSION_HEADER.parent)}", ""
