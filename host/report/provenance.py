"""What a result was made with: the commit of the sources, and a hash of the RTL."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pimloop import host
from pimloop.rtl.tables.source import listed

#: Lists of the files of the simulated device.
_LISTS = ("pim_primitives.f", "pim.f", "pim_sim.f")

#: Bound of a call of git, seconds.
_TIMEOUT = 10.0

#: What results are made by; a change elsewhere (docs, tests) leaves them as they are.
_CODE = ("host", "partitioner", "pimloop", "rtl", "sim", "pyproject.toml")


@dataclass(frozen=True)
class Source:
    """The state of a git checkout."""

    commit: str  # 40 hexadecimal digits
    modified: bool  # the code differs from the commit, new files included

    def __str__(self) -> str:
        """Return the commit, short, and whether the code differs from it."""
        return self.commit[:12] + (", modified" if self.modified else "")


@cache
def source() -> Source | None:
    """Return the commit that this code comes from; None when it runs from no git checkout."""
    root = Path(str(host.__file__)).resolve().parents[1]
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:
        return None
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--", *_CODE)
    if commit is None or status is None:
        return None
    return Source(commit, bool(status))


@cache
def rtl_hash() -> str:
    """Return a SHA-256 of the names and contents of the simulated device's SystemVerilog files."""
    content_hash = hashlib.sha256()
    for path in [path for name in _LISTS for path in listed(name)]:
        content = path.read_bytes()
        content_hash.update(f"{path.name} {len(content)}\n".encode() + content)
    return content_hash.hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints of a folder, None when it cannot say."""
    # Variables as GIT_DIR, which hooks set, would speak of another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
