"""Shares the compiled objects of Verilator's runtime library between builds.

The library is most of the work of a small build, and the same for all builds with the same tools
and options. `pimloop.sim.verilator.build` (simulator programs) and `pimloop.sim.bench.inprocess`
(libraries) build with it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
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


def copy_objects(runtime: Path, work: Path, apart: Mapping[str, str]) -> None:
    """Put runtime objects of earlier builds into `work`, newer than all they are made from.

    Parameters
    ----------
    runtime
        Where they are kept.
    work
        Folder of the build.
    apart
        What single objects depend on beside the settings of `runtime`, by name.
    """
    for path in runtime.glob("verilated*.o"):
        name = f"{path.name.partition('-')[0]}.o"
        if path.name == _kept_name(name, apart):
            shutil.copyfile(path, work / name)


def keep_objects(work: Path, runtime: Path, apart: Mapping[str, str]) -> None:
    """Keep the runtime objects of the finished build in `work` that no build has kept."""
    runtime.mkdir(mode=0o700, exist_ok=True)
    for path in work.glob("verilated*.o"):
        kept = runtime / _kept_name(path.name, apart)
        if not kept.exists():
            # Another build may keep or copy the same now: an object appears complete.
            part = work / f"{path.name}.part"
            shutil.copyfile(path, part)
            part.rename(kept)


def _kept_name(name: str, apart: Mapping[str, str]) -> str:
    mark = hashlib.sha256(apart.get(name, "").encode()).hexdigest()[:8]
    return f"{name.removesuffix('.o')}-{mark}.o"
