"""Shares the compiled objects of Verilator's runtime library between builds.

The library is most of the work of a small build, and the same for all builds with the same tools
and options. `pimloop.sim.verilator.build` (simulator programs) and `pimloop.sim.bench.inprocess`
(libraries) build with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path


def runtime_folder(root: Path, *settings: object) -> Path:
    """Return where the objects lie that were compiled with `settings`.

    Parameters
    ----------
    root
        Folder of all builds.
    settings
        Everything the objects depend on; `repr` tells settings apart.
    """
    return root / f".runtime-{hashlib.sha256(repr(settings).encode()).hexdigest()[:16]}"


def copy_objects(runtime: Path, work: Path) -> None:
    """Put runtime objects of an earlier build into `work`, newer than all they are made from."""
    for path in runtime.glob("verilated*.o"):
        shutil.copyfile(path, work / path.name)


def keep_objects(work: Path, runtime: Path) -> None:
    """Keep the runtime objects of the finished build in `work`, unless another has kept them."""
    if runtime.exists():
        return
    kept = work / "runtime"
    kept.mkdir(mode=0o700)
    for path in work.glob("verilated*.o"):
        shutil.copyfile(path, kept / path.name)
    # Another top with the same settings may have been faster: then its objects stay.
    with contextlib.suppress(OSError):
        kept.rename(runtime)
