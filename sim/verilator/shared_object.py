"""Builds a small C++ library for this machine, into the folder of all builds.

For arithmetic that is too slow in numpy. Like a simulator it is named by everything that it depends
on, appears only when complete, and is not loaded from where another user can write. Neighbour:
`pimloop.sim.verilator.build`.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.files import locked
from pimloop.sim.verilator.build import build_root, key_of_files, make_root, refuse_foreign
from pimloop.sim.verilator.steps import first_error
from pimloop.sim.verilator.toolchain import find_compiler

# No fast-math: it changes results, and a library linked with it switches subnormals off.
_OPTIONS = ("-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC")
#: Bound on compiling one file, seconds.
_TIMEOUT = 300.0


def build_library(source: Path) -> Path:
    """Return the shared library of one C++ file, compiling it when it is not in the cache.

    Raises
    ------
    SimError
        There is no compiler, it refuses the file, or the build folder cannot be used.
    """
    compiler = find_compiler()
    settings = f"{compiler}|{_OPTIONS}|{platform.machine()}"
    key = key_of_files(hashlib.sha256(settings.encode()), [source])
    root = build_root()
    library = root / f"library-{source.stem}-{key}.so"
    try:
        if not library.exists():
            make_root(root)
            with locked(root / f".{library.name}.lock", 2 * _TIMEOUT):
                if not library.exists():
                    _compile(compiler.path, source, library)
    except TimeoutError as error:
        raise SimError(f"another process has built {library.name} for too long") from error
    except OSError as error:
        raise SimError(
            f"cannot write in the build folder {root}: {error.strerror or error}"
        ) from error
    refuse_foreign(root, library)
    return library


def _compile(compiler: str, source: Path, library: Path) -> None:
    work = library.with_name(f".{library.name}.tmp")
    command = [compiler, *_OPTIONS, "-o", str(work), str(source)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        if result.returncode != 0:
            raise SimError(f"building {library.name} failed: {first_error(result.stderr)}")
        work.chmod(0o755)  # whatever the umask is
        work.rename(library)
    except subprocess.TimeoutExpired:
        raise SimError(f"building {library.name} took more than {_TIMEOUT:.0f} s") from None
    finally:
        work.unlink(missing_ok=True)
