"""Runs a cocotb bench of one RTL module from a pytest function.

The bench and its pytest function live in the same file, `tests/rtl/test_<module>.py`:

    import cocotb
    from cocotb.clock import Clock
    from cocotb.triggers import RisingEdge
    from pimloop.sim.bench.unit import run_bench, rtl

    @cocotb.test()
    async def counts(dut):
        Clock(dut.clk_i, 4, unit="ns").start()
        await RisingEdge(dut.clk_i)
        ...

    def test_pim_counter():
        run_bench("pim_counter", rtl("pim_counter"), bench=__file__, params={"Width": 8})

`run_bench` builds the module with Verilator (cached; `-Wall`, assertions on), with cocotb's stock
main, runs every `@cocotb.test` of the bench in a process of its own, and raises `BenchFailure`
with the failed tests, errors of the design and the end of the log when one fails. All ports are
visible to the bench, internal signals are not; a bench that must watch an internal signal wraps the
module in a test-only module with the signal as a port.

Environment: COCOTB_RANDOM_SEED repeats a run (every failure names its seed), COCOTB_TEST_FILTER
selects tests, PIMLOOP_WAVES=<folder> writes `<folder>/<top>.fst`, PIMLOOP_COVERAGE_DIR=<folder>
counts coverage and leaves one data file for each run there.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import cocotb_tools.config

from pimloop.rtl.tables.source import listed
from pimloop.sim.errors import SimError
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator import cpp_clock
from pimloop.sim.verilator.build import BuildSpec, build
from pimloop.sim.verilator.cocotb_environment import cocotb_environment

#: cocotb's main loop for Verilator.
STOCK_MAIN = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"

# cocotb prepares every module that a bench imports for readable assertions. Those of benches are
# enough; the rest, numpy above all, costs more than half a second a run.
_REWRITTEN = "test_*.py *_bench.py bench_tools.py"

#: Lines of the log shown with a failure: of its end, and of errors before that.
_TAIL_LINES = 60
_ERROR_LINES = 5


class BenchFailure(AssertionError):
    """A cocotb bench did not pass: the failed tests, errors of the design, the end of the log."""


def rtl(*modules: str) -> tuple[Path, ...]:
    """Return the packages and primitives of `rtl/` and the files of `modules`, in order.

    The checks that `rtl/sva/` binds to these modules come last.

    Parameters
    ----------
    modules
        Names without `.sv`; those of primitives and of `rtl/fpga` are known too.
    """
    folder = REPOSITORY / "rtl"
    primitives = listed("pim_primitives.f")
    known = {path.stem: path for path in (*primitives, *listed("pim_fpga.f"))}
    names = ("pim_isa_pkg", "pim_pkg", *(path.stem for path in primitives), *modules)
    sources = [known.get(name, folder / f"{name}.sv") for name in dict.fromkeys(names)]
    bound = [folder / "sva" / f"{name}_sva.sv" for name in modules]
    checks = [path for path in bound if path.exists()]
    if checks:
        checks.insert(0, folder / "sva" / "pim_handshake_check.sv")
    return (*sources, *checks)


def run_bench(
    top: str,
    sources: Sequence[Path],
    *,
    bench: str | Path,
    params: Mapping[str, int | str] | None = None,
    cpp_sources: Sequence[Path] = (),
    flags: Sequence[str] = (),
    plusargs: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    seed: int | None = None,
    cpp_clock_period: int | None = None,
    timeout: float = 300.0,
) -> None:
    """Build module `top` and run every `@cocotb.test` of the file `bench` on it.

    Parameters
    ----------
    top
        Name of the module under test.
    sources
        Its SystemVerilog files, packages first; see `rtl`.
    bench
        The Python file with the tests: `__file__` of the caller.
    params
        Parameters of `top`.
    cpp_sources
        C++ bodies of DPI imports.
    flags
        Further arguments for Verilator, e.g. `-Wno-UNUSEDSIGNAL` for one bench.
    plusargs
        Arguments of the simulator, e.g. `+depth=4`.
    environment
        Variables for the bench to read with `os.environ`.
    seed
        Of Python's and cocotb's random numbers and of the values registers start with;
        None: $COCOTB_RANDOM_SEED, or a new one.
    cpp_clock_period
        Run the clock `clk_i` in C++ with this period in picoseconds
        (`pimloop.sim.verilator.cpp_clock`), for long benches that rarely look at the clock; None:
        cocotb's main, and the bench runs its clock.
    timeout
        Wall-clock bound on the run, seconds.

    Raises
    ------
    BenchFailure
        A test failed, none ran, or the simulator died or did not end in time.
    SimError
        The simulator could not be built.
    """
    program = build(_spec(top, sources, params, cpp_sources, flags, cpp_clock_period is not None))
    if seed is None:
        seed = int(os.environ.get("COCOTB_RANDOM_SEED") or random.randrange(1, 2**31))
    bench = Path(bench).resolve()
    with tempfile.TemporaryDirectory(prefix="pimloop-bench-") as folder:
        results = Path(folder) / "results.xml"
        variables = cocotb_environment(top, bench.stem, bench.parent) | {
            "COCOTB_RESULTS_FILE": str(results),
            "COCOTB_RANDOM_SEED": str(seed),
            "COCOTB_REWRITE_ASSERTION_FILES": _REWRITTEN,
            **(environment or {}),
        }
        command = [str(program), *plusargs, f"+verilator+seed+{seed}"]
        command += _recording(top, f"{bench.stem}-{program.parent.name}-{seed}.dat")
        if cpp_clock_period is not None:
            command.append(f"+clock_period={cpp_clock_period}")
            variables[cpp_clock.VARIABLE] = str(cpp_clock_period)
        status, output = _run(command, os.environ | variables, folder, timeout)
        failures = _failures(results)
    if status == 0 and not failures:
        return
    lines = output.splitlines()
    # An assertion of the design ends every test after it: their lines would push it out of the end.
    early = [line for line in lines[:-_TAIL_LINES] if "%Fatal:" in line or "%Error:" in line]
    reason = "; ".join(failures) or f"the simulator ended with {_describe(status)}"
    heading = f"{top} ({bench.name}, COCOTB_RANDOM_SEED={seed}): {reason}"
    errors = ["--- errors of the design ---", *early[:_ERROR_LINES]] if early else []
    tail = ["--- end of the log ---", *lines[-_TAIL_LINES:]]
    raise BenchFailure("\n".join([heading, *errors, *tail]))


def _spec(
    top: str,
    sources: Sequence[Path],
    params: Mapping[str, int | str] | None,
    cpp_sources: Sequence[Path],
    flags: Sequence[str],
    own_main: bool,
) -> BuildSpec:
    """Return what to build for a bench; `own_main`: the clock runs in C++."""
    return BuildSpec(
        top=top,
        sources=tuple(sources),
        main=cpp_clock.MAIN if own_main else STOCK_MAIN,
        cpp_sources=(*cpp_sources, *(cpp_clock.SOURCES if own_main else ())),
        headers=cpp_clock.HEADERS if own_main else (),
        make_rules=cpp_clock.MAKE_RULES if own_main else "",
        params=dict(params or {}),
        # Registers without a reset start with random values, so that relying on 0 is seen.
        flags=("--x-assign", "unique", "--x-initial", "unique", *flags),
        # Python is most of the run: what is optimised takes longer to compile than it saves.
        optimise="-O0",
        together=True,
        trace="PIMLOOP_WAVES" in os.environ,
        coverage="PIMLOOP_COVERAGE_DIR" in os.environ,
    )


def _recording(top: str, data: str) -> list[str]:
    """Return the arguments for waves and coverage, which the environment asks for."""
    waves = os.environ.get("PIMLOOP_WAVES")
    coverage = os.environ.get("PIMLOOP_COVERAGE_DIR")
    # Random values before the reset, but not where coverage is counted: no test made them.
    arguments = [f"+verilator+rand+reset+{2 if coverage is None else 0}"]
    if waves is not None:
        Path(waves).mkdir(parents=True, exist_ok=True)
        arguments += ["--trace", "--trace-file", str(Path(waves).resolve() / f"{top}.fst")]
    if coverage is not None:
        Path(coverage).mkdir(parents=True, exist_ok=True)
        arguments.append(f"+verilator+coverage+file+{Path(coverage).resolve() / data}")
    return arguments


def _run(
    command: list[str], environment: Mapping[str, str], folder: str, timeout: float
) -> tuple[int | None, str]:
    """Run a simulator; return its exit status (None: ended by us after `timeout`) and output."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        status: int | None = None
        try:
            output = process.communicate(timeout=timeout)[0]
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
        except BaseException:
            process.kill()
            raise
    return status, output.decode(errors="replace")


def _describe(status: int | None) -> str:
    if status is None:
        return "no result in time"
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _failures(results: Path) -> list[str]:
    """Return one line for each failed test of a results file; a missing file is a failure too."""
    try:
        cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return ["no test ended"]
    if not cases:
        return ["the bench has no test to run"]
    return [
        f"{case.get('name')} failed"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]


__all__ = ["BenchFailure", "SimError", "rtl", "run_bench"]
