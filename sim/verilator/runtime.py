"""Shares compiled objects between builds: what does not depend on the design.

Verilator's runtime library is most of the work of a small build, and the same for all builds with
the same tools and options; the C++ of a device is the same for all its parameters; the headers that
the generated code of every bench includes can be compiled once. `pimloop.sim.verilator.build`
(simulator programs) and `pimloop.sim.bench.inprocess` (libraries) build with it.
"""

from __future__ import annotations

import contextlib
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
    """Put objects of earlier builds into `work`, newer than all they are made from.

    Parameters
    ----------
    runtime
        Where they are kept.
    work
        Folder of the build.
    apart
        What single objects depend on beside the settings of `runtime`, by name. Of objects that
        are not of the runtime library, those that are named here are shared.
    """
    for path in runtime.glob("*-????????.*"):
        stem, _, suffix = path.name.partition("-")
        name = f"{stem}{suffix[8:]}"
        if path.name == _kept_name(name, apart):
            _copy(path, work / name)


def keep_objects(work: Path, runtime: Path, apart: Mapping[str, str]) -> None:
    """Keep the shared objects of the finished build in `work` that no build has kept."""
    runtime.mkdir(mode=0o700, exist_ok=True)
    own = [work / name for name in apart if not name.startswith("verilated")]
    for path in [*work.glob("verilated*.o"), *filter(_alone, own)]:
        kept = runtime / _kept_name(path.name, apart)
        if not kept.exists():
            # Another build may keep or copy the same now: an object appears complete.
            part = work / f"{path.name}.part"
            _copy(path, part)
            part.rename(kept)


def _copy(path: Path, place: Path) -> None:
    """Copy an object; compiled headers are large, and are made from nothing that is newer."""
    if path.name.endswith(".gch"):
        with contextlib.suppress(OSError):
            place.hardlink_to(path)
            return
    shutil.copyfile(path, place)


def _alone(built: Path) -> bool:
    """Tell whether `built` was made, and from no file of its build: no generated code."""
    if not built.exists():
        return False
    try:
        made_from = built.with_suffix(".d").read_text(encoding="utf-8")
    except OSError:
        return True  # copied, or made by a rule that lists what it is made from
    files = made_from.partition(":")[2].replace("\\\n", " ").split()
    return all(Path(file).is_absolute() for file in files)


def _kept_name(name: str, apart: Mapping[str, str]) -> str:
    mark = hashlib.sha256(apart.get(name, "").encode()).hexdigest()[:8]
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{mark}{dot}{suffix}"
