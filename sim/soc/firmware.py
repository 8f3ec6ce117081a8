"""Compiles programs for the CPU of the SoC, with the start code and the board's functions.

Neighbour: `pimloop.sim.soc.machine` has the addresses, `soc.h`, and runs the result.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pimloop.sim.errors import SimError

HERE = Path(__file__).resolve().parent / "program"

#: Compilers for RISC-V without an operating system, as distributions call them.
COMPILERS = ("riscv64-unknown-elf-gcc", "riscv32-unknown-elf-gcc", "riscv-none-elf-gcc")

#: The command that installs compiler and C library on Debian and Ubuntu.
REMEDY = "sudo apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"

# The CPU is RV32IM; before version 2019 of the ISA its control registers were part of I.
_MACHINE = ("-march=rv32im", "-misa-spec=2.2", "-mabi=ilp32", "-specs=picolibc.specs")
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
    *("-ffunction-sections", "-fdata-sections", "-nostartfiles", "-Wl,--gc-sections"),
)
# Of the compiler, then of the linker.
_ERROR = re.compile(r"^.*(?:error: |undefined reference|/ld: ).*$", re.MULTILINE)
_TIMEOUT = 120.0  # seconds for one run of a tool


def find_compiler() -> str:
    """Return the path of the RISC-V compiler.

    Raises
    ------
    SimError
        There is none, or it has no C library; the message names the command that installs them.
    """
    return _find_compiler(os.environ.get("PATH", ""))


@functools.cache
def _find_compiler(path: str) -> str:
    for name in COMPILERS:
        compiler = shutil.which(name, path=path)
        if compiler is None:
            continue
        library = subprocess.run(
            [compiler, *_MACHINE, "-E", "-x", "c", "-"],
            input="#include <picolibc.h>\n",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if library.returncode == 0:
            return compiler
        raise SimError(f"{compiler} has no picolibc for RV32IM; install it with: {REMEDY}")
    raise SimError(
        f"no RISC-V compiler ({', '.join(COMPILERS)}) on PATH; install one with: {REMEDY}"
    )


def compile_program(
    sources: Sequence[Path],
    includes: Sequence[Path],
    header: str,
    folder: Path,
    options: Sequence[str] = (),
) -> bytes:
    """Return the image of the ROM with a program in C.

    Parameters
    ----------
    sources
        Its C files; start code and `board.c` are added.
    includes
        Folders of its headers.
    header
        Text of `soc.h`.
    folder
        Where to compile.
    options
        Further ones of the compiler.

    Raises
    ------
    SimError
        The compiler is missing, or refuses the sources: the message has its first error line.
    """
    compiler = find_compiler()
    (folder / "soc.h").write_text(header, encoding="utf-8")
    script, linked, image = folder / "soc.ld", folder / "program.elf", folder / "program.bin"
    options = [*(f"-I{path}" for path in (folder, HERE, *includes)), *options]
    files = [str(path) for path in (HERE / "crt0.S", HERE / "board.c", *sources)]
    _run([compiler, "-E", "-P", "-x", "c", *options, str(HERE / "soc.ld.h"), "-o", str(script)])
    _run([compiler, *_MACHINE, *_FLAGS, *options, f"-T{script}", *files, "-o", str(linked)])
    objcopy = compiler.removesuffix("gcc") + "objcopy"
    _run([objcopy, "-O", "binary", str(linked), str(image)])
    return image.read_bytes()


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SimError(f"{command[0]} does not run: {error}; install it with: {REMEDY}") from error
    if done.returncode != 0:
        first = _ERROR.search(done.stderr)
        text = first[0] if first is not None else done.stderr[-300:]
        raise SimError(f"compiling the program of the SoC failed: {text}")
